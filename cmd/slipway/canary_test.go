package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// asked is a request to judge kayenta by one metric, whose baseline is 1 to 4.
func asked(samples string, more ...string) string {
	return `{"judge": "kayenta", "metrics": [{"name": "latency", "baseline": [1, 2, 3, 4], "canary": [` + samples + `]}]` + strings.Join(more, "") + `}`
}

func TestCanaryJudge(t *testing.T) {
	t.Parallel()
	good, bad := write(t, "good.json", asked("4, 3, 2, 1")), write(t, "bad.json", `{"metrics": [{"name": "latency", "basline": []}]}`)
	const unknown = `metrics[0] "latency": unknown key "basline"; the keys are name, groups, kind, direction, critical, advisory, must_have_data, nan, outliers, effect_size, baseline, canary, baseline_total, canary_total` + "\n"
	for name, c := range map[string]struct {
		args    []string
		stdin   string
		verdict string // in the output, if that is a report
		out     string // of no report
		code    int
	}{
		"a canary that passes":            {[]string{good}, "", `"verdict": "pass"`, "", 0},
		"a canary that fails":             {[]string{"-"}, asked("10, 20, 30, 40"), `"verdict": "fail"`, "", 1},
		"a canary that is neither":        {[]string{"-"}, asked("10, 20, 30, 40", `, "score": {"marginal": 0}`), `"verdict": "marginal"`, "", 3},
		"a canary that can't be judged":   {[]string{"-"}, `{"judge": "kayenta", "metrics": [{"name": "a", "baseline": [1], "canary": [], "nan": "replace"}]}`, `"verdict": "inconclusive"`, "", 3},
		"a file that is not sound":        {[]string{bad}, "", "", "slipway: the request is not sound: " + unknown, 2},
		"standard input that is no JSON":  {[]string{"-"}, "nonsense", "", "slipway: the request is not sound: this is no JSON: line 1, column 2: invalid character 'o' in literal null (expecting 'u')\n", 2},
		"a number that is none":           {[]string{"-"}, asked("1e999"), "", "slipway: the request is not sound: metrics[0] \"latency\": canary[0]: 1e999 is too large for a number\n", 2},
		"nothing at all":                  {[]string{"-"}, "", "", "slipway: the request is not sound: there is nothing to read\n", 2},
		"a file that is missing":          {[]string{"missing.json"}, "", "", "slipway: read the request: open missing.json: no such file or directory\n", 2},
		"a folder":                        {[]string{t.TempDir()}, "", "", "", 2},
		"no file":                         {nil, "", "", "slipway: accepts 1 arg(s), received 0\n", 2},
		"a flag that is not known":        {[]string{"--nope", good}, "", "", "slipway: unknown flag: --nope\n", 2},
		"lines of a file that is missing": {[]string{"--lines", "missing.json"}, "", "", "slipway: read the request: open missing.json: no such file or directory\n", 2},
	} {
		out, code := slipway(t, c.stdin, append([]string{"canary", "judge"}, c.args...)...)
		if code != c.code || c.out != "" && out != c.out || !strings.Contains(out, c.verdict) {
			t.Errorf("%s: exit %d and\n%s\nwant exit %d and %s%s", name, code, tail(out, 2000), c.code, c.verdict, c.out)
		}
		var report canary.Report
		if c.verdict != "" && json.Unmarshal([]byte(out), &report) != nil {
			t.Errorf("%s: it is no report: %s", name, out)
		}
	}
}

func TestCanaryJudgeAnswersEachLine(t *testing.T) {
	t.Parallel()
	good := asked("4, 3, 2, 1")
	for name, c := range map[string]struct {
		stdin   string
		answers []string // how each begins
		code    int
	}{
		"good lines":                     {good + "\n" + asked("10, 20, 30, 40") + "\n", []string{`{"verdict":"pass"`, `{"verdict":"fail"`}, 0},
		"a last line without an end":     {good + "\n" + good, []string{`{"verdict":"pass"`, `{"verdict":"pass"`}, 0},
		"lines that end as in Windows":   {good + "\r\n", []string{`{"verdict":"pass"`}, 0},
		"no line":                        {"", nil, 0},
		"a bad line among good ones":     {good + "\n[]\n" + good + "\n", []string{`{"verdict":"pass"`, `{"error":"here is an object expected, and it is a list"}`, `{"verdict":"pass"`}, 2},
		"an empty line":                  {good + "\n\n" + good, []string{`{"verdict":"pass"`, `{"error":"there is nothing to read"}`, `{"verdict":"pass"`}, 2},
		"a request that is on two lines": {strings.Replace(good, ", ", ",\n", 1), []string{`{"error":"this is no JSON`, `{"error":"this is no JSON`}, 2},
		"a line that is far too long": {
			good + "\n" + strings.Repeat(" ", canary.MaxRequest+100_000) + "\n" + good, []string{`{"verdict":"pass"`, `{"error":"the request is larger than 64 MiB"}`, `{"verdict":"pass"`}, 2,
		},
	} {
		out, code := slipway(t, c.stdin, "canary", "judge", "--lines", "-")
		var answers []string
		if out != "" {
			answers = strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		}
		if code != c.code || len(answers) != len(c.answers) {
			t.Errorf("%s: exit %d and %d answers, want exit %d and %d:\n%s", name, code, len(answers), c.code, len(c.answers), tail(out, 2000))
			continue
		}
		for i, begin := range c.answers {
			if !strings.HasPrefix(answers[i], begin) {
				t.Errorf("%s: answer %d is %s, want %s…", name, i, answers[i], begin)
			}
		}
	}
}

