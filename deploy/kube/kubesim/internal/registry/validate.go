package registry

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validate lists what the API server would refuse about an object: the mistakes that people make, not all of its rules.
// live is the version before, nil for a new object.
func validate(k *Kind, obj, live Object) field.ErrorList {
	meta := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(obj, k.Namespaced, k.nameRule, meta)
	if live != nil {
		errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(obj, live, meta)...)
	}
	spec := field.NewPath("spec")
	switch o := obj.(type) {
	case *appsv1.Deployment:
		errs = append(errs, validateDeployment(o, spec)...)
		if before, ok := live.(*appsv1.Deployment); ok {
			errs = append(errs, validation.ValidateImmutableField(o.Spec.Selector, before.Spec.Selector, spec.Child("selector"))...)
		}
	case *appsv1.ReplicaSet:
		errs = append(errs, validateReplicas(o.Spec.Replicas, spec)...)
		errs = append(errs, validateTemplate(o.Spec.Selector, &o.Spec.Template, spec)...)
		if before, ok := live.(*appsv1.ReplicaSet); ok {
			errs = append(errs, validation.ValidateImmutableField(o.Spec.Selector, before.Spec.Selector, spec.Child("selector"))...)
		}
	case *appsv1.StatefulSet:
		errs = append(errs, validateReplicas(o.Spec.Replicas, spec)...)
		errs = append(errs, validateTemplate(o.Spec.Selector, &o.Spec.Template, spec)...)
		if before, ok := live.(*appsv1.StatefulSet); ok {
			errs = append(errs, validateStatefulSetUpdate(o, before, spec)...)
		}
	case *appsv1.DaemonSet:
		errs = append(errs, validateTemplate(o.Spec.Selector, &o.Spec.Template, spec)...)
		if before, ok := live.(*appsv1.DaemonSet); ok {
			errs = append(errs, validation.ValidateImmutableField(o.Spec.Selector, before.Spec.Selector, spec.Child("selector"))...)
		}
	case *batchv1.Job:
		errs = append(errs, validateJob(o, live, spec)...)
	case *corev1.Pod:
		errs = append(errs, validatePodSpec(&o.Spec, spec)...)
		if before, ok := live.(*corev1.Pod); ok {
			errs = append(errs, validatePodUpdate(o, before, spec)...)
		}
	default:
		errs = append(errs, validateOther(obj, live)...)
	}
	return errs
}

func validateOther(obj, live Object) field.ErrorList {
	switch o := obj.(type) {
	case *corev1.Service:
		return validateService(o, live)
	case *corev1.ConfigMap:
		return validateConfigMap(o, live)
	case *corev1.Secret:
		if before, ok := live.(*corev1.Secret); ok {
			return validation.ValidateImmutableField(o.Type, before.Type, field.NewPath("type"))
		}
	case *networkingv1.Ingress:
		return validateIngress(o)
	case *unstructured.Unstructured:
		return validateCustom(o)
	}
	return nil
}

func validateReplicas(replicas *int32, spec *field.Path) field.ErrorList {
	if replicas == nil {
		return field.ErrorList{field.Required(spec.Child("replicas"), "")}
	}
	return validation.ValidateNonnegativeField(int64(*replicas), spec.Child("replicas"))
}

func validateDeployment(d *appsv1.Deployment, spec *field.Path) field.ErrorList {
	errs := validateReplicas(d.Spec.Replicas, spec)
	errs = append(errs, validateTemplate(d.Spec.Selector, &d.Spec.Template, spec)...)
	strategy := spec.Child("strategy")
	switch d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if d.Spec.Strategy.RollingUpdate != nil {
			errs = append(errs, field.Forbidden(strategy.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'"))
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		surge, unavailable := d.Spec.Strategy.RollingUpdate.MaxSurge, d.Spec.Strategy.RollingUpdate.MaxUnavailable
		if isZero(surge) && isZero(unavailable) {
			errs = append(errs, field.Invalid(strategy.Child("rollingUpdate", "maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
		}
	default:
		errs = append(errs, field.NotSupported(strategy.Child("type"), d.Spec.Strategy.Type,
			[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}))
	}
	if deadline := d.Spec.ProgressDeadlineSeconds; deadline != nil && *deadline <= d.Spec.MinReadySeconds {
		errs = append(errs, field.Invalid(spec.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
	}
	return errs
}

// validateTemplate is what all workloads share: a selector that the template's labels match, and containers that restart.
func validateTemplate(selector *metav1.LabelSelector, template *corev1.PodTemplateSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if selector == nil {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
		if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(spec.Child("selector"), selector, "empty selector is invalid for deployment"))
		}
	}
	at := spec.Child("template")
	if parsed, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		errs = append(errs, field.Invalid(spec.Child("selector"), selector, "invalid label selector"))
	} else if selector == nil || (!parsed.Empty() && !parsed.Matches(labels.Set(template.Labels))) {
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, metavalidation.ValidateLabels(template.Labels, at.Child("metadata", "labels"))...)
	errs = append(errs, validatePodSpec(&template.Spec, at.Child("spec"))...)
	if policy := template.Spec.RestartPolicy; policy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("spec", "restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	return errs
}

func validateStatefulSetUpdate(obj, live *appsv1.StatefulSet, spec *field.Path) field.ErrorList {
	after, before := obj.Spec.DeepCopy(), live.Spec.DeepCopy()
	for _, s := range []*appsv1.StatefulSetSpec{after, before} {
		s.Replicas, s.Ordinals, s.Template, s.UpdateStrategy = nil, nil, corev1.PodTemplateSpec{}, appsv1.StatefulSetUpdateStrategy{}
		s.PersistentVolumeClaimRetentionPolicy, s.MinReadySeconds, s.RevisionHistoryLimit = nil, 0, nil
	}
	if !equality.Semantic.DeepEqual(after, before) {
		return field.ErrorList{field.Forbidden(spec, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
	}
	return nil
}

func validateService(s *corev1.Service, live Object) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if len(s.Spec.Ports) == 0 && !headless && s.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	var names []string
	for i, p := range s.Spec.Ports {
		at := spec.Child("ports").Index(i)
		if len(s.Spec.Ports) > 1 && p.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if p.Name != "" && slices.Contains(names, p.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names = append(names, p.Name)
		for _, msg := range utilvalidation.IsValidPortNum(int(p.Port)) {
			errs = append(errs, field.Invalid(at.Child("port"), p.Port, msg))
		}
	}
	errs = append(errs, metavalidation.ValidateLabels(s.Spec.Selector, spec.Child("selector"))...)
	if before, ok := live.(*corev1.Service); ok && before.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != before.Spec.ClusterIP {
		errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.Spec.ClusterIP, "may not change once set"))
	}
	return errs
}

func validateConfigMap(c *corev1.ConfigMap, live Object) field.ErrorList {
	var errs field.ErrorList
	for name := range c.Data {
		for _, msg := range utilvalidation.IsConfigMapKey(name) {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(name), name, msg))
		}
	}
	before, ok := live.(*corev1.ConfigMap)
	if ok && before.Immutable != nil && *before.Immutable && !equality.Semantic.DeepEqual(c.Data, before.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set"))
	}
	return errs
}

func validateIngress(ing *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if len(ing.Spec.Rules) == 0 && ing.Spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(spec, ing.Spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	for i, rule := range ing.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for j, p := range rule.HTTP.Paths {
			if p.PathType == nil {
				errs = append(errs, field.Required(spec.Child("rules").Index(i).Child("http", "paths").Index(j).Child("pathType"), "pathType must be specified"))
			}
		}
	}
	return errs
}
