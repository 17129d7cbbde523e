package spec_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// again is a file of which only the canary can be compiled: no operator allows the rest.
const again = `version: 1
application: shop
slack: "#nobody-knows"
stages:
  - name: other
    deploy: {environment: nowhere, manifests: deploy}
    check: {metric: {source: unknown, query: up, max: 1}}
  - name: canary
    if: commit.title == "never"
    canary:
      environment: nobody-knows
      KEYS
      marginal: {ask: "Ship ${{ merge_request.title }} after ${{ stages.other.status }}?"}
      metrics:
        - METRIC
  - name: live
    deploy: {environment: nobody-knows, manifests: deploy}
`

const errorsOfTrack = `{name: errors, source: prometheus, query: 'errors{track="${{ track }}",app="${{ application }}"}'}`

func compileAgain(t *testing.T, keys, metric string, in spec.Input, lasts time.Duration) (*pipeline.Plan, string) {
	t.Helper()
	file, problems := spec.Parse("f", []byte(strings.NewReplacer("KEYS", keys, "METRIC", metric).Replace(again)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	from := time.Date(2026, 3, 2, 9, 0, 0, 500, time.UTC)
	plan, problems := spec.CompileCanary(file, in, operator{}.Defaults(""), 1, from, from.Add(lasts))
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	if (plan == nil) != (len(problems) > 0) {
		t.Errorf("%v and %q", plan, said)
	}
	return plan, strings.Join(said, "\n")
}

func TestACanaryIsCompiledAlone(t *testing.T) {
	const lasts = 90*time.Minute + 300*time.Millisecond
	for name, tt := range map[string]struct {
		keys, metric string
		in           spec.Input
		looks        int
		query        string
	}{
		"with the time as its lifetime":     {"interval: 10m", errorsOfTrack, spec.Input{}, 10, `errors{track="${{ track }}",app="shop"}`},
		"with what is known of the commit":  {"interval: 45m", strings.Replace(errorsOfTrack, "application", "commit.sha", 1), input(), 3, `errors{track="${{ track }}",app="3f2a91c0d4e5f60718293a4b5c6d7e8f90a1b2c3"}`},
		"an interval longer than the time":  {"interval: 10h\n      lifetime: 20h", errorsOfTrack, spec.Input{}, 1, `errors{track="${{ track }}",app="shop"}`},
		"with the time in place of its own": {"from: 2026-03-01T10:00:00Z\n      to: 2026-03-01T11:00:00Z", errorsOfTrack, spec.Input{}, 1, `errors{track="${{ track }}",app="shop"}`},
		"with a metric of the operator's":   {"interval: 10m", "use: http-errors", input(), 10, `sum(increase(errors{project="shop/api",app="shop",track="${{ track }}"}[1m]))`},
	} {
		plan, problems := compileAgain(t, tt.keys, tt.metric, tt.in, lasts)
		if plan == nil {
			t.Errorf("%s: %s", name, problems)
			continue
		}
		k := plan.Stages[0].Canary
		if len(plan.Stages) != 1 || plan.Stages[0].Name != "canary" || k.Looks() != tt.looks || k.Metrics[0].Query != tt.query {
			t.Errorf("%s: %d looks of %s", name, k.Looks(), k.Metrics[0].Query)
		}
		if k.Lifetime != lasts && k.To.Sub(k.From) != lasts {
			t.Errorf("%s: it lasts %s, or from %s to %s", name, k.Lifetime, k.From, k.To)
		}
	}
}

func TestACanaryThatCannotBeJudgedAgain(t *testing.T) {
	byCommit := strings.Replace(errorsOfTrack, "application", "commit.short_sha", 1)
	for name, tt := range map[string]struct {
		keys, metric string
		in           spec.Input
		lasts        time.Duration
		want         string
	}{
		"a time that is too long":                {"lifetime: 2h", errorsOfTrack, spec.Input{}, 31 * 24 * time.Hour, "f:12:17: 30d is the most that is judged at once"},
		"a time with too many looks":             {"interval: 10s", errorsOfTrack, spec.Input{}, 3 * time.Hour, "f:12:17: there would be more than 1000 looks"},
		"a time with too many samples":           {"interval: 5h\n      lifetime: 9h", strings.Replace(errorsOfTrack, "}'}", "}', step: 1s}", 1), spec.Input{}, 20 * time.Hour, "a look would have 72000 samples"},
		"a time without two steps":               {"interval: 5m", strings.Replace(errorsOfTrack, "}'}", "}', step: 60s}", 1), spec.Input{}, 110 * time.Second, "the first look would have no samples"},
		"a source that is not there":             {"interval: 5m", strings.Replace(errorsOfTrack, "prometheus", "prometeus", 1), spec.Input{}, time.Hour, `there is no metrics source "prometeus" (did you mean prometheus?)`},
		"a commit that nobody knows":             {"interval: 5m", byCommit, spec.Input{}, time.Hour, `"commit.short_sha" asks for commit, which is not known here`},
		"one beside the track":                   {"interval: 5m", strings.Replace(byCommit, "commit.short_sha", "track + commit.short_sha", 1), spec.Input{}, time.Hour, `"track + commit.short_sha" asks for commit, which is not known here`},
		"a merge request":                        {"interval: 5m", strings.Replace(byCommit, "commit.short_sha", "merge_request.iid", 1), spec.Input{Commit: input().Commit}, time.Hour, `"merge_request.iid" asks for merge_request, which is not known here`},
		"the number of a project by its path":    {"interval: 5m", strings.Replace(byCommit, "commit.short_sha", "project.id", 1), spec.Input{Project: pipeline.Project{Path: "shop/api"}}, time.Hour, `"project.id" cannot be evaluated: no such key: id`},
		"a project that the operator's asks for": {"interval: 5m", "use: http-errors", spec.Input{}, time.Hour, `the operator's metric cannot be used: "project.path" asks for project, which is not known here`},
	} {
		if plan, problems := compileAgain(t, tt.keys, tt.metric, tt.in, tt.lasts); plan != nil || !strings.Contains(problems, tt.want) || strings.Contains(problems, "an operator has to mend it") {
			t.Errorf("%s: %s", name, problems)
		}
	}
}

// A version that nobody has said is no empty version: with that, a query would ask for something else.
func TestAVersionThatIsNotKnownIsAskedForInVain(t *testing.T) {
	queries, err := spec.NewQueries()
	if err != nil {
		t.Fatal(err)
	}
	tracks := []spec.Track{{Name: "baseline"}, {Name: "canary", Version: "v-2", Release: "2"}}
	for query, want := range map[string]error{`x{v="${{ version }}"}`: spec.ErrNoVersion, `x{v="${{ track + release }}"}`: spec.ErrNoRelease, `x{t="${{ track }}"}`: nil} {
		_, err := queries.Fill(&pipeline.Plan{}, query, tracks...)
		if !errors.Is(err, want) || err != nil && !strings.HasSuffix(err.Error(), " of the baseline is not known") {
			t.Errorf("%s: got %v, want %v", query, err, want)
		}
	}
}
