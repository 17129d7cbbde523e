package app

import (
	"context"
	"fmt"
	"slices"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// ruled holds a deploy, a canary or a Kubernetes Job against the operator's rules of this moment before it is applied: the
// plan, and the answers that were given under it, may be from before they were tightened. A
// rollback goes on, because it brings back what was allowed then.
type ruled struct {
	cfg  *config.Config
	next engine.Executor
}

// Execute implements engine.Executor.
func (r *ruled) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	for _, environment := range touched(t) {
		if why := r.refusal(t, environment); why != "" {
			return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Detail: why, Permanent: true, Unchanged: true}
		}
	}
	for _, source := range sourcesOf(t) {
		if !slices.Contains(r.cfg.SourceNames(t.Plan.Project.Path), source) {
			return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Unchanged: true,
				Detail: fmt.Sprintf("the operator does not let this project ask the metrics source %s any more", source)}
		}
	}
	return r.next.Execute(ctx, t)
}

// sourcesOf are the metrics sources that a check or a look at a canary asks.
func sourcesOf(t *pipeline.Task) (sources []string) {
	stage, _ := pipeline.StageOf(t.Effect.Do)
	def, _ := t.Delivery.Definition(t.Plan, stage)
	switch do := t.Effect.Do.(type) {
	case pipeline.RunCheck:
		for _, c := range def.Checks {
			if c.Name == do.Check && c.Metric != nil {
				sources = append(sources, c.Metric.Source)
			}
		}
	case pipeline.Measure:
		if def.Canary != nil {
			for _, m := range def.Canary.Metrics {
				sources = append(sources, m.Source)
			}
		}
	}
	return sources
}

// touched lists the environments in which the effect starts something new.
func touched(t *pipeline.Task) []string {
	stage, _ := pipeline.StageOf(t.Effect.Do)
	def, ok := t.Delivery.Definition(t.Plan, stage)
	if !ok {
		return nil
	}
	switch do := t.Effect.Do.(type) {
	case pipeline.Apply, pipeline.RunJob, pipeline.StartPair:
		return []string{def.Environment()}
	case pipeline.RunCheck:
		for _, c := range def.Checks {
			if c.Name == do.Check && c.Job != nil {
				return []string{c.Job.Environment}
			}
		}
	}
	return nil
}

func (r *ruled) refusal(t *pipeline.Task, environment string) string {
	now, err := r.cfg.Environment(t.Plan.Project.Path, environment)
	if err != nil {
		return err.Error()
	}
	then := t.Plan.Environments[environment]
	switch {
	case now.Review != t.Delivery.Review:
		return fmt.Sprintf("the operator's rules for %s have changed since: reviews, and only they, deploy to review environments", environment)
	case !spec.MayDeploy(now, t.Delivery.Review, t.Plan.MergeRequest.TargetBranch, t.Plan.Project.DefaultBranch):
		return fmt.Sprintf("the operator's rules for %s no longer let %s be deployed there; a new merge is planned under the new rules", environment, t.Plan.MergeRequest.TargetBranch)
	case now.Judged && !then.Judged, now.Judged && tightened(then.Rule, now.Rule):
		return fmt.Sprintf("the operator's rules for %s have become stricter since this delivery was planned; a new merge is planned under the new rules", environment)
	}
	return ""
}

// tightened tells that somebody who might have answered before may not now.
func tightened(then, now policy.Rule) bool {
	was, is := approvers(then), approvers(now)
	return slices.ContainsFunc(was, func(a string) bool { return !slices.Contains(is, a) }) ||
		slices.ContainsFunc(now.Not, func(n string) bool { return !slices.Contains(then.Not, n) })
}

func approvers(r policy.Rule) []string {
	if len(r.Approvers) == 0 {
		return []string{"role:developer"}
	}
	return r.Approvers
}
