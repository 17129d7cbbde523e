package registry

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// registerDefaults makes scheme.Default fill in what the API server would: the fields that people compare and diff.
func registerDefaults(scheme *runtime.Scheme) {
	scheme.AddTypeDefaultingFunc(&appsv1.Deployment{}, typedDefault(defaultDeployment))
	scheme.AddTypeDefaultingFunc(&appsv1.ReplicaSet{}, typedDefault(defaultReplicaSet))
	scheme.AddTypeDefaultingFunc(&appsv1.StatefulSet{}, typedDefault(defaultStatefulSet))
	scheme.AddTypeDefaultingFunc(&appsv1.DaemonSet{}, typedDefault(defaultDaemonSet))
	scheme.AddTypeDefaultingFunc(&batchv1.Job{}, typedDefault(defaultJob))
	scheme.AddTypeDefaultingFunc(&batchv1.CronJob{}, typedDefault(defaultCronJob))
	scheme.AddTypeDefaultingFunc(&corev1.Pod{}, typedDefault(defaultPod))
	scheme.AddTypeDefaultingFunc(&corev1.Service{}, typedDefault(defaultService))
	scheme.AddTypeDefaultingFunc(&corev1.Secret{}, typedDefault(defaultSecret))
	scheme.AddTypeDefaultingFunc(&discoveryv1.EndpointSlice{}, typedDefault(func(s *discoveryv1.EndpointSlice) {
		if s.AddressType == "" {
			s.AddressType = discoveryv1.AddressTypeIPv4
		}
	}))
}

func typedDefault[T any](fill func(*T)) func(any) {
	return func(obj any) {
		if typed, ok := obj.(*T); ok {
			fill(typed)
		}
	}
}

func (r *Registry) setDefaults(obj Object) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		defaultCustom(u)
		return
	}
	r.scheme.Default(obj)
}

// fill sets a field that is left out.
func fill[T any](at **T, value T) {
	if *at == nil {
		*at = &value
	}
}

func fillString[T ~string](at *T, value T) {
	if *at == "" {
		*at = value
	}
}

func fillInt(at *int32, value int32) {
	if *at == 0 {
		*at = value
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	fill(&d.Spec.Replicas, 1)
	fill(&d.Spec.RevisionHistoryLimit, 10)
	fill(&d.Spec.ProgressDeadlineSeconds, 600)
	fillString(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		fill(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		fill(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
		fill(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
	}
	defaultPodSpec(&d.Spec.Template.Spec)
}

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	fill(&rs.Spec.Replicas, 1)
	defaultPodSpec(&rs.Spec.Template.Spec)
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	fill(&s.Spec.Replicas, 1)
	fill(&s.Spec.RevisionHistoryLimit, 10)
	fillString(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	fillString(&s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		fill(&s.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		fill(&s.Spec.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	fill(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		WhenScaled:  appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
	})
	defaultPodSpec(&s.Spec.Template.Spec)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	fill(&d.Spec.RevisionHistoryLimit, 10)
	fillString(&d.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if d.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		fill(&d.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		fill(&d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		fill(&d.Spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	defaultPodSpec(&d.Spec.Template.Spec)
}

func defaultCronJob(c *batchv1.CronJob) {
	fillString(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	fill(&c.Spec.Suspend, false)
	fill(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	fill(&c.Spec.FailedJobsHistoryLimit, 1)
	defaultPodSpec(&c.Spec.JobTemplate.Spec.Template.Spec)
}

func defaultPod(p *corev1.Pod) {
	fill(&p.Spec.EnableServiceLinks, true)
	defaultPodSpec(&p.Spec)
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		for name, limit := range c.Resources.Limits { // a limit alone is also the request
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			if _, ok := c.Resources.Requests[name]; !ok {
				c.Resources.Requests[name] = limit.DeepCopy()
			}
		}
	}
}

func defaultPodSpec(s *corev1.PodSpec) {
	fillString(&s.RestartPolicy, corev1.RestartPolicyAlways)
	fillString(&s.DNSPolicy, corev1.DNSClusterFirst)
	fillString(&s.SchedulerName, corev1.DefaultSchedulerName)
	fill(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	fill(&s.SecurityContext, corev1.PodSecurityContext{})
	if s.ServiceAccountName != "" {
		fillString(&s.DeprecatedServiceAccount, s.ServiceAccountName)
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
}

func defaultContainer(c *corev1.Container) {
	fillString(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	fillString(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	fillString(&c.ImagePullPolicy, pullPolicy(c.Image))
	for i := range c.Ports {
		fillString(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			fillString(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		fillInt(&p.TimeoutSeconds, 1)
		fillInt(&p.PeriodSeconds, 10)
		fillInt(&p.SuccessThreshold, 1)
		fillInt(&p.FailureThreshold, 3)
		if p.HTTPGet != nil {
			fillString(&p.HTTPGet.Path, "/")
			fillString(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
		}
		if p.GRPC != nil {
			fill(&p.GRPC.Service, "")
		}
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PreStop, c.Lifecycle.PostStart} {
			if h != nil && h.HTTPGet != nil {
				fillString(&h.HTTPGet.Path, "/")
				fillString(&h.HTTPGet.Scheme, corev1.URISchemeHTTP)
			}
		}
	}
}

// pullPolicy is Always for the tag latest, also where no tag says so.
func pullPolicy(image string) corev1.PullPolicy {
	if strings.Contains(image, "@") {
		return corev1.PullIfNotPresent
	}
	last := image[strings.LastIndex(image, "/")+1:]
	if _, tag, ok := strings.Cut(last, ":"); ok && tag != "latest" {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.ConfigMap != nil {
		fill(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if v.Secret != nil {
		fill(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if v.Projected != nil {
		fill(&v.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	}
	if v.HostPath != nil {
		fill(&v.HostPath.Type, corev1.HostPathUnset)
	}
}

func defaultService(s *corev1.Service) {
	fillString(&s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	fillString(&s.Spec.Type, corev1.ServiceTypeClusterIP)
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		fill(&s.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		fillString(&s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		fillString(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func defaultSecret(s *corev1.Secret) {
	fillString(&s.Type, corev1.SecretTypeOpaque)
	for name, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[name] = []byte(value)
	}
	s.StringData = nil
}
