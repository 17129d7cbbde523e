package spec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// oldestMerge is how long ago a merge may be: nobody replays an old one, where hooks are
// remembered for as long.
const oldestMerge = 7 * 24 * time.Hour

// ErrNoFile says that the commit has no pipeline file.
var ErrNoFile = errors.New("there is no " + FileName + " at this commit")

// Source reads from GitLab.
type Source interface {
	// PipelineFile reads FileName at a commit. The error is, or wraps, ErrNoFile if the
	// commit has none. It need not read more than MaxFile+1 bytes.
	PipelineFile(ctx context.Context, project pipeline.Project, sha string) ([]byte, error)
	// Describe looks up what was merged. Nothing that a hook said of it is believed: the
	// project's path decides what it may do. That the merge request was not merged as this
	// commit is a permanent *pipeline.Failure with ReasonStale.
	Describe(ctx context.Context, project, mergeRequest int64, sha string) (Input, error)
	// DescribeOpen looks up a commit of an open merge request. That it is not open, comes from
	// another project, or has a newer commit, is a permanent *pipeline.Failure with ReasonStale.
	DescribeOpen(ctx context.Context, project, mergeRequest int64, sha string) (Input, error)
}

// LoaderOptions are what a Loader needs; all of it.
type LoaderOptions struct {
	Source   Source
	Operator Operator
	Blobs    Blobs
}

// Loader executes LoadPlan.
type Loader struct{ o LoaderOptions }

// NewLoader checks the options.
func NewLoader(o LoaderOptions) (*Loader, error) {
	if o.Source == nil || o.Operator == nil || o.Blobs == nil {
		return nil, errors.New("new loader: Source, Operator and Blobs are needed")
	}
	return &Loader{o}, nil
}

// Execute reads the pipeline file at the delivery's commit. The outcome is Planned,
// PlanRefused (without problems if there is no file), or Failed with
// ReasonCondition for a merge that GitLab does not tell of, that is long ago, or into a
// branch that the file does not deliver.
func (l *Loader) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	if _, ok := t.Effect.Do.(pipeline.LoadPlan); !ok {
		return nil, wrongAction("loader", t)
	}
	d := &t.Delivery
	describe := l.o.Source.Describe
	if d.Review {
		describe = l.o.Source.DescribeOpen
	}
	// Until GitLab has told what was merged there is only a hook's word, and nothing is read or
	// said for it.
	in, err := describe(ctx, d.Project.ID, d.MergeRequest.IID, d.SHA)
	if f, ok := pipeline.AsFailure(err); ok && f.Permanent && f.Code == pipeline.ReasonStale {
		return notDelivered(t, f.Detail), nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up !%d of %s: %w", d.MergeRequest.IID, d.Project.Path, err)
	}
	if at := in.MergeRequest.MergedAt; !at.IsZero() && d.Created.Sub(at) > oldestMerge {
		return notDelivered(t, "it was merged more than 7 days before Slipway heard of it"), nil
	}
	if !l.o.Operator.Knows(in.Project.Path) {
		return notDelivered(t, "project "+in.Project.Path+" may not deploy anywhere; an operator has to add it to an environment"), nil
	}
	data, err := l.o.Source.PipelineFile(ctx, in.Project, d.SHA)
	switch {
	case errors.Is(err, ErrNoFile) && d.Review, err == nil && d.Review && !hasReview(data):
		return notDelivered(t, FileName+" has no review at this commit"), nil
	case errors.Is(err, ErrNoFile):
		return pipeline.PlanRefused{}, nil
	case err != nil:
		return nil, fmt.Errorf("read %s of %s at %s: %w", FileName, in.Project.Path, pipeline.Short(d.SHA), err)
	}
	file, found := Parse(FileName, data)
	if len(found) > 0 {
		return pipeline.PlanRefused{Problems: found}, nil
	}
	compile := Compile
	if d.Review {
		compile = CompileReview
	} else if yes, why := file.Delivers(in.Project, in.MergeRequest); !yes {
		return notDelivered(t, why), nil
	}
	plan, found := compile(file, in, l.o.Operator)
	if len(found) > 0 {
		return pipeline.PlanRefused{Problems: found}, nil
	}
	ref, err := putPlan(ctx, l.o.Blobs, plan)
	if err != nil {
		return nil, err
	}
	return pipeline.Planned{PlanRef: ref, At: in.MergeRequest.MergedAt}, nil
}

// notDelivered ends the delivery without a word to anybody who does not ask.
func notDelivered(t *pipeline.Task, why string) pipeline.Event {
	return pipeline.Failed{Effect: t.Effect.Do.ActionKind(), Key: t.Effect.Key, Code: pipeline.ReasonCondition, Detail: why}
}

func putPlan(ctx context.Context, blobs Blobs, plan *pipeline.Plan) (string, error) {
	data, err := EncodePlan(plan)
	if err != nil {
		return "", err
	}
	ref, err := blobs.PutBlob(ctx, data)
	if err != nil {
		return "", fmt.Errorf("store plan: %w", err)
	}
	return ref, nil
}

func wrongAction(who string, t *pipeline.Task) error {
	kind := "none"
	if t.Effect.Do != nil {
		kind = t.Effect.Do.ActionKind()
	}
	return &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: true, Detail: fmt.Sprintf("the %s cannot do %q", who, kind)}
}
