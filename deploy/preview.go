package deploy

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Previewer is a namespace of a cluster that can be asked what applying would change. Its errors are Cluster's.
type Previewer interface {
	// Preview gives an object as it is, nil if it isn't there, and as it would be after it is applied. It changes nothing.
	Preview(ctx context.Context, o manifest.Object) (live, after *unstructured.Unstructured, err error)
	// Owned lists the objects that carry the labels, of the kinds that deliveries usually bring and of those of the objects.
	// What may not be listed is left out.
	Owned(ctx context.Context, objects []manifest.Object, labels map[string]string) ([]manifest.Object, error)
}

// What would become of an object.
type What string

// The words that people read.
const (
	WouldCreate What = "create"
	WouldChange What = "change"
	WouldRemove What = "remove"
	WouldFail   What = "fail"
)

// Change is what a delivery would do to one object.
type Change struct {
	What   What
	Title  string
	Fields []Difference // for a change
	Reason string       // for a failure, in words for people
}

// Preview renders a deploy and tells what it would change in its environment, in the order in which it would. Nothing is
// changed. A mistake in the repository is a permanent *pipeline.Failure.
func Preview(ctx context.Context, where Target, cluster Previewer, files fs.FS, plan *pipeline.Plan, d pipeline.Deploy, limits manifest.Limits) ([]Change, error) {
	set, err := rendered(ctx, files, sourceOf(plan, d), d, limits)
	if err != nil {
		return nil, err
	}
	at := place{Target: where, owner: Owner{Environment: d.Environment}}
	if err := at.within(set); err != nil {
		return nil, err
	}
	if err := at.fenced(set); err != nil {
		return nil, err
	}
	defined := manifest.Defined(set.Objects)
	var changes []Change
	project := ""
	for _, o := range set.Objects {
		if d.Strategy == pipeline.StrategyBlueGreen && isKind(o, "Deployment") {
			continue // each release has its own, by another name
		}
		c := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
		if !c.DefinesKind() {
			c.SetNamespace(where.Namespace)
		}
		live, after, err := cluster.Preview(ctx, c)
		failure, told := pipeline.AsFailure(err)
		switch {
		case err != nil && defined[o.GroupVersionKind().GroupKind()]:
			changes = append(changes, Change{What: WouldCreate, Title: o.Title()}) // its kind comes with it
		case told && failure.Permanent:
			changes = append(changes, Change{What: WouldFail, Title: o.Title(), Reason: failure.Detail})
		case err != nil:
			return nil, err
		case live == nil:
			changes = append(changes, Change{What: WouldCreate, Title: o.Title()})
		default:
			if labels := live.GetLabels(); labels[LabelManagedBy] == Manager && labels[LabelEnvironment] == labelValue(d.Environment) {
				project = labels[LabelProject]
			}
			if fields := Differences(live, after); len(fields) > 0 {
				changes = append(changes, Change{What: WouldChange, Title: o.Title(), Fields: fields})
			}
		}
	}
	surplus, err := surplus(ctx, cluster, set, project, where.Namespace, d)
	return append(changes, surplus...), err
}

// surplus is what the environment has and the set doesn't. Which GitLab project the environment's objects belong to is
// read from those of the set that are there: without one nothing can be surplus.
func surplus(ctx context.Context, cluster Previewer, set manifest.Set, project, namespace string, d pipeline.Deploy) ([]Change, error) {
	if project == "" || d.Prune == pipeline.PruneNothing {
		return nil, nil
	}
	owned, err := cluster.Owned(ctx, set.Objects, map[string]string{LabelManagedBy: Manager, LabelProject: project, LabelEnvironment: labelValue(d.Environment)})
	if err != nil {
		return nil, err
	}
	has := map[manifest.Key]bool{}
	for _, o := range set.Objects {
		key := o.Key()
		key.Namespace = namespace
		has[key] = true
	}
	var changes []Change
	for _, o := range owned {
		keeps := o.DefinesKind() || o.GetLabels()[LabelPair] != "" || len(o.GetOwnerReferences()) > 0 || o.GetKind() == "PersistentVolumeClaim" && d.Prune != pipeline.PruneVolumes ||
			d.Strategy == pipeline.StrategyBlueGreen && isKind(o, "Deployment")
		if !keeps && !has[o.Key()] {
			changes = append(changes, Change{What: WouldRemove, Title: o.Title()})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Title, b.Title) })
	return changes, nil
}

// String is the change as people read it: one line, and one for each field.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", c.What, c.Title)
	if c.Reason != "" {
		b.WriteString(": " + c.Reason)
	}
	for _, f := range c.Fields {
		switch {
		case strings.HasPrefix(f.To, "(secret"):
			fmt.Fprintf(&b, "\n    %s: %s", f.Field, f.To)
		case f.From == "":
			fmt.Fprintf(&b, "\n    %s: + %s", f.Field, f.To)
		case f.To == "":
			fmt.Fprintf(&b, "\n    %s: - %s", f.Field, f.From)
		default:
			fmt.Fprintf(&b, "\n    %s: %s → %s", f.Field, f.From, f.To)
		}
	}
	return b.String()
}
