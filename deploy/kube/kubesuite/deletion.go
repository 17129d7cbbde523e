package kubesuite

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func deletionTests() []test {
	return []test{
		{"a deletion in the background takes what was owned along", deletes(metav1.DeletePropagationBackground)},
		{"a deletion in the foreground waits for what was owned", deletes(metav1.DeletePropagationForeground)},
		{"a deletion that orphans leaves what was owned", deletesOrphan},
		{"a deletion can insist on the object that it means", deletesPrecondition},
		{"a namespace takes everything along", deletesNamespace},
	}
}

func (e *env) delete(options metav1.DeleteOptions) {
	e.Helper()
	if err := e.client.AppsV1().Deployments(e.ns).Delete(e.ctx, "app", options); err != nil {
		e.Fatalf("delete: %v", err)
	}
}

func deletes(how metav1.DeletionPropagation) func(*env) {
	return func(e *env) {
		e.apply(e.app("shop:1", 2))
		e.awaitRollout()
		e.delete(metav1.DeleteOptions{PropagationPolicy: &how})
		if how == metav1.DeletePropagationForeground {
			d, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{})
			if err == nil && d.DeletionTimestamp == nil {
				e.Error("the deployment is there and not marked")
			}
		} else if _, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			e.Errorf("the deployment: %v, want not found", err)
		}
		e.await("the pods to go", "pods", func() string {
			if n := len(e.pods()); n > 0 {
				return fmt.Sprintf("%d pods left", n)
			}
			return ""
		})
		e.await("the replica sets to go", "replicasets", func() string {
			list, err := e.client.AppsV1().ReplicaSets(e.ns).List(e.ctx, metav1.ListOptions{})
			if err != nil || len(list.Items) > 0 {
				return "replica sets left"
			}
			return ""
		})
		e.await("the deployment to go", "deployments", func() string {
			if _, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return "still there"
			}
			return ""
		})
	}
}

func deletesOrphan(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	orphan := metav1.DeletePropagationOrphan
	e.delete(metav1.DeleteOptions{PropagationPolicy: &orphan})
	e.await("the deployment to go", "deployments", func() string {
		if _, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "still there"
		}
		return ""
	})
	sets, err := e.client.AppsV1().ReplicaSets(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil || len(sets.Items) != 1 || len(sets.Items[0].OwnerReferences) != 0 {
		e.Errorf("replica sets are %+v, %v; want one without an owner", sets.Items, err)
	}
	if len(e.pods()) != 1 {
		e.Errorf("%d pods are left, want 1", len(e.pods()))
	}
}

func deletesPrecondition(e *env) {
	d := e.apply(e.app("shop:1", 0))
	other := types.UID("11111111-2222-3333-4444-555555555555")
	err := e.client.AppsV1().Deployments(e.ns).Delete(e.ctx, "app", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	if !apierrors.IsConflict(err) {
		e.Errorf("delete with another uid: got %v, want a conflict", err)
	}
	e.delete(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.UID}})
}

func deletesNamespace(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	if err := e.client.CoreV1().Namespaces().Delete(e.ctx, e.ns, metav1.DeleteOptions{}); err != nil {
		e.Fatalf("delete namespace: %v", err)
	}
	_, err := e.client.CoreV1().ConfigMaps(e.ns).Create(e.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err): // while it is emptied
		e.wantContains("the refusal", err.Error(), "unable to create new content in namespace "+e.ns+" because it is being terminated")
	case !apierrors.IsNotFound(err):
		e.Errorf("create in a namespace that is going: got %v, want a refusal", err)
	}
	e.await("everything to go", "pods", func() string {
		if n := len(e.pods()); n > 0 {
			return fmt.Sprintf("%d pods left", n)
		}
		return ""
	})
}
