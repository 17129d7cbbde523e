package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// jobEnd is how a Job ended.
type jobEnd struct {
	passed bool
	code   int32 // of the container that tells most
	detail string
	log    []string // redacted
}

// jobWatch is one watch of one Job.
type jobWatch struct {
	oneJob
	uid      types.UID
	patience Patience
	words    words
	last     Workload
	seen     bool
	trouble  string               // why the picture may be old
	waiting  bool                 // for a first pod, and the cluster doesn't say what hinders it
	since    map[string]time.Time // when each trouble that is there began
	ended    time.Time            // when the Job said that it has ended, zero if it hasn't
}

// watchJob watches until the Job has ended, or never will begin. A Job that can't begin is removed, so that it doesn't
// begin when nobody reckons with it any more.
func (e *Executor) watchJob(ctx context.Context, t *pipeline.Task, j oneJob, uid types.UID) (jobEnd, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stage, attempt := pipeline.StageOf(t.Effect.Do)
	w := &jobWatch{oneJob: j, uid: uid, patience: e.Patience, since: map[string]time.Time{}, words: words{interval: time.Second, say: func(text string) {
		if t.Progress != nil {
			t.Progress(pipeline.Progressed{Stage: stage, Attempt: attempt, Words: text})
		}
	}}}
	pictures, err := j.where.Cluster.Watch(ctx, []manifest.Object{j.job}, j.where.owner)
	if err != nil {
		return jobEnd{}, err
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return jobEnd{}, ctx.Err()
		case p, open := <-pictures:
			switch {
			case ctx.Err() != nil:
				return jobEnd{}, ctx.Err()
			case !open:
				return jobEnd{}, errors.New("the watch of the job ended by itself")
			case p.Err != nil:
				return jobEnd{}, p.Err
			}
			w.see(p)
		case <-timer.C:
		}
		end, failed, again := w.judge(time.Now())
		if failed != nil && failed.key == podless {
			if failed = w.refused(ctx); failed == nil {
				w.since[podless], w.waiting, again = time.Now(), true, 0
			}
		}
		switch {
		case failed != nil:
			return jobEnd{}, w.giveUp(ctx, *failed)
		case end != nil && w.complete(*end, time.Now()):
			w.explain(ctx, end)
			return *end, ctx.Err()
		case end != nil:
			again = podsLag
		}
		timer.Reset(again)
	}
}

// giveUp removes a Job that can't begin. While it can't be removed, it may begin yet, so that is tried again.
func (w *jobWatch) giveUp(ctx context.Context, t trouble) error {
	if t.code == pipeline.ReasonRunLost {
		return refusal(t.code, t.detail, nil)
	}
	failed := refusal(t.code, t.detail, nil)
	_, err := w.where.Cluster.Remove(ctx, []manifest.Object{w.job}, Claim{Owner: w.where.owner})
	failure, ok := pipeline.AsFailure(err)
	switch {
	case err != nil && (!ok || !failure.Permanent):
		return err
	case err == nil:
		err = w.outlasts(ctx)
		failed.Unchanged = err == nil // it is gone
	}
	return errors.Join(failed, err)
}

// outlasts waits for the pods of a Job that was removed, because some may have begun where others could not. It gives up
// on those that do not end in minutes.
func (w *jobWatch) outlasts(ctx context.Context) error {
	const longest = 5 * time.Minute
	for end := time.Now().Add(longest); ; {
		err := w.gone(ctx)
		if still, ok := pipeline.AsFailure(err); !ok || still.After == 0 || time.Now().After(end) {
			return err
		}
	}
}

// complete tells that the end of the pod that tells most has been seen, too, or doesn't come.
func (w *jobWatch) complete(end jobEnd, now time.Time) bool {
	if w.ended.IsZero() {
		w.ended = now
	}
	_, _, state := tellingContainer(w.last.Pods, end.passed)
	return state != nil || now.Sub(w.ended) >= podsLag
}

func (w *jobWatch) see(p Picture) {
	if w.trouble = p.Trouble; p.Trouble == "" && len(p.Workloads) == 1 {
		w.last, w.seen = p.Workloads[0], true
	}
}

