package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// blameTime is how long it is waited, when a canary doesn't come up, whether its baseline does: if that doesn't either,
// the commit is not to blame.
const blameTime = 10 * time.Second

// pairWatch waits for the pods of both tracks.
type pairWatch struct {
	sides [2]*watching // the baseline, and the canary
	notes []string
	words words
	since time.Time // when the canary failed, zero if it hasn't
}

// awaitPair waits until the pods of both tracks are available, or tells which track doesn't come up and why.
func (e *Executor) awaitPair(ctx context.Context, t *pipeline.Task, a pipeline.StartPair, d *duet) (pipeline.Pair, error) {
	w := &pairWatch{notes: d.notes, words: words{interval: time.Second, say: func(text string) {
		if t.Progress != nil {
			t.Progress(pipeline.Progressed{Stage: a.Stage, Attempt: a.Attempt, Words: text})
		}
	}}}
	redact := newRedactor(manifest.Set{Objects: slices.Concat(d.sides[0].set.Objects, d.sides[1].set.Objects)})
	var objects []manifest.Object
	for i, s := range d.sides {
		release := s.release
		release.Images = imagesOf(manifest.Set{Objects: s.deployments})
		w.sides[i] = &watching{
			release: release, objects: s.deployments, cluster: d.where.Cluster, patience: e.Patience, redact: redact,
			since: map[string]time.Time{}, words: words{say: func(string) {}},
		}
		objects = append(objects, s.deployments...)
	}
	if err := watch(ctx, d.where.Cluster, objects, d.where.owner, w.see, w.judge); err != nil {
		return pipeline.Pair{}, err
	}
	return pipeline.Pair{
		Instances: d.canary.Instances, Since: time.Now().UTC(), Baseline: d.sides[0].became(w.sides[0]), Canary: d.sides[1].became(w.sides[1]),
	}, nil
}

// became is the track as the delivery knows it.
func (s *side) became(w *watching) pipeline.Track {
	t := pipeline.Track{Version: s.version, Release: s.release.ID, SHA: s.release.SHA, Images: w.images()}
	for _, o := range s.deployments {
		t.Workloads = append(t.Workloads, o.GetName())
	}
	return t
}

// see gives each track its workloads.
func (w *pairWatch) see(p Picture) {
	first := len(w.sides[0].objects)
	for i, s := range w.sides {
		own := p
		if len(p.Workloads) == first+len(w.sides[1].objects) {
			own.Workloads = p.Workloads[:first]
			if i == 1 {
				own.Workloads = p.Workloads[first:]
			}
		}
		s.see(own)
	}
}

// judge decides on both tracks. What keeps the baseline from coming up is told before what keeps the canary.
func (w *pairWatch) judge(ctx context.Context, now time.Time) (bool, time.Duration, error) {
	readyBaseline, failedBaseline, baseline := w.sides[0].decide(ctx, now)
	readyCanary, failedCanary, again := w.sides[1].decide(ctx, now)
	again = min(again, baseline)
	switch {
	case failedBaseline != nil:
		failedBaseline.detail = w.excuse() + failedBaseline.detail
		return false, 0, w.sides[0].failure(ctx, *failedBaseline)
	case failedCanary == nil:
		w.since = time.Time{}
	default:
		if w.since.IsZero() {
			w.since = now
		}
		left := w.since.Add(blameTime).Sub(now)
		if readyBaseline || left <= 0 {
			failedCanary.detail = "canary: " + failedCanary.detail
			return false, 0, w.sides[1].failure(ctx, *failedCanary)
		}
		again = min(baseline, left)
	}
	if at := w.words.tell(w.text(), now); !at.IsZero() {
		again = max(0, min(again, at.Sub(now)))
	}
	return readyBaseline && readyCanary, again, nil
}

// excuse says that a baseline which doesn't come up is nothing of the commit's, but for its resources.
func (w *pairWatch) excuse() string {
	if slices.ContainsFunc(w.notes, func(note string) bool { return strings.Contains(note, "resources that the commit gives") }) {
		return "the baseline, which is the release before with the resources of the commit, doesn't come up: "
	}
	return "the baseline doesn't come up, which is not the commit's doing: "
}

// text says how far both tracks are.
func (w *pairWatch) text() string {
	for _, s := range w.sides {
		if s.last.Trouble != "" {
			return s.last.Trouble
		}
		if !s.seen {
			return ""
		}
	}
	count := func(w *watching) string {
		var ready, want int32
		for _, s := range w.stand {
			ready, want = ready+s.ready, want+s.want
		}
		return fmt.Sprintf("%d of %d", ready, want)
	}
	text := fmt.Sprintf("baseline %s, canary %s available", count(w.sides[0]), count(w.sides[1]))
	return clip(strings.Join(append([]string{text}, w.notes...), "; "), maxDetail)
}
