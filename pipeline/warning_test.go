package pipeline_test

import (
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestEveryWarningSaysWhatWasNotDone(t *testing.T) {
	const detail = "the cluster forbids it"
	warned := 0
	for _, a := range allActions() {
		after, _, err := pipeline.Step(&pipeline.Plan{}, pipeline.Delivery{Schema: pipeline.DeliverySchema, ID: "7-12-3f2a91c0", Status: pipeline.StatusRunning}, pipeline.Failed{Effect: a.ActionKind(), Detail: detail}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range after.Warnings {
			warned++
			if words := w.Words(); words == detail {
				t.Errorf("of %s people read no more than %q", w.Effect, words)
			}
		}
	}
	if words := (pipeline.Warning{Effect: pipeline.WatchPair{}.ActionKind(), Detail: detail}).Words(); words == detail {
		t.Errorf("of a watch that failed people read no more than %q", words)
	}
	if warned < 6 {
		t.Errorf("only %d kinds of effects warn", warned)
	}
}
