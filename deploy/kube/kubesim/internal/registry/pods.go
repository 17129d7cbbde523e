package registry

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePodSpec(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	volumes := sets.New[string]()
	for i, v := range s.Volumes {
		for _, msg := range utilvalidation.IsDNS1123Label(v.Name) {
			errs = append(errs, field.Invalid(at.Child("volumes").Index(i).Child("name"), v.Name, msg))
		}
		if volumes.Has(v.Name) {
			errs = append(errs, field.Duplicate(at.Child("volumes").Index(i).Child("name"), v.Name))
		}
		volumes.Insert(v.Name)
	}
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(at.Child("containers"), ""))
	}
	seen := sets.New[string]()
	errs = append(errs, validateContainers(s.Containers, volumes, seen, at.Child("containers"))...)
	errs = append(errs, validateContainers(s.InitContainers, volumes, seen, at.Child("initContainers"))...)
	return errs
}

func validateContainers(list []corev1.Container, volumes, seen sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		c, at := &list[i], at.Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			for _, msg := range utilvalidation.IsDNS1123Label(c.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), c.Name, msg))
			}
		}
		seen.Insert(c.Name)
		switch {
		case c.Image == "":
			errs = append(errs, field.Required(at.Child("image"), ""))
		case strings.TrimSpace(c.Image) != c.Image:
			errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace"))
		}
		errs = append(errs, validateContainerParts(c, volumes, at)...)
	}
	return errs
}

func validateContainerParts(c *corev1.Container, volumes sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range c.Ports {
		for _, msg := range utilvalidation.IsValidPortNum(int(p.ContainerPort)) {
			errs = append(errs, field.Invalid(at.Child("ports").Index(i).Child("containerPort"), p.ContainerPort, msg))
		}
	}
	for i, e := range c.Env {
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("env").Index(i).Child("name"), ""))
		}
		if e.Value != "" && e.ValueFrom != nil {
			errs = append(errs, field.Invalid(at.Child("env").Index(i).Child("valueFrom"), "", "may not be specified when `value` is not empty"))
		}
	}
	for i, m := range c.VolumeMounts {
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("volumeMounts").Index(i).Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("volumeMounts").Index(i).Child("mountPath"), ""))
		}
	}
	for name, request := range c.Resources.Requests {
		limit, ok := c.Resources.Limits[name]
		if ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("resources", "requests"), request.String(),
				"must be less than or equal to "+string(name)+" limit of "+limit.String()))
		}
	}
	return errs
}

// validatePodUpdate allows what a running pod can change: its images, and nothing else that matters here.
func validatePodUpdate(obj, live *corev1.Pod, spec *field.Path) field.ErrorList {
	after, before := obj.Spec.DeepCopy(), live.Spec.DeepCopy()
	for _, s := range []*corev1.PodSpec{after, before} {
		s.NodeName, s.Tolerations, s.ActiveDeadlineSeconds, s.TerminationGracePeriodSeconds = "", nil, nil, nil
		for i := range s.Containers {
			s.Containers[i].Image = ""
		}
		for i := range s.InitContainers {
			s.InitContainers[i].Image = ""
		}
	}
	if !equality.Semantic.DeepEqual(after, before) {
		return field.ErrorList{field.Forbidden(spec, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")}
	}
	return nil
}

func qosClass(s *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, asks := true, false
	for _, c := range s.Containers {
		asks = asks || len(c.Resources.Requests)+len(c.Resources.Limits) > 0
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := c.Resources.Limits[name]
			request := c.Resources.Requests[name]
			guaranteed = guaranteed && ok && limit.Cmp(request) == 0
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

func isZero(v *intstr.IntOrString) bool {
	return v != nil && (v.Type == intstr.Int && v.IntVal == 0 || v.Type == intstr.String && strings.TrimSuffix(v.StrVal, "%") == "0")
}