// TestALineIsAnsweredBeforeTheNextIsWritten waits for each answer, as a program does that asks look by look.
func TestALineIsAnsweredBeforeTheNextIsWritten(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "canary", "judge", "--lines", "-")
	cmd.Env = append(os.Environ(), asSlipway+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	for i := range 100 {
		request, want := asked("4, 3, 2, 1"), `{"verdict":"pass"`
		if i%3 == 1 {
			request, want = "[", `{"error":`
		}
		if _, err := io.WriteString(in, request+"\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(answer, want) {
			t.Fatalf("answer %d is %q, %v", i, answer, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("it ends with %v", err)
	}
}

// endless repeats a line so many times.
type endless struct {
	line  []byte
	at    int
	times int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && e.times > 0 {
		copied := copy(p[n:], e.line[e.at:])
		n += copied
		if e.at += copied; e.at == len(e.line) {
			e.at, e.times = 0, e.times-1
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

type counter struct{ lines, bad int }

func (c *counter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte("\n"))
	c.bad += bytes.Count(p, []byte(`"error"`))
	return len(p), nil
}

func TestManyLinesTakeNoMoreMemoryThanFew(t *testing.T) {
	const times = 20_000
	line := []byte(asked(strings.TrimSuffix(strings.Repeat("4, 3, 2, 1, ", 25), ", ")) + "\n")
	held := func(times int) uint64 {
		var out counter
		if err := judgeLines(&endless{line: line, times: times}, &out); err != nil || out.lines != times || out.bad > 0 {
			t.Fatalf("%d lines are answered by %d, %d of them errors: %v", times, out.lines, out.bad, err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys
	}
	few := held(100)
	if many := held(times); many > few+32<<20 {
		t.Errorf("after 100 lines the heap had %d KiB, after %d it has %d", few>>10, times, many>>10)
	}
}

func TestCanaryImport(t *testing.T) {
	t.Parallel()
	const config = `{"name": "shop", "metrics": [{"name": "errors", "groups": ["http"], "query": {"type": "prometheus", "customInlineTemplate": "PromQL:sum(errors{v=\"${scope}\",r=\"${region}\"})"},
		"analysisConfigurations": {"canary": {"direction": "increase", "critical": true}}}%s], "classifier": {"groupWeights": {"http": 100}, "scoreThresholds": {"pass": 90, "marginal": 60}}}`
	file := write(t, "config.json", fmt.Sprintf(config, ""))
	const stage = `# From Kayenta's canary configuration shop.
- name: canary
  canary:
    environment: live
    # How long and how often is not in Kayenta's configuration but in Spinnaker's stage: set what you had there.
    instances: 3
    warmup: 5m
    interval: 5m
    lifetime: 1h
    window: growing
    judge: kayenta
    confidence: 0.98
    score: {pass: 90, marginal: 60}
    # Spinnaker's stage fails a canary that ends between the two; judgement asks people instead.
    marginal: fail
    groups:
      http: 100
    metrics:
      - name: errors
        source: prometheus
        query: 'sum(errors{v="shop-${{ track }}",r="eu=1"})'
        kind: gauge
        groups: [http]
        direction: increase
        critical: true
        step: 60s
`
	out, code := slipway(t, "", "canary", "import", "--environment", "live", "--scope", "shop-${{ track }}", "--set", "region=eu=1", file)
	if code != 0 || out != stage {
		t.Errorf("exit %d and\n%s\nwant\n%s", code, out, stage)
	}
	muted := fmt.Sprintf(config, `, {"name": "extra", "query": {"type": "graphite", "metricName": "$scope.x"}, "analysisConfigurations": {"canary": {"muted": true}}}`)
	for name, c := range map[string]struct {
		args  []string
		stdin string
		out   string
		code  int
	}{
		"what is not known is said":          {[]string{"-"}, fmt.Sprintf(config, ""), "metrics[0] \"errors\": query: nothing is known for ${region}: put its value there, or name it with --set region=VALUE\n", 0},
		"a metric that is left out is said":  {[]string{"-"}, muted, "metrics[1] \"extra\": it is left out: it is muted", 1},
		"a metric that is left out is shown": {[]string{"-"}, muted, "\n      # - name: extra\n", 1},
		"what a pipeline file would not take": {
			[]string{"-"}, `{"metrics": [{"name": "` + strings.Repeat("x", 100) + `", "query": {"type": "graphite", "metricName": "$scope"}}]}`, "the stage:18:15: ", 0,
		},
		"a configuration that is none":         {[]string{"-"}, "[]", "slipway: read the configuration -: it is no JSON object\n", 2},
		"a configuration that is missing":      {[]string{"missing.json"}, "", "slipway: read the configuration: open missing.json: no such file or directory\n", 2},
		"a value without a name":               {[]string{"--set", "=x", file}, "", "slipway: --set =x: NAME=VALUE is expected\n", 2},
		"no configuration":                     {nil, "", "slipway: accepts 1 arg(s), received 0\n", 2},
		"a configuration that is far too long": {[]string{"-"}, strings.Repeat(" ", 2<<20), "slipway: read the configuration -: it is larger than 1024 KiB\n", 2},
	} {
		out, code := slipway(t, c.stdin, append([]string{"canary", "import"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.out) {
			t.Errorf("%s: exit %d and\n%s\nwant exit %d and %s", name, code, tail(out, 2000), c.code, c.out)
		}
	}
}
