package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// checkQuota holds a new pod to the namespace's ResourceQuotas. Of those only the number of pods is counted.
func (r *Registry) checkQuota(k *Kind, obj Object) error {
	if k.Resource != Pods {
		return nil
	}
	for _, o := range r.list(Quotas, obj.GetNamespace(), nil) {
		quota, ok := o.(*corev1.ResourceQuota)
		if !ok {
			continue
		}
		limit, limited := quota.Spec.Hard[corev1.ResourcePods]
		used := r.livePods(obj.GetNamespace())
		if limited && int64(used) >= limit.Value() {
			return apierrors.NewForbidden(k.GroupResource(), obj.GetName(), fmt.Errorf(
				"exceeded quota: %s, requested: pods=1, used: pods=%d, limited: pods=%s", quota.Name, used, limit.String()))
		}
	}
	return nil
}

func (r *Registry) livePods(namespace string) int {
	return len(r.list(Pods, namespace, func(o Object) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
	}))
}

// CountPods is how many pods count for the namespace's quotas: those that haven't ended.
func (r *Registry) CountPods(namespace string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.livePods(namespace)
}
