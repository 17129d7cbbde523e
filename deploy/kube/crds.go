package kube

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// establishing is how long the cluster may take to serve a new kind. It is a second or two.
const establishing = 30 * time.Second

// established waits until the cluster serves the kinds that are defined. It asks again and again, because a watch would
// need a right more on the whole cluster.
func (n *Namespace) established(ctx context.Context, definitions []manifest.Object) error {
	waiting, cancel := context.WithTimeout(ctx, establishing)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for _, d := range definitions {
		for {
			yes, err := n.serves(waiting, d)
			if err != nil && waiting.Err() == nil {
				return err
			}
			if yes {
				break
			}
			select {
			case <-again.C:
			case <-waiting.Done():
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: fmt.Sprintf("%s is applied, and cluster %s doesn't serve its kind after %v", d.Title(), n.name, establishing), After: 5 * time.Second}
			}
		}
	}
	return nil
}

// serves tells whether the kind of a definition can be used.
func (n *Namespace) serves(ctx context.Context, d manifest.Object) (bool, error) {
	resource, mapping, err := n.resource(ctx, d)
	if err != nil {
		return false, err
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err := resource.Get(requestCtx, d.GetName(), metav1.GetOptions{})
	if err != nil {
		return false, n.failure(ctx, err, attempt{verb: "get", resource: mapping.Resource.GroupResource().String(), title: d.Title()})
	}
	if status, message := condition(live, "NamesAccepted"); status == "False" {
		return false, refusal(pipeline.ReasonRefused, fmt.Sprintf("%s is not accepted: %s", d.Title(), sentence(message)), nil)
	}
	if status, _ := condition(live, "Established"); status != "True" {
		return false, nil
	}
	n.mapper.ResetWithContext(requestCtx)
	_, err = n.mapper.RESTMappingWithContext(requestCtx, definedKind(live))
	return err == nil || !meta.IsNoMatchError(err) && ctx.Err() == nil, nil
}

func definedKind(definition *unstructured.Unstructured) schema.GroupKind {
	for kind := range manifest.Defined([]manifest.Object{{Unstructured: definition}}) {
		return kind
	}
	return schema.GroupKind{}
}

// condition is a condition of an object's status, "" if it has none of that type.
func condition(o *unstructured.Unstructured, kind string) (status, message string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			status, _ = c["status"].(string)
			message, _ = c["message"].(string)
		}
	}
	return status, message
}