// judge decides on the newest picture. again is after which time to decide anew if nothing happens before.
func (w *jobWatch) judge(now time.Time) (end *jobEnd, failed *trouble, again time.Duration) {
	again = time.Hour
	wakeAt := func(at time.Time) {
		if !at.IsZero() {
			again = max(0, min(again, at.Sub(now)))
		}
	}
	switch {
	case w.trouble != "":
		wakeAt(w.words.tell(w.trouble, now))
		return nil, nil, again
	case !w.seen:
		return nil, nil, again
	case w.last.Job == nil || w.last.Job.UID != w.uid:
		return nil, &trouble{code: pipeline.ReasonRunLost, detail: w.job.Title() + " is gone, or has lost Slipway's labels, before it ended"}, 0
	}
	for _, c := range w.last.Job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return &jobEnd{passed: true}, nil, 0
		case batchv1.JobFailed:
			return &jobEnd{detail: c.Reason, code: 1}, nil, 0
		default: // it has not ended yet
		}
	}
	present := map[string]bool{}
	for _, t := range w.troubles() {
		present[t.key] = true
		if _, known := w.since[t.key]; !known {
			w.since[t.key] = now
		}
		end := w.since[t.key].Add(t.patience)
		if !now.Before(end) {
			return nil, &t, 0
		}
		wakeAt(end)
	}
	for key := range w.since {
		if !present[key] {
			delete(w.since, key)
		}
	}
	words := jobWords(w.last)
	if present[podless] && w.waiting {
		words = "the cluster has made no pod for it yet"
	}
	wakeAt(w.words.tell(words, now))
	return nil, nil, again
}

// troubles are what keeps the Job's pods from beginning. How often a container may fail is the Job's own matter.
func (w *jobWatch) troubles() []trouble {
	var found []trouble
	if hasNoPod(w.last) {
		found = append(found, trouble{key: podless, patience: w.patience.Refused})
	}
	for _, p := range w.last.Pods {
		for _, t := range podTroubles(p, w.patience) {
			if t.code != pipeline.ReasonCrashLoop && !strings.HasPrefix(t.key, "failed/") {
				found = append(found, t)
			}
		}
	}
	return found
}

// jobWords says how far a Job is.
func jobWords(w Workload) string {
	status := w.Job.Status
	want := int32(1)
	if w.Job.Spec.Completions != nil {
		want = *w.Job.Spec.Completions
	}
	text := "its pod is starting"
	running := slices.ContainsFunc(w.Pods, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	switch {
	case w.Job.Spec.Suspend != nil && *w.Job.Spec.Suspend:
		text = "the job is suspended"
	case want > 1:
		text = fmt.Sprintf("%d of %d pods have ended", status.Succeeded, want)
	case running:
		text = "the job is running"
	}
	if status.Failed == 1 {
		text += ", 1 try has failed"
	} else if status.Failed > 1 {
		text += fmt.Sprintf(", %d tries have failed", status.Failed)
	}
	return text
}

// explain adds what the pods and their log tell.
func (w *jobWatch) explain(ctx context.Context, end *jobEnd) {
	pod, container, state := tellingContainer(w.last.Pods, end.passed)
	var why []string
	if state != nil {
		end.code = state.ExitCode
		if why = append(why, fmt.Sprintf("exit code %d", state.ExitCode)); state.Reason == "OOMKilled" {
			why[0] = "ran out of memory (OOMKilled), exit code " + strconv.Itoa(int(state.ExitCode))
		}
	}
	if pod != "" {
		const lines, line = 20000, 4000
		raw, err := w.where.Cluster.LogTail(ctx, pod, container, false, lines)
		if err == nil {
			for _, text := range raw {
				end.log = append(end.log, w.redact.line(clean(text, line)))
			}
		}
	}
	if end.passed {
		end.detail = ""
		return
	}
	switch end.detail {
	case batchv1.JobReasonBackoffLimitExceeded:
		why = append(why, "no more tries (BackoffLimitExceeded)")
	case batchv1.JobReasonDeadlineExceeded:
		why = append(why, "it took too long (DeadlineExceeded)")
	default:
		why = append(why, clean(end.detail, 100))
	}
	end.detail = w.job.Title() + ": " + strings.Join(why, ", ")
	if tail := w.redact.tail(end.log, maxDetail-len([]rune(end.detail))-len("\n")); tail != "" {
		end.detail += "\n" + tail
	}
}

// tellingContainer is the one whose log tells how a Job ended: of the newest pod one that failed, or else its first.
func tellingContainer(pods []*corev1.Pod, passed bool) (pod, container string, state *corev1.ContainerStateTerminated) {
	newest := slices.Clone(pods)
	slices.SortStableFunc(newest, func(a, b *corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	for _, p := range newest {
		statuses := append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...)
		for _, s := range statuses {
			if s.State.Terminated != nil && s.State.Terminated.ExitCode != 0 && !passed {
				return p.Name, s.Name, s.State.Terminated
			}
		}
	}
	for _, p := range newest {
		for _, s := range p.Status.ContainerStatuses {
			if passed == (p.Status.Phase == corev1.PodSucceeded) {
				return p.Name, s.Name, s.State.Terminated
			}
		}
	}
	return "", "", nil
}
