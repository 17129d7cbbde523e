package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Source reads the repository.
type Source interface {
	// Files returns the repository's files at the commit, from its root on, with at least everything at and below the
	// path. A path that isn't there may be an error that is fs.ErrNotExist, or just be missing from the files.
	Files(ctx context.Context, project pipeline.Project, sha, path string) (fs.FS, error)
}

// Blobs keeps bytes by a reference.
type Blobs interface {
	PutBlob(ctx context.Context, data []byte) (string, error)
	GetBlob(ctx context.Context, ref string) ([]byte, error)
}

// Patience is how long a trouble that may pass by itself is watched before it fails the rollout. A zero field takes
// its default.
type Patience struct {
	ImagePull     time.Duration // a registry that doesn't answer, or refuses; default 20 s. An image that isn't there fails at once
	Start         time.Duration // a container that can't be made, such as for a ConfigMap that is missing; default 20 s
	Unschedulable time.Duration // default 2 min, in which an autoscaler brings a node
	Refused       time.Duration // pods that a quota or an admission rule refuses; default 15 s
	Stall         time.Duration // a StatefulSet or DaemonSet that makes no progress; default 10 min. Deployments have their own deadline
}

func (p Patience) withDefaults() Patience {
	for field, value := range map[*time.Duration]time.Duration{
		&p.ImagePull: 20 * time.Second, &p.Start: 20 * time.Second, &p.Unschedulable: 2 * time.Minute,
		&p.Refused: 15 * time.Second, &p.Stall: 10 * time.Minute,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	return p
}

// Options is what an Executor needs. Source, Blobs, Clusters and Logger must be set.
type Options struct {
	Source   Source
	Blobs    Blobs
	Clusters Clusters
	Logger   *slog.Logger
	Limits   manifest.Limits
	Patience Patience
	// Registry, if it is set, pins the images that are applied to the digests of their tags.
	Registry Registry
}

// Executor carries out Apply, Observe, Switch, Restore, Retire, Remove, TearDown, RunJob, WatchJob, StopJob, StartPair,
// WatchPair, WeighPair and EndPair.
type Executor struct {
	Options
	attendance attendance
}

// New checks the options.
func New(o Options) (*Executor, error) {
	if o.Source == nil || o.Blobs == nil || o.Clusters == nil || o.Logger == nil {
		return nil, errors.New("deploy: source, blobs, clusters and logger must be given")
	}
	o.Patience = o.Patience.withDefaults()
	return &Executor{Options: o}, nil
}

// Execute carries out the task's action. What it does is idempotent: each action looks at what is there and does what is
// left to do, so an unknown outcome is answered by doing it once more.
func (e *Executor) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	var event pipeline.Event
	var err error
	switch a := t.Effect.Do.(type) {
	case pipeline.Apply:
		event, err = e.apply(ctx, t, a)
	case pipeline.Observe:
		event, err = e.observe(ctx, t, a)
	case pipeline.Restore:
		event, err = e.restore(ctx, t, a)
	case pipeline.Switch:
		event, err = e.switchTo(ctx, t, a)
	case pipeline.Retire:
		event, err = e.retire(ctx, t, a)
	case pipeline.Remove:
		err = e.remove(ctx, t, a)
	case pipeline.TearDown:
		event, err = e.tearDown(ctx, t, a)
	case pipeline.RunJob:
		event, err = e.runJob(ctx, t, a)
	case pipeline.WatchJob:
		event, err = e.watchRun(ctx, t, a)
	case pipeline.StopJob:
		event, err = e.stopJob(ctx, t, a)
	case pipeline.StartPair:
		event, err = e.startPair(ctx, t, a)
	case pipeline.WatchPair:
		event, err = e.watchPair(ctx, t, a)
	case pipeline.WeighPair:
		event, err = e.weighPair(ctx, t, a)
	case pipeline.EndPair:
		event, err = e.endPair(ctx, t, a)
	default:
		return nil, fmt.Errorf("deploy: action %s is not ours", t.Effect.Do.ActionKind())
	}
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	return event, err
}

// place is where a task works, and whose its objects are.
type place struct {
	Target
	owner     Owner
	attending *attending // nil if nothing is kept under watch
}

func (e *Executor) place(ctx context.Context, t *pipeline.Task, environment string, r pipeline.Release) (place, error) {
	target, err := e.Clusters.Target(ctx, t.Delivery.Project.Path, environment)
	if err != nil {
		return place{}, err
	}
	owner := Owner{Project: t.Delivery.Project.ID, Environment: environment, Delivery: r.Delivery, Release: r.ID, SHA: r.SHA}
	return place{Target: target, owner: owner, attending: e.attending(owner.Project, environment)}, nil
}

// definition is the stage, or a refusal if there is none.
func definition(t *pipeline.Task, name string) (pipeline.Stage, error) {
	stage, ok := t.Delivery.Definition(t.Plan, name)
	if !ok {
		return pipeline.Stage{}, refusal(pipeline.ReasonOther, fmt.Sprintf("the plan has no stage %s", name), nil)
	}
	return stage, nil
}

// refusal is a failure that no further try changes.
func refusal(code pipeline.ReasonCode, detail string, cause error) *pipeline.Failure {
	return &pipeline.Failure{Code: code, Detail: clip(detail, maxDetail), Permanent: true, Err: cause}
}

// recorded reads the manifests of a release.
func (e *Executor) recorded(ctx context.Context, r pipeline.Release) (manifest.Set, error) {
	data, err := e.Blobs.GetBlob(ctx, r.Manifests)
	if err != nil {
		return manifest.Set{}, fmt.Errorf("read the recorded manifests of release %s: %w", r.ID, err)
	}
	set, err := manifest.Decode(data)
	if err != nil {
		return manifest.Set{}, refusal(pipeline.ReasonOther, "the recorded manifests of release "+r.ID+" can't be read", err)
	}
	return set, nil
}

// fenced refuses what a review may not bring. It holds what is about to be applied, by the rules of now: what is there
// already may always be removed.
func (p place) fenced(set manifest.Set) error {
	if p.Fence == nil {
		return nil
	}
	if err := p.Fence.Check(set, p.owner.Environment); err != nil {
		return refusal(pipeline.ReasonNotAllowed, err.Error(), nil)
	}
	return nil
}

// within refuses objects that say that they belong to another namespace, or to the whole cluster.
func (p place) within(set manifest.Set) error {
	for _, o := range set.Objects {
		if o.DefinesKind() && !p.CRDs {
			mistake := &manifest.Error{Origin: o.From, What: o.Title() + " belongs to the whole cluster", Hint: "an operator can allow it for environment " + p.owner.Environment}
			return refusal(pipeline.ReasonNotAllowed, mistake.Error(), nil)
		}
		if ns := o.GetNamespace(); ns != "" && ns != p.Namespace {
			mistake := &manifest.Error{
				Origin: o.From,
				What:   fmt.Sprintf("%s names namespace %s, and environment %s is namespace %s", o.Title(), ns, p.owner.Environment, p.Namespace),
				Hint:   "leave metadata.namespace out",
			}
			return refusal(pipeline.ReasonNotAllowed, mistake.Error(), nil)
		}
	}
	return nil
}
