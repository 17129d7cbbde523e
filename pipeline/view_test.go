package pipeline_test

import (
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// FuzzParseToken: what is read is what Token wrote, and nothing else is.
func FuzzParseToken(f *testing.F) {
	f.Add("7-12-3f2a91c0/go-live/2")
	f.Add("7-12-3f2a91c0/go-live/0")
	f.Add("7-12-3f2a91c0/go-live/+1")
	f.Add("7-12-3f2a91c0/go-live/99999999999999999999")
	f.Add("//1")
	f.Add("a/b/c/1")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		delivery, stage, attempt, err := pipeline.ParseToken(token)
		if err != nil {
			if delivery != "" || stage != "" || attempt != 0 {
				t.Fatalf("%q is an error and gives %q, %q, %d", token, delivery, stage, attempt)
			}
			return
		}
		if attempt < 1 || delivery == "" || stage == "" || strings.Contains(delivery+stage, "/") {
			t.Fatalf("%q was read as %q, %q, %d", token, delivery, stage, attempt)
		}
		if again := pipeline.Token(delivery, stage, attempt); again != token {
			t.Fatalf("%q was read, and is written %q", token, again)
		}
	})
}

func TestTokensAreReadBack(t *testing.T) {
	delivery, stage, attempt, err := pipeline.ParseToken(pipeline.Token("7-12-3f2a91c0-r1", "go-live", 3))
	if err != nil || delivery != "7-12-3f2a91c0-r1" || stage != "go-live" || attempt != 3 {
		t.Errorf("got %q, %q, %d, %v", delivery, stage, attempt, err)
	}
}

// TestEveryStatusHasAnIcon finds a status that was added and not shown.
func TestEveryStatusHasAnIcon(t *testing.T) {
	for _, s := range []pipeline.Status{
		pipeline.StatusLoading, pipeline.StatusWaiting, pipeline.StatusRunning, pipeline.StatusSucceeded, pipeline.StatusFailed,
		pipeline.StatusRolledBack, pipeline.StatusRejected, pipeline.StatusCanceled, pipeline.StatusSuperseded, pipeline.StatusInvalid,
	} {
		if s.Icon() == pipeline.StatusNone.Icon() {
			t.Errorf("%s has no icon", s)
		}
	}
	for _, s := range []pipeline.StageStatus{
		pipeline.StagePending, pipeline.StageQueued, pipeline.StageRunning, pipeline.StageAsking, pipeline.StageRollingBack,
		pipeline.StageSucceeded, pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRejected, pipeline.StageExpired,
		pipeline.StageCanceled, pipeline.StageSkipped, pipeline.StageSuperseded,
	} {
		if s.Icon() == pipeline.StageStatus("unheard of").Icon() {
			t.Errorf("%s has no icon", s)
		}
	}
}
