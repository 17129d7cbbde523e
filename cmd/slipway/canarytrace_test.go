package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
)

const sourceToken = "s3cret-token-of-the-source"

// ten is when the warm-up of the canaries in these tests ended.
var ten = time.Date(2026, 1, 20, 10, 0, 0, 0, time.UTC)

// measured is a Prometheus that knows what every query was at any time: NaN is nothing.
type measured struct {
	url   string
	mu    sync.Mutex
	asked []string
}

func newMeasured(t *testing.T, value func(query string, begin time.Time) float64) *measured {
	t.Helper()
	m := &measured{}
	m.url = metricstest.ServeFunc(t, func(r *http.Request, body []byte) metricstest.Reply {
		form, err := url.ParseQuery(string(body))
		if err != nil || r.URL.Path != "/api/v1/query_range" || r.Header.Get("Authorization") != "Bearer "+sourceToken {
			return metricstest.Reply{Status: http.StatusUnauthorized, Type: "text/plain", Body: "who is it? " + r.Header.Get("Authorization")}
		}
		seconds := func(key string) time.Duration {
			f, err := strconv.ParseFloat(form.Get(key), 64)
			if err != nil {
				t.Errorf("%s is %q", key, form.Get(key))
			}
			return time.Duration(f * float64(time.Second))
		}
		query, step := form.Get("query"), seconds("step")
		first, last := time.Unix(0, 0).UTC().Add(seconds("start")), time.Unix(0, 0).UTC().Add(seconds("end"))
		m.mu.Lock()
		m.asked = append(m.asked, fmt.Sprintf("%s from %s to %s", query, first.Add(-step).Format("15:04"), last.Format("15:04")))
		m.mu.Unlock()
		if strings.Contains(query, "rat(") {
			return metricstest.Reply{Status: http.StatusBadRequest, Body: `{"status":"error","errorType":"bad_data","error":"unknown function rat, ` + r.Header.Get("Authorization") + `"}`}
		}
		var points []string
		for at := first; step > 0 && !at.After(last); at = at.Add(step) {
			if v := value(query, at.Add(-step)); !math.IsNaN(v) {
				points = append(points, fmt.Sprintf(`[%d,"%v"]`, at.Unix(), v))
			}
		}
		series := `{"metric":{},"values":[` + strings.Join(points, ",") + `]}`
		if len(points) == 0 {
			series = ""
		}
		return metricstest.Reply{Body: `{"status":"success","data":{"resultType":"matrix","result":[` + series + `]}}`}
	})
	return m
}

// questions are what was asked since the last call.
func (m *measured) questions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Sorted(slices.Values(m.asked))
	m.asked = nil
	return all
}

// config is the operator's, as short as it can be.
func (m *measured) config(t *testing.T) string {
	t.Helper()
	return write(t, "slipway.yml", fmt.Sprintf(`metrics_sources:
  - name: main
    projects: [shop/*]
    per_second: 1000
    prometheus: {url: %q, page: "https://prometheus.example.com", token_file: %q}
metric_templates:
  slow: {source: main, query: 'slow{app="${{ application }}",track="${{ track }}"}', direction: increase}
`, m.url, write(t, "token", sourceToken+"\n")))
}

// shop is a rate of errors of 1 %, and from a minute after ten on 10 % of the canary.
func shop(worseFrom int) func(query string, begin time.Time) float64 {
	return func(query string, begin time.Time) float64 {
		n := begin.Unix() / 60
		requests := float64(1000 + n*7919%101)
		switch {
		case strings.HasPrefix(query, "requests"):
			return requests
		case strings.HasPrefix(query, "slow"):
			return 0.2 + float64(n*7919%13)/1000
		case !strings.HasPrefix(query, "errors"):
			return math.NaN()
		case strings.Contains(query, "canary") && !begin.Before(ten.Add(time.Duration(worseFrom)*time.Minute)):
			return math.Round(requests / 10)
		}
		return math.Round(requests/100) + float64(n%3)
	}
}

