package world

import (
	"fmt"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/metricsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// operator allows what the world's configuration does.
type operator struct{}

func (operator) Environment(_, name string) (pipeline.EnvironmentRules, error) {
	return pipeline.EnvironmentRules{Namespace: name, Branches: []string{"main"}}, nil
}

func (operator) Knows(string) bool { return true }

func (operator) Defaults(string) spec.Defaults { return spec.Defaults{Sources: []string{"prometheus"}} }

// canaryOf is the canary of the world's pipeline file.
func canaryOf(t *testing.T, lifetime time.Duration) *pipeline.Canary {
	t.Helper()
	files, err := (&World{ShopURL: "http://127.0.0.1:1", o: Options{Canary: lifetime}}).Files()
	if err != nil {
		t.Fatal(err)
	}
	file, problems := spec.Parse(PipelineFile, []byte(files[PipelineFile]))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	plan, problems := spec.Compile(file, spec.Input{
		Project: pipeline.Project{Path: ProjectPath, DefaultBranch: "main"}, Commit: pipeline.Commit{SHA: "3f2a91c0d4e5f60718293a4b5c6d7e8f90a1b2c3", ShortSHA: "3f2a91c0"},
		MergeRequest: pipeline.MergeRequest{IID: 2, TargetBranch: "main", SourceBranch: "topic"},
	}, operator{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	stage, _ := plan.Stage("canary")
	return stage.Canary
}

// drawn is what is measured of a track in n seconds, from its first-th on.
func drawn(track metricsim.Track, first int64, n int) (requests, failed, latency []canary.Number) {
	for i := range int64(n) {
		r, f, l := track.Second(noiseSeed, first+i)
		requests, failed, latency = append(requests, canary.Number(r)), append(failed, canary.Number(f)), append(latency, canary.Number(l))
	}
	return requests, failed, latency
}

// verdicts are those of the looks at a canary, up to the first that stops it. first is where the samples of baseline and
// canary begin.
func verdicts(t *testing.T, c *pipeline.Canary, behaviour metricsim.Behaviour, first [2]int64) []canary.Verdict {
	t.Helper()
	var all []canary.Verdict
	for look := 1; look <= c.Looks(); look++ {
		seconds := look * int(c.Interval/time.Second)
		errors, latency := canary.Metric{Name: "error rate"}, canary.Metric{Name: "slowest requests"}
		errors.BaselineTotal, errors.Baseline, latency.Baseline = drawn(metricsim.Track{Name: "baseline", Behaviour: usual}, first[0], seconds)
		errors.CanaryTotal, errors.Canary, latency.Canary = drawn(metricsim.Track{Name: "canary", Behaviour: behaviour}, first[1], seconds)
		request, ok := c.Request([]canary.Metric{errors, latency})
		if !ok {
			t.Fatal("the pipeline file has other metrics")
		}
		request.Look, request.Looks = look, c.Looks()
		all = append(all, canary.Judge(request).Verdict)
		if all[look-1] == canary.Fail {
			break
		}
	}
	return all
}

// TestTheDemosCanariesEndAsTheDemoSays holds for the times that the demo and its script take, and whenever in its first seconds
// a track is first measured.
func TestTheDemosCanariesEndAsTheDemoSays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		images []string
		want   canary.Verdict
	}{
		{"good", nil, canary.Pass},
		{"worse", []string{retryImage}, canary.Fail},
		{"slower", []string{searchImage}, canary.Marginal},
	} {
		for _, lifetime := range []time.Duration{12 * time.Second, 15 * time.Second} {
			t.Run(fmt.Sprintf("%s for %s", tt.name, lifetime), func(t *testing.T) {
				c := canaryOf(t, lifetime)
				for i := range int64(16) {
					first := [2]int64{1 + i/4, 1 + i%4}
					got := verdicts(t, c, behaves(tt.images), first)
					if last := got[len(got)-1]; last != tt.want {
						t.Errorf("measured from the seconds %v on, it ends with %s: %v", first, last, got)
					}
					if tt.want == canary.Fail && len(got) == c.Looks() {
						t.Errorf("measured from the seconds %v on, it is stopped no earlier than at the end", first)
					}
				}
			})
		}
	}
}
