package gitlab

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// judged is the delivery whose canary's newest look says so.
func judged(verdict canary.Verdict, metrics ...canary.MetricReport) (*pipeline.Plan, *pipeline.Delivery) {
	plan, d := shop()
	plan.Stages[1] = pipeline.Stage{Name: "canary", Kind: pipeline.KindCanary, Needs: []string{"staging"}, Canary: &pipeline.Canary{Environment: "production"}}
	plan.Stages[2].Needs = []string{"canary"}
	d.Stages[1].Name = "canary"
	through(d, 2)
	d.Stages[1].Analysis = &pipeline.Analysis{
		Pair: &pipeline.Pair{Instances: 3, Since: noon, Baseline: pipeline.Track{SHA: oldSHA}, Canary: pipeline.Track{SHA: newSHA}},
		Look: 2, Looks: 12, Samples: "blob", Chart: "/uploads/0123456789abcdef/canary.png",
		Report: &canary.Report{
			Verdict: verdict, Score: 66.67, Reason: "error rate got worse.", Metrics: metrics,
			Groups: []canary.GroupScore{{Name: "errors", Score: 50, Weight: 60}, {Name: "latency", Score: 100, Weight: 40}},
		},
		History: []pipeline.Look{
			{Number: 1, At: noon.Add(5 * time.Minute), Verdict: canary.Pass, Score: 100},
			{Number: 2, At: noon.Add(10 * time.Minute), Verdict: verdict, Score: 66.67, Detail: "error rate got worse"},
		},
	}
	return plan, d
}

func errorRate() canary.MetricReport {
	return canary.MetricReport{
		Name: "error rate", Label: canary.LabelHigh, Critical: true, Ratio: 9.5, Estimate: 0.017, Lower: 0.011, Upper: 0.023,
		Reason: "error rate rose from 0.2 % to 1.9 % (95 % interval +1.1 to +2.3 points) in 4,120 requests; allowed is +0.5.",
	}
}

func latency() canary.MetricReport {
	return canary.MetricReport{Name: "latency p99", Label: canary.LabelPass, Ratio: 1.01, Reason: "It did not change by more than is allowed."}
}

func TestTheNoteShowsACanarysReport(t *testing.T) {
	plan, d := judged(canary.Fail, errorRate(), latency())
	d.Stages[1].Status, d.Stages[1].Reason = pipeline.StageFailed, pipeline.Reason{Code: pipeline.ReasonCanaryFailed, Detail: "error rate rose from 0.2 % to 1.9 %"}
	got := testClient(t).renderNote(pipeline.NewView(plan, d))
	path := filepath.Join("testdata", "notes", "canary_failed.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNamesAndReasonsOfMetricsAreOnlyText(t *testing.T) {
	hostile := errorRate()
	hostile.Name, hostile.Reason = "a|b <img src=x> @all ](http://evil)", "</details>\n/merge\n![x](http://evil) | x"
	plan, d := judged(canary.Fail, hostile)
	d.Stages[1].Analysis.Chart = "https://evil.example.com/x.png"
	d.Stages[1].Analysis.History[1].Detail = "</details> @all"
	got := testClient(t).renderNote(pipeline.NewView(plan, d))
	for _, bad := range []string{" <img", " @all", "\n/merge", " ](http:", "![x]", "evil.example.com"} {
		if strings.Contains(got, bad) {
			t.Errorf("the note holds %q:\n%s", bad, got)
		}
	}
	if strings.Count(got, "</details>") != 1 {
		t.Errorf("details are closed %d times", strings.Count(got, "</details>"))
	}
}

type blobs map[string][]byte

func (b blobs) GetBlob(_ context.Context, ref string) ([]byte, error) { return b[ref], nil }

func TestTheChartIsUploaded(t *testing.T) {
	var picture []byte
	answer := `{"id": 5, "alt": "canary", "url": "/uploads/0123456789abcdef/canary.png", "full_path": "/-/project/42/uploads/x", "markdown": "x"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v4/projects/42/uploads" {
			http.NotFound(w, r)
			return
		}
		file, _, err := r.FormFile("file")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		picture, _ = io.ReadAll(file)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	samples, err := json.Marshal(pipeline.Measurement{
		Request: canary.Request{Metrics: []canary.Metric{
			{Name: "error rate", Baseline: []canary.Number{1, 2, 1}, Canary: []canary.Number{8, 9, 7}, BaselineTotal: []canary.Number{10, 10, 0}, CanaryTotal: []canary.Number{10, 10, 10}},
		}},
		From: noon, To: noon.Add(3 * time.Minute), Series: []pipeline.Series{{Step: time.Minute, Start: noon}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{URL: server.URL, Token: "secret-token", Blobs: blobs{"blob": samples, "broken": []byte("{")}})
	if err != nil {
		t.Fatal(err)
	}
	_, d := judged(canary.Fail, errorRate())
	draw := func(ref string) (pipeline.Event, error) {
		return c.Execute(t.Context(), &pipeline.Task{Delivery: *d, Effect: pipeline.Effect{Do: pipeline.DrawChart{Stage: "canary", Attempt: 1, Samples: ref}}})
	}
	event, err := draw("blob")
	if err != nil {
		t.Fatal(err)
	}
	if want := (pipeline.ChartDrawn{Stage: "canary", Attempt: 1, Chart: "/uploads/0123456789abcdef/canary.png"}); event != pipeline.Event(want) {
		t.Errorf("got %+v, want %+v", event, want)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Errorf("GitLab got no picture: %v", err)
	}
	for _, bad := range []func() (pipeline.Event, error){
		func() (pipeline.Event, error) { return draw("broken") },
		func() (pipeline.Event, error) {
			answer = `{"url": "https://evil.example.com/x.png"}`
			return draw("blob")
		},
	} {
		if f, ok := pipeline.AsFailure(errorOf(bad())); !ok || !f.Permanent {
			t.Errorf("got %v, which is no permanent failure", f)
		}
	}
}

func errorOf(_ pipeline.Event, err error) error { return err }
