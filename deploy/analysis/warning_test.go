package analysis_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestWhatASourceRemarksIsKeptWithTheSeries(t *testing.T) {
	s := newScene()
	s.warns = func(query string) string {
		metric, _, _ := strings.Cut(query, "{")
		return "PromQL info: of " + metric
	}
	if _, err := s.look(t); err != nil {
		t.Fatal(err)
	}
	var kept pipeline.Measurement
	if err := json.Unmarshal(s.blobs["kept"], &kept); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"PromQL info: of p99", "PromQL info: of errors; PromQL info: of requests"} {
		if got := kept.Series[i].Warning; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The look can be made again, and is not judged.
func TestAPartOfTheSamplesIsNoLook(t *testing.T) {
	s := newScene()
	s.warns = func(query string) string {
		if strings.HasPrefix(query, "requests") {
			return "receive series from Addr: store-1: rpc error: code = Unavailable"
		}
		return "PromQL info: nothing of importance"
	}
	_, err := s.look(t)
	var failed *pipeline.Failure
	if !errors.As(err, &failed) || failed.Permanent || failed.Code != pipeline.ReasonUnreachable || !strings.Contains(failed.Detail, "only a part") || len(s.blobs) != 0 {
		t.Errorf("got %v", err)
	}
}
