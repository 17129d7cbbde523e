package deploy

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Clusters maps environments to where they live, by the operator's rules of this moment.
type Clusters interface {
	// Target finds the environment of a project (its path with namespace). If the operator doesn't allow it, the error
	// is a permanent *pipeline.Failure with ReasonNotAllowed.
	Target(ctx context.Context, project, environment string) (Target, error)
}

// Target is where an environment lives.
type Target struct {
	Cluster   Cluster
	Name      string // of the cluster, for people
	Namespace string
	// CRDs: the operator allows definitions of custom resources, which belong to the whole cluster.
	CRDs bool
	// Fence holds what is applied, where the environment is for reviews; nil anywhere else.
	Fence *manifest.Fence
}

// Cluster is one namespace of a Kubernetes cluster. Its errors are *pipeline.Failure in words for people, or the
// context's.
type Cluster interface {
	// Check asks the cluster whether it would take the objects. It changes nothing.
	Check(ctx context.Context, objects []manifest.Object) error
	// Apply makes the objects so, in their order, by server-side apply. It returns how many were applied before an error.
	// Without force a field that somebody else manages with another value is an error that names them.
	Apply(ctx context.Context, objects []manifest.Object, force bool) (applied int, err error)
	// Get reads an object, nil if there is none. It is never older than our own last write.
	Get(ctx context.Context, o manifest.Object) (*unstructured.Unstructured, error)
	// List reads the objects of a kind that a label selector selects; "" selects all.
	List(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error)
	// Merge changes fields of an object that exists by a JSON merge patch, whoever manages them. If the change names
	// metadata.resourceVersion, an object that was changed since is a failure with ReasonConflict that may be tried again.
	Merge(ctx context.Context, o manifest.Object, change map[string]any) (*unstructured.Unstructured, error)
	// Remove deletes the objects, in their order, of which the claim holds. What is gone already is fine. It returns the
	// titles of what it deleted.
	Remove(ctx context.Context, objects []manifest.Object, claim Claim) ([]string, error)
	// Watch tells how the workloads, or Jobs, are, now and whenever that changes, until the context ends. A picture that nobody
	// has taken yet is replaced by a newer one. owner's labels are on the workloads.
	Watch(ctx context.Context, workloads []manifest.Object, owner Owner) (<-chan Picture, error)
	// Attend keeps the objects of a resource that a label selector selects under watch until the context ends.
	Attend(ctx context.Context, resource schema.GroupVersionResource, selector string) Attended
	// LogTail returns the last lines of a container's log, at most that many and 64 KiB. previous asks for the run before
	// the current one.
	LogTail(ctx context.Context, pod, container string, previous bool, lines int) ([]string, error)
}

// Attended is what a watch tells of some objects.
type Attended interface {
	// Now gives the objects as they were last told, which the caller doesn't change. live is false while that can't be
	// relied on: before all of them were told, while the cluster doesn't answer, and before our own last write of one was.
	Now() (objects []*unstructured.Unstructured, live bool)
	// Changed holds a signal after every change, several changes being one signal. It is for one listener at a time.
	Changed() <-chan struct{}
}

// Claim says which objects may be removed.
type Claim struct {
	Owner Owner
	// Delivery: only what was last applied by this delivery; "" is any.
	Delivery string
	// Release: only what was last applied for this release; "" is any.
	Release string
	// Review: also what carries this review's label, such as the volume claims that a StatefulSet made.
	Review string
	// Pair: only what is of this pair of a canary stage; "" is any.
	Pair string
	// Volumes: volume claims, too.
	Volumes bool
	// Alone: only what nobody else than Slipway manages, so what was not there before Slipway came.
	Alone bool
}

// Picture is how the workloads are at one moment.
type Picture struct {
	Workloads []Workload // in the order in which they were asked for
	// Trouble says why the picture may be old, "" if it isn't: the cluster can't be reached.
	Trouble string
	// Err ends the watch: the cluster refuses it for good.
	Err error
}

// Workload is one workload with the pods of its newest revision. One of the pointers is set, or none if the object
// doesn't exist.
type Workload struct {
	Deployment  *appsv1.Deployment
	StatefulSet *appsv1.StatefulSet
	DaemonSet   *appsv1.DaemonSet
	Job         *batchv1.Job // with all its pods
	Pods        []*corev1.Pod
}
