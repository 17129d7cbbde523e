package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	// parallel is how many queries of one look are asked at a time.
	parallel  = 8
	maxDetail = 500 // characters of what people are told
)

// Track is one side of a canary, as its queries know it.
type Track struct {
	Name    string // baseline or canary
	Version string // the label of its pods
	Release string // id
}

// Queries fills in the queries of the plan.
type Queries interface {
	// Fill gives the query for each of the tracks. The error is in words for people, and trying again changes nothing.
	Fill(plan *pipeline.Plan, query string, tracks ...Track) ([]string, error)
}

// Pods looks at the pods of a pair.
type Pods interface {
	// PairHealth says what is wrong with the canary's pods and not with the baseline's, and why the two can't be compared
	// otherwise; "" if nothing.
	PairHealth(ctx context.Context, t *pipeline.Task, environment string, pair pipeline.Pair) (unwell, unequal string, err error)
}

// Blobs keeps bytes by a reference.
type Blobs interface {
	PutBlob(ctx context.Context, data []byte) (string, error)
}

// Options for New. All but Sources are required.
type Options struct {
	Sources map[string]metrics.Sampler // by the operator's name
	Queries Queries
	Pods    Pods
	Blobs   Blobs
}

// Executor carries out Measure.
type Executor struct {
	o Options
	asker
}

// New checks the options.
func New(o Options) (*Executor, error) {
	if o.Queries == nil || o.Pods == nil || o.Blobs == nil {
		return nil, errors.New("analysis: queries, pods and blobs must be given")
	}
	return &Executor{o, asker{o.Sources, o.Queries}}, nil
}

// Execute makes one look. Making it again after an unknown outcome does no harm: it only looks. A *pipeline.Failure with
// ReasonMeasure is a mistake that the next look would meet as well; any other makes the look one that got nothing.
func (e *Executor) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	do, ok := t.Effect.Do.(pipeline.Measure)
	if !ok {
		return nil, refusal(pipeline.ReasonOther, fmt.Sprintf("an analysis cannot carry out %q", t.Effect.Do.ActionKind()), nil)
	}
	out, err := e.look(ctx, t, do)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (e *Executor) look(ctx context.Context, t *pipeline.Task, do pipeline.Measure) (pipeline.Sampled, error) {
	out := pipeline.Sampled{Stage: do.Stage, Attempt: do.Attempt, Look: do.Look}
	c, pair, err := definition(t, do)
	if err != nil {
		return out, err
	}
	if pair != nil {
		out.Unwell, out.Unequal, err = e.o.Pods.PairHealth(ctx, t, c.Environment, *pair)
		if err != nil {
			return out, err
		}
		if out.Unwell != "" || out.Unequal != "" { // the samples would change nothing, and people wait
			out.Unwell, out.Unequal = clip(out.Unwell), clip(out.Unequal)
			return out, nil
		}
	}
	look := pipeline.PlannedLook{Number: do.Look, From: do.From, To: do.To}
	answers, err := e.ask(ctx, t.Plan, c, look.From, look.To, tracksOf(t, c, pair))
	if err != nil {
		return out, err
	}
	var m pipeline.Measurement
	if out.Metrics, m, err = gather(c, look, t.Delivery.Stage(do.Stage).Analysis.Looks, answers); err != nil {
		return out, err
	}
	out.Samples, err = e.keep(ctx, do.Stage, m)
	return out, err
}

// definition is the canary of the stage, and its pair, nil if it has none.
func definition(t *pipeline.Task, do pipeline.Measure) (*pipeline.Canary, *pipeline.Pair, error) {
	stage, ok := t.Delivery.Definition(t.Plan, do.Stage)
	st := t.Delivery.Stage(do.Stage)
	switch {
	case !ok || stage.Canary == nil:
		return nil, nil, refusal(pipeline.ReasonOther, "the plan has no canary "+do.Stage, nil)
	case st == nil || st.Attempt != do.Attempt || st.Analysis == nil:
		return nil, nil, refusal(pipeline.ReasonStale, "the canary has ended", nil)
	case stage.Canary.From.IsZero() && st.Analysis.Pair == nil:
		return nil, nil, refusal(pipeline.ReasonStale, "there is no pair to look at", nil)
	}
	return stage.Canary, st.Analysis.Pair, nil
}

// tracksOf are baseline and canary. Of a time that has been only the versions are known, as people have written them.
func tracksOf(t *pipeline.Task, c *pipeline.Canary, pair *pipeline.Pair) [2]Track {
	if pair == nil {
		return [2]Track{
			{Name: nameBaseline, Version: c.Baseline, Release: c.Baseline},
			{Name: nameCanary, Version: pipeline.Short(t.Delivery.SHA), Release: t.Delivery.ID},
		}
	}
	return [2]Track{
		{Name: nameBaseline, Version: pair.Baseline.Version, Release: pair.Baseline.Release},
		{Name: nameCanary, Version: pair.Canary.Version, Release: pair.Canary.Release},
	}
}

const (
	nameBaseline = "baseline"
	nameCanary   = "canary"
)

// keep stores what the look was made of, for people.
func (e *Executor) keep(ctx context.Context, stage string, m pipeline.Measurement) (string, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode the samples of %s: %w", stage, err)
	}
	ref, err := e.o.Blobs.PutBlob(ctx, data)
	if err != nil {
		return "", fmt.Errorf("keep the samples of %s: %w", stage, err)
	}
	return ref, nil
}

// refusal is a failure that no further try changes.
func refusal(code pipeline.ReasonCode, detail string, cause error) *pipeline.Failure {
	return &pipeline.Failure{Code: code, Detail: clip(detail), Permanent: true, Err: cause}
}

// clip bounds what people are told.
func clip(text string) string {
	runes := []rune(text)
	if len(runes) <= maxDetail {
		return text
	}
	return string(runes[:maxDetail-1]) + "…"
}