// canaryFile is a pipeline file with a canary stage that has these keys besides.
func canaryFile(t *testing.T, keys string, metrics ...string) string {
	t.Helper()
	if len(metrics) == 0 {
		metrics = []string{`{name: error rate, source: main, query: 'errors{track="${{ track }}"}', total: 'requests{track="${{ track }}"}', direction: increase}`}
	}
	return write(t, ".slipway.yml", "version: 1\napplication: shop\nstages:\n  - name: canary\n    canary:\n      environment: production\n"+keys+
		"      metrics:\n        - "+strings.Join(metrics, "\n        - ")+"\n"+
		"  - name: production\n    deploy: {environment: production, manifests: deploy}\n    check: {metric: {source: another, query: up, max: 1}}\n")
}

func trace(t *testing.T, config string, args ...string) (report traceReport, out string, code int) {
	t.Helper()
	out, code = slipway(t, "", append([]string{"canary", "judge", "--trace", "-c", config}, args...)...)
	if code != canaryUnread {
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("exit %d and no report: %v\n%s", code, err, out)
		}
	}
	if strings.Contains(out, sourceToken) {
		t.Errorf("the token is printed:\n%s", out)
	}
	return report, out, code
}

func looksOf(report traceReport) []string {
	var all []string
	for _, l := range report.Looks {
		all = append(all, fmt.Sprintf("%d %s %s", l.Look, l.At.Format("15:04"), l.Verdict))
	}
	return all
}

