package manifest

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Wave says when the object is applied: those of a lower wave first, those of the same one in any order.
func (o Object) Wave() int { return waveOf(o.GetKind()) }

// Defined lists the kinds that definitions among the objects define.
func Defined(objects []Object) map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, o := range objects {
		if !o.DefinesKind() {
			continue
		}
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		kinds[schema.GroupKind{Group: group, Kind: kind}] = true
	}
	return kinds
}

// waveOf says when an object is applied: what others need comes first.
func waveOf(kind string) int {
	switch kind {
	case "CustomResourceDefinition":
		return -1
	case "ServiceAccount", "LimitRange", "ResourceQuota", "NetworkPolicy":
		return 0
	case "Role":
		return 1
	case "RoleBinding":
		return 2
	case "ConfigMap", "Secret":
		return 3
	case "PersistentVolumeClaim":
		return 4
	case "Service":
		return 5
	case "ReplicationController", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Pod", "Job", "CronJob":
		return 7
	case "Ingress", "HTTPRoute", "GRPCRoute", "HorizontalPodAutoscaler", "PodDisruptionBudget":
		return 8
	}
	return 6 // custom resources: what they make is often wanted by the workloads
}

// LastFirst lists the objects so that what others need is removed after them.
func (s Set) LastFirst() []Object {
	objects := slices.Clone(s.Objects)
	order(objects)
	slices.Reverse(objects)
	return objects
}

// order sorts by waves and keeps the order of the files within one.
func order(objects []Object) {
	slices.SortStableFunc(objects, func(a, b Object) int { return waveOf(a.GetKind()) - waveOf(b.GetKind()) })
}

// refusedKind says why an object of this kind is never applied, "" if it may be.
func refusedKind(group, kind string) string {
	switch {
	case kind == "Namespace" && group == "":
		return "Slipway doesn't make namespaces: the operator maps each environment to one that exists"
	case kind == "CustomResourceDefinition":
		return "custom resource definitions belong to the whole cluster: the operator installs them"
	case slices.Contains(clusterKinds(), kind) && (group == "" || strings.HasSuffix(group, ".k8s.io")):
		return kind + " belongs to the whole cluster, and a delivery only changes its environment's namespace"
	}
	return ""
}

// clusterKinds are the built-in kinds that have no namespace. Others are found out from the cluster.
func clusterKinds() []string {
	return []string{
		"Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "StorageClass", "VolumeAttachment", "CSIDriver", "CSINode",
		"PriorityClass", "IngressClass", "RuntimeClass", "APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
		"CertificateSigningRequest", "FlowSchema", "PriorityLevelConfiguration", "GatewayClass", "VolumeSnapshotClass",
	}
}
