package pipelinetest

import (
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// pair is what creating baseline and canary brings.
func (w *World) pair(of string, do pipeline.StartPair) pipeline.Pair {
	d := w.deliveries[of]
	def, _ := w.Plan(of).Stage(do.Stage)
	track := func(version, sha string) pipeline.Track {
		return pipeline.Track{
			Version: version, Release: version, SHA: sha, Workloads: []string{"shop-" + version},
			Images: []pipeline.Image{{Name: "shop:" + sha, Digest: "sha256:" + sha}},
		}
	}
	return pipeline.Pair{
		Instances: def.Canary.Instances, Since: w.Now,
		Baseline: track("baseline-"+pipeline.Short(do.Compare.SHA), do.Compare.SHA), Canary: track("canary-"+pipeline.Short(d.SHA), d.SHA),
	}
}

// Compared says how the samples of a canary are beside those of its baseline.
type Compared string

const (
	Same  Compared = "same"  // the very same
	Worse Compared = "worse" // every metric, by far
	Mixed Compared = "mixed" // worse in some metrics: all but each second one
	None  Compared = "none"  // nothing was measured
)

// Samples is what a look gets. They are the same whenever it is asked for.
func Samples(plan *pipeline.Plan, do pipeline.Measure, how Compared) pipeline.Sampled {
	def, _ := plan.Stage(do.Stage)
	e := pipeline.Sampled{Stage: do.Stage, Attempt: do.Attempt, Look: do.Look, Samples: "samples-of-" + do.Stage}
	for i, m := range def.Canary.Metrics {
		got := canary.Metric{Name: m.Rule.Name}
		worse := how == Worse || how == Mixed && i%2 == 0
		for j := range 60 * do.Look {
			v := canary.Number(100 + (j*7919)%13)
			got.Baseline = append(got.Baseline, v)
			if worse {
				v *= 3
			}
			got.Canary = append(got.Canary, v)
		}
		if how == None {
			got.Baseline, got.Canary = nil, nil
		}
		e.Metrics = append(e.Metrics, got)
	}
	return e
}