func TestATraceStopsAtTheFirstLookThatFails(t *testing.T) {
	t.Parallel()
	m := newMeasured(t, shop(20))
	samples := filepath.Join(t.TempDir(), "samples.json")
	report, out, code := trace(t, m.config(t), canaryFile(t, "      interval: 10m\n      lifetime: 1h\n      window: sliding\n      lookback: 10m\n"), "--from", "2026-01-20T11:00:00+01:00", "--samples", samples)
	if code != canaryFails {
		t.Errorf("exit %d and\n%s", code, out)
	}
	want := []string{"1 10:10 pass", "2 10:20 pass", "3 10:30 fail"}
	if diff := cmp.Diff(want, looksOf(report)); diff != "" {
		t.Errorf("looks (-want +got):\n%s", diff)
	}
	wantAsked := []string{
		`errors{track="baseline"} from 10:00 to 11:00`, `errors{track="canary"} from 10:00 to 11:00`,
		`requests{track="baseline"} from 10:00 to 11:00`, `requests{track="canary"} from 10:00 to 11:00`,
	}
	if diff := cmp.Diff(wantAsked, m.questions()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	series := report.Series[0]
	if !strings.HasPrefix(series.Link, "https://prometheus.example.com/graph?") {
		t.Errorf("the link is %q", series.Link)
	}
	series.Link = ""
	if diff := cmp.Diff(tracedSeries{
		Metric: "error rate", Source: "main", Baseline: `errors{track="baseline"}`, Canary: `errors{track="canary"}`,
		BaselineTotal: `requests{track="baseline"}`, CanaryTotal: `requests{track="canary"}`, Step: 60, Start: ten.Add(20 * time.Minute),
	}, series); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	sameReport(t, samples, out, code)
}

// sameReport judges a file of samples, and wants the report that it came with: only what a trace says besides may be missing.
func sameReport(t *testing.T, samples, traced string, code int) {
	t.Helper()
	judged, again := slipway(t, "", "canary", "judge", samples)
	begin := strings.TrimSuffix(judged, "\n}\n")
	if again != code || begin == judged || !strings.HasPrefix(traced, begin+",\n  \"looks\": [") {
		t.Errorf("judged again it ends with %d, not %d, and says\n%s\nnot\n%s", again, code, judged, traced)
	}
}

func TestTracesEndAsTheirVerdictIs(t *testing.T) {
	t.Parallel()
	const hour = "      interval: 20m\n      lifetime: 1h\n"
	const sliding = hour + "      window: sliding\n      lookback: 20m\n"
	byVersion := `{name: error rate, source: main, query: 'errors{v="${{ version }}",track="${{ track }}"}', direction: increase}`
	for name, c := range map[string]struct {
		worse   int // from which minute on
		keys    string
		metrics []string
		args    []string
		code    int
		looks   []string
		asked   []string // without the time
	}{
		"a good canary":                                              {600, hour, nil, []string{"--from", "2026-01-20T10:00:00Z"}, 0, []string{"1 10:20 pass", "2 10:40 pass", "3 11:00 pass"}, nil},
		"one that is worse in the end":                               {40, sliding, nil, []string{"--from", "2026-01-20T10:00:00Z"}, 1, []string{"1 10:20 pass", "2 10:40 pass", "3 11:00 fail"}, nil},
		"one whose worse end is left out":                            {40, sliding, nil, []string{"--from", "2026-01-20T10:00:00Z", "--to", "2026-01-20T10:40:00Z"}, 0, []string{"1 10:20 pass", "2 10:40 pass"}, nil},
		"one that is worse from its middle on, by all that there is": {20, hour + "      judge: kayenta\n", nil, []string{"--from", "2026-01-20T10:00:00Z"}, 1, []string{"1 10:20 pass", "2 10:40 pass", "3 11:00 fail"}, nil},
		"one that is neither good nor bad":                           {0, hour + "      judge: kayenta\n      score: {marginal: 0}\n", nil, []string{"--from", "2026-01-20T10:00:00Z"}, 3, []string{"1 10:20 marginal", "2 10:40 marginal", "3 11:00 marginal"}, nil},
		"a baseline of the day before":                               {600, hour + "      offset: 24h\n", nil, []string{"--from", "2026-01-20T10:00:00Z"}, 0, nil, nil},
		"nothing was measured":                                       {600, hour, []string{`{name: nothing, source: main, query: 'nothing{track="${{ track }}"}'}`}, []string{"--from", "2026-01-20T10:00:00Z"}, 3, nil, nil},
		"a time that the stage has itself":                           {0, "      from: 2026-01-20T10:00:00Z\n      to: 2026-01-20T10:50:00Z\n      baseline: 0ld0cafe\n", []string{byVersion}, []string{"--ref-sha", "3f2a91c0d4e5"}, 1, []string{"1 10:50 fail"}, []string{`errors{v="0ld0cafe",track="baseline"}`, `errors{v="3f2a91c0",track="canary"}`}},
		"another time than the stage's":                              {600, "      from: 2026-01-20T10:00:00Z\n      to: 2026-01-20T11:00:00Z\n", nil, []string{"--to", "2026-01-20T10:45:00Z"}, 0, []string{"1 10:45 pass"}, nil},
		"versions": {600, hour, []string{byVersion}, []string{"--from", "2026-01-20T10:00:00Z", "--baseline", "aaaa1111-baseline", "--canary", "bbbb2222-canary"}, 0, nil,
			[]string{`errors{v="aaaa1111-baseline",track="baseline"}`, `errors{v="bbbb2222-canary",track="canary"}`}},
		"a metric of the operator's": {600, hour, []string{"use: slow"}, []string{"--from", "2026-01-20T10:00:00Z", "--project", "shop/web"}, 0, nil, []string{`slow{app="shop",track="baseline"}`, `slow{app="shop",track="canary"}`}},
		"a commit and a project": {600, hour, []string{strings.Replace(byVersion, "${{ version }}", "${{ commit.short_sha }}/${{ project.path }}", 1)}, []string{"--from", "2026-01-20T10:00:00Z", "--project", "shop/web", "--ref-sha", "3f2a91c0d4e5"}, 0, nil,
			[]string{`errors{v="3f2a91c0/shop/web",track="baseline"}`, `errors{v="3f2a91c0/shop/web",track="canary"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMeasured(t, shop(c.worse))
			samples := filepath.Join(t.TempDir(), "samples.json")
			report, out, code := trace(t, m.config(t), append([]string{canaryFile(t, c.keys, c.metrics...), "--samples", samples}, c.args...)...)
			if code != c.code || c.looks != nil && !slices.Equal(looksOf(report), c.looks) {
				t.Errorf("exit %d and looks %q, want %d and %q\n%s", code, looksOf(report), c.code, c.looks, out)
			}
			asked := m.questions()
			for i, want := range c.asked {
				if !strings.HasPrefix(asked[i], want+" from ") {
					t.Errorf("asked %q, want %s", asked, want)
				}
			}
			if code != canaryUnread {
				sameReport(t, samples, out, code)
			}
		})
	}
}

func TestTheLooksOfATraceHaveTheWindowsOfTheStage(t *testing.T) {
	t.Parallel()
	m := newMeasured(t, shop(600))
	samples := filepath.Join(t.TempDir(), "samples.json")
	file := canaryFile(t, "      interval: 20m\n      lifetime: 1h\n      window: sliding\n      lookback: 30m\n      offset: 2h\n")
	report, _, _ := trace(t, m.config(t), file, "--from", "2026-01-20T10:00:30Z", "--samples", samples)
	if diff := cmp.Diff(ten.Add(31*time.Minute), report.Series[0].Start); diff != "" {
		t.Errorf("the samples begin elsewhere (-want +got):\n%s", diff)
	}
	wantAsked := []string{
		`errors{track="baseline"} from 08:01 to 09:00`, `errors{track="canary"} from 10:01 to 11:00`,
		`requests{track="baseline"} from 08:01 to 09:00`, `requests{track="canary"} from 10:01 to 11:00`,
	}
	if diff := cmp.Diff(wantAsked, m.questions()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		Look, Looks int
		Metrics     []struct{ Baseline, Canary []float64 }
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	value := shop(600)
	if kept.Look != 3 || kept.Looks != 3 || len(kept.Metrics[0].Canary) != 29 || len(kept.Metrics[0].Baseline) != 29 {
		t.Fatalf("kept %+v", kept)
	}
	for i := range 29 {
		begin := ten.Add(time.Duration(31+i) * time.Minute)
		if kept.Metrics[0].Canary[i] != value("errors", begin) || kept.Metrics[0].Baseline[i] != value("errors", begin.Add(-2*time.Hour)) {
			t.Errorf("sample %d is %v and %v", i, kept.Metrics[0].Canary[i], kept.Metrics[0].Baseline[i])
		}
	}
}

func TestTracesThatAreRefused(t *testing.T) {
	t.Parallel()
	m := newMeasured(t, shop(600))
	config, file := m.config(t), canaryFile(t, "")
	there := write(t, "there.json", "mine")
	gone := strings.Replace(text(t, config), m.url, "http://127.0.0.1:1", 1)
	one := func(query string) string {
		return canaryFile(t, "", "{name: a, source: main, query: '"+query+"'}")
	}
	two := write(t, "two.yml", strings.Replace(text(t, file), "  - name: production\n", "  - name: again\n    canary: {environment: production, metrics: [{use: slow}]}\n  - name: production\n", 1))
	none := write(t, "none.yml", "version: 1\napplication: shop\nstages:\n  - {name: wait, wait: {for: 1m}}\n")
	soon := time.Now().Add(-30 * time.Minute).UTC().Format(time.RFC3339)
	ago := []string{"--from", "2026-01-20T10:00:00Z"}
	for name, c := range map[string]struct {
		config, file string
		args         []string
		want         string
	}{
		"no begin":                   {config, file, nil, "slipway: --from is missing: say when the warm-up ended, such as 2026-11-20T10:00:00Z\n"},
		"a begin that is no time":    {config, file, []string{"--from", "yesterday"}, "slipway: --from: \"yesterday\" is not a time such as 2026-11-20T10:00:00Z\n"},
		"an end that is no time":     {config, file, append(ago, "--to", "1h"), "slipway: --to: \"1h\" is not a time such as 2026-11-20T10:00:00Z\n"},
		"an end before the begin":    {config, file, append(ago, "--to", "2026-01-20T09:00:00Z"), "slipway: the time ends at 2026-01-20T09:00:00Z, which is not after its begin at 2026-01-20T10:00:00Z\n"},
		"a time that is not over":    {config, file, []string{"--from", soon}, "which is in the future: give another --from or --to\n"},
		"less than a step":           {config, canaryFile(t, "", "use: slow"), append(ago, "--to", "2026-01-20T10:01:30Z"), ".slipway.yml:8:16: the first look would have no samples: they are 1m0s apart (45s is the most)\n"},
		"too long a time":            {config, file, []string{"--from", "2025-01-01T00:00:00Z", "--to", "2025-03-01T00:00:00Z"}, ".slipway.yml:6:7: 30d is the most that is judged at once\n"},
		"no canary stage":            {config, none, ago, "slipway: the pipeline file has no canary stage\n"},
		"several canary stages":      {config, two, ago, "slipway: the pipeline file has several canary stages: say with --stage which of canary, again\n"},
		"a stage that is not there":  {config, two, append(ago, "--stage", "production"), "slipway: --stage: there is no canary stage production; there are canary, again\n"},
		"a file that is not right":   {config, canaryFile(t, "      lifetme: 1h\n"), ago, "did you mean lifetime?)\n"},
		"a file that is not there":   {config, "missing.yml", ago, "slipway: read the pipeline file: open missing.yml: no such file or directory\n"},
		"no configuration":           {"missing.yml", file, ago, "slipway: there is no configuration at missing.yml; name it with --config (docs/configuration.md has all keys)\n"},
		"a wrong configuration":      {write(t, "a.yml", "metrics_sources: [{name: a}]\n"), file, ago, "metrics_sources[0]: one of prometheus, datadog, "},
		"a secret that is missing":   {write(t, "a.yml", "metrics_sources: [{name: main, prometheus: {url: \"http://a\", token: \"${NOT_SET_HERE}\"}}]\n"), file, ago, "the environment variable NOT_SET_HERE is not set\n"},
		"a source that is missing":   {write(t, "a.yml", "metrics_sources: []\n"), file, ago, `there is no metrics source "main"`},
		"a source of other projects": {config, file, append(ago, "--project", "other/web"), `there is no metrics source "main"`},
		"a query that is refused":    {config, one(`rat(errors{track="${{ track }}"})`), ago, "slipway: metric a, asked of main: Prometheus does not take the query: unknown function rat, Bearer [secret]\n"},
		"a source that is down":      {write(t, "gone.yml", gone), file, ago, "connection refused"},
		"a wrong token":              {write(t, "wrong.yml", regexp.MustCompile(`token_file: "[^"]*"`).ReplaceAllString(text(t, config), "token: another")), file, ago, "401"},
		"no version":                 {config, one(`errors{v="${{ version }}"}`), ago, "slipway: metric a: its query can't be filled in: the version of the baseline is not known; give --baseline and --canary\n"},
		"one version":                {config, one(`errors{v="${{ version }}"}`), append(ago, "--baseline", "a"), "slipway: metric a: its query can't be filled in: the version of the canary is not known; give --baseline and --canary\n"},
		"a release":                  {config, one(`errors{v="${{ release }}"}`), append(ago, "--baseline", "a", "--canary", "b"), "slipway: metric a: its query can't be filled in: the release of the baseline is not known to a trace; let a copy of the pipeline file ask for ${{ version }} instead, and give what is to stand there with --baseline and --canary\n"},
		"a release of a time that has been": {config, canaryFile(t, "      from: 2026-01-20T10:00:00Z\n      to: 2026-01-20T10:50:00Z\n      baseline: 0ld0cafe\n", `{name: a, source: main, query: 'errors{v="${{ release }}"}'}`), []string{"--ref-sha", "3f2a91c0d4e5"},
			"the release of the baseline is not known to a trace"},
		"versions that are the same": {config, one(`errors{v="${{ version }}"}`), append(ago, "--baseline", "a", "--canary", "a"), "metric a: it asks the same for baseline and canary: errors{v=\"a\"}\n"},
		"a version that is a query":  {config, one(`errors{v="${{ version }}"}`), append(ago, "--baseline", "a", "--canary", `b"} or x{v="`), "which could change the query"},
		"no commit":                  {config, one(`errors{v="${{ track + commit.sha }}"}`), ago, "asks for commit, which is not known here\n"},
		"samples that are there":     {config, file, append(ago, "--samples", there), "slipway: --samples: " + there + " is there already\n"},
		"samples in no folder":       {config, file, append(ago, "--samples", "/does/not/exist"), "slipway: --samples: open /does/not/exist: no such file or directory\n"},
		"with lines":                 {config, file, append(ago, "--lines"), "slipway: --trace and --lines exclude each other\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, out, code := trace(t, c.config, append([]string{c.file}, c.args...)...)
			if code != canaryUnread || !strings.Contains(out, c.want) || strings.HasPrefix(c.want, "slipway: ") && out != c.want || strings.Contains(out, `"verdict"`) {
				t.Errorf("exit %d and\n%s\nwant\n%s", code, out, c.want)
			}
		})
	}
	t.Cleanup(func() {
		if data, err := os.ReadFile(there); err != nil || string(data) != "mine" {
			t.Errorf("the samples were written over: %s, %v", data, err)
		}
	})
	for _, flag := range []string{"config", "stage", "from", "to", "baseline", "canary", "project", "ref-sha", "samples"} {
		out, code := slipway(t, asked("1, 2, 3, 4"), "canary", "judge", "-", "--"+flag, "a")
		if want := "slipway: --" + flag + " is for --trace\n"; code != canaryUnread || out != want {
			t.Errorf("--%s without --trace: exit %d and %s", flag, code, out)
		}
	}
}

func TestSamplesThatCanNotBeKept(t *testing.T) {
	t.Parallel()
	m := newMeasured(t, shop(600))
	folder := t.TempDir()
	ago := []string{"--from", "2026-01-20T10:00:00Z", "--samples"}
	_, _, code := trace(t, m.config(t), append([]string{canaryFile(t, "")}, append(ago, filepath.Join(folder, "none", "samples.json"))...)...)
	if asked := m.questions(); code != canaryUnread || len(asked) > 0 {
		t.Errorf("without a folder for the samples it ends with %d and asks %q", code, asked)
	}
	_, _, code = trace(t, m.config(t), append([]string{canaryFile(t, "", "{name: a, source: main, query: 'rat(${{ track }})'}")}, append(ago, filepath.Join(folder, "samples.json"))...)...)
	if left, err := os.ReadDir(folder); code != canaryUnread || len(left) > 0 || err != nil {
		t.Errorf("without samples it ends with %d and leaves %v, error %v", code, left, err)
	}
}

func TestATraceReadsThePipelineFileFromStandardInput(t *testing.T) {
	t.Parallel()
	m := newMeasured(t, shop(600))
	out, code := slipway(t, text(t, canaryFile(t, "")), "canary", "judge", "--trace", "-", "-c", m.config(t), "--from", "2026-01-20T10:00:00Z")
	if code != 0 || !strings.Contains(out, `"verdict": "pass"`) {
		t.Errorf("exit %d and\n%s", code, out)
	}
}

// text is what a file holds.
func text(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
