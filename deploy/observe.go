package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// observe watches a release until all its workloads are rolled out, or one of them never will be. It is driven by what
// the cluster tells; time only decides how long a trouble may last. It ends at the latest with the context.
func (e *Executor) observe(ctx context.Context, t *pipeline.Task, a pipeline.Observe) (pipeline.Event, error) {
	stage, err := definition(t, a.Stage)
	if err != nil {
		return nil, err
	}
	where, err := e.place(ctx, t, stage.Environment(), a.Release)
	if err != nil {
		return nil, err
	}
	set, err := e.recorded(ctx, a.Release)
	if err != nil {
		return nil, err
	}
	w := &watching{
		release: a.Release, patience: e.Patience, since: map[string]time.Time{}, redact: newRedactor(set), cluster: where.Cluster,
		words: words{interval: time.Second, say: func(text string) {
			if t.Progress != nil {
				t.Progress(pipeline.Progressed{Stage: a.Stage, Attempt: a.Attempt, Words: text})
			}
		}},
	}
	arr, err := where.arrange(set, a.Release)
	if err != nil {
		return nil, err
	}
	for _, o := range arr.set().Objects {
		if isKind(o, "Deployment", "StatefulSet", "DaemonSet") {
			w.objects = append(w.objects, o)
		}
	}
	if len(w.objects) > 0 {
		if err := w.run(ctx, where.owner); err != nil {
			return nil, err
		}
	}
	e.Logger.InfoContext(ctx, "rolled out a release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "release", a.Release.ID)
	return pipeline.RolledOut{Stage: a.Stage, Attempt: a.Attempt, Images: w.images()}, nil
}

// watching is one watch of one release.
type watching struct {
	release  pipeline.Release
	objects  []manifest.Object // the workloads
	cluster  Cluster
	patience Patience
	redact   redactor
	words    words

	last     Picture
	seen     bool
	stand    []standing           // of the workloads, when they were last judged
	since    map[string]time.Time // when each trouble that is there began
	standing string               // of those without a deadline of their own, as text to compare
	moved    time.Time            // when that changed
	lacking  map[types.UID]lack   // pods that the cluster may refuse
	finished time.Time            // when all workloads said that they are rolled out, zero if they don't
}

// run returns nil when everything is rolled out.
func (w *watching) run(ctx context.Context, owner Owner) error {
	return watch(ctx, w.cluster, w.objects, owner, w.see, func(ctx context.Context, now time.Time) (bool, time.Duration, error) {
		done, failed, again := w.decide(ctx, now)
		if failed != nil {
			return false, 0, w.failure(ctx, *failed)
		}
		return done, again, nil
	})
}

// watch hands on how workloads are, and has it judged whenever that has changed or the time has come that the judge named,
// until it is done or has failed.
func watch(ctx context.Context, cluster Cluster, objects []manifest.Object, owner Owner, see func(Picture),
	judge func(ctx context.Context, now time.Time) (done bool, again time.Duration, err error),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pictures, err := cluster.Watch(ctx, objects, owner)
	if err != nil {
		return err
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, open := <-pictures:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !open {
				return errors.New("the watch of the rollout ended by itself")
			}
			if p.Err != nil {
				return p.Err
			}
			see(p)
		case <-timer.C:
		}
		done, again, err := judge(ctx, time.Now())
		if done || err != nil {
			return err
		}
		timer.Reset(again)
	}
}

// decide judges, and asks the cluster where only its events tell why there are no pods.
func (w *watching) decide(ctx context.Context, now time.Time) (done bool, failed *trouble, again time.Duration) {
	done, failed, again = w.judge(now)
	if failed == nil || failed.key != podless {
		return done, failed, again
	}
	if failed = w.refused(ctx); failed != nil {
		return false, failed, 0
	}
	w.since[podless] = now // and then it is looked again
	return w.judge(now)
}

// see keeps the newest picture. One that only tells of trouble keeps the workloads of the one before.
func (w *watching) see(p Picture) {
	if p.Trouble != "" {
		w.last.Trouble = p.Trouble
		return
	}
	w.last, w.seen = p, true
}

// judge decides on the newest picture. again is after which time to decide anew if nothing happens before.
func (w *watching) judge(now time.Time) (done bool, failed *trouble, again time.Duration) {
	again = time.Hour
	wakeAt := func(at time.Time) {
		if !at.IsZero() {
			again = max(0, min(again, at.Sub(now)))
		}
	}
	if w.last.Trouble != "" || !w.seen {
		if w.last.Trouble != "" {
			wakeAt(w.words.tell(w.last.Trouble, now))
		}
		return false, nil, again
	}
	all, troubles := w.look(now)
	w.stand = all
	present := map[string]bool{}
	for i := range troubles {
		t := &troubles[i]
		present[t.key] = true
		if _, known := w.since[t.key]; !known {
			w.since[t.key] = now
		}
		end := w.since[t.key].Add(t.patience)
		if !now.Before(end) {
			return false, t, 0
		}
		wakeAt(end)
	}
	for key := range w.since {
		if !present[key] {
			delete(w.since, key)
		}
	}
	wakeAt(w.words.tell(summary(all), now))
	for _, s := range all {
		if !s.done {
			w.finished = time.Time{}
			return false, nil, again
		}
	}
	return w.complete(now, all), nil, min(again, podsLag)
}

// podsLag is how much later than its workload's status a pod's own may arrive: they come by different watches.
const podsLag = time.Second

// complete tells that the pods, whose digests are recorded, have been seen, too, or don't come.
func (w *watching) complete(now time.Time, all []standing) bool {
	if w.finished.IsZero() {
		w.finished = now
	}
	if now.Sub(w.finished) >= podsLag {
		return true
	}
	for i, s := range all {
		ready := int32(0)
		for _, p := range w.last.Workloads[i].Pods {
			if isReady(p) {
				ready++
			}
		}
		if ready < s.want {
			return false
		}
	}
	return true
}

// look reads all workloads. The troubles are sorted by how much they tell: what is wrong with a pod explains why a
// deadline has passed.
func (w *watching) look(now time.Time) ([]standing, []trouble) {
	var all []standing
	var ofPods, ofWorkloads []trouble
	var slow []string
	var lacking []trouble
	for i, o := range w.objects {
		workload := Workload{}
		if i < len(w.last.Workloads) {
			workload = w.last.Workloads[i]
		}
		s := stand(o, workload)
		if m := workload.meta(); m != nil {
			if id := m.GetAnnotations()[AnnotationRelease]; id != w.release.ID {
				s.done, s.trouble = false, &trouble{
					code: pipeline.ReasonConflict, key: "taken/" + o.Title(),
					detail: o.Title() + " was changed while it rolled out: it belongs to " + orNobody(id) + " by now",
				}
			}
		}
		if s.trouble != nil {
			if s.trouble.code == pipeline.ReasonQuota || s.trouble.code == pipeline.ReasonForbidden || strings.HasPrefix(s.trouble.key, "refused/") {
				s.trouble.patience = w.patience.Refused
			}
			ofWorkloads = append(ofWorkloads, *s.trouble)
		}
		if !s.done {
			for _, p := range workload.Pods {
				ofPods = append(ofPods, podTroubles(p, w.patience)...)
			}
			if workload.Deployment == nil {
				slow = append(slow, o.Title()+" "+s.words)
			}
			if lacksPods(workload) && len(lacking) == 0 {
				const looks = 3 // while refusals are waited out
				lacking = append(lacking, trouble{key: podless, patience: w.patience.Refused / looks})
			}
		}
		all = append(all, s)
	}
	return all, slices.Concat(w.explained(ofPods, ofWorkloads), w.stalled(slow, now), lacking)
}

// explained puts the troubles of pods first. Once a deadline has passed, there is no more patience with them.
func (w *watching) explained(ofPods, ofWorkloads []trouble) []trouble {
	for _, t := range ofWorkloads {
		if t.code == pipeline.ReasonDeadline {
			for i := range ofPods {
				ofPods[i].patience = 0
			}
		}
	}
	return append(ofPods, ofWorkloads...)
}

// stalled is the trouble of workloads without a deadline of their own that don't get on.
func (w *watching) stalled(slow []string, now time.Time) []trouble {
	text := strings.Join(slow, ", ")
	if text != w.standing || w.moved.IsZero() {
		w.standing, w.moved = text, now
	}
	if text == "" {
		return nil
	}
	return []trouble{{code: pipeline.ReasonDeadline, key: "stalled/" + text, detail: text, patience: w.patience.Stall}}
}

func orNobody(release string) string {
	if release == "" {
		return "no release"
	}
	return "release " + clean(release, 100)
}

// failure says what went wrong, with the last lines of the log where that helps.
func (w *watching) failure(ctx context.Context, t trouble) error {
	detail := t.detail
	if t.container != "" {
		const wait = 5 * time.Second
		logCtx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		lines, err := w.logTail(logCtx, t)
		if tail := w.redact.tail(lines, maxDetail-len([]rune(detail))-len("\n")); err == nil && tail != "" {
			detail += "\n" + tail // the first line is the sentence, the rest is the log
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return refusal(t.code, detail, nil)
}

// logTail reads the log of the run that crashed. While the container waits that is the current log; if it has been
// started again meanwhile and said nothing yet, it is the one before.
func (w *watching) logTail(ctx context.Context, t trouble) ([]string, error) {
	lines, err := w.cluster.LogTail(ctx, t.pod, t.container, false, logLines)
	if err == nil && len(lines) > 0 {
		return lines, nil
	}
	return w.cluster.LogTail(ctx, t.pod, t.container, true, logLines)
}

// images are the release's, with the digests that its pods run.
func (w *watching) images() []pipeline.Image {
	digests := map[string]string{}
	for _, workload := range w.last.Workloads {
		for _, p := range workload.Pods {
			for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
				image := imageOf(p, s.Name)
				if digest := manifest.ImageDigest(s.ImageID); strings.HasPrefix(digest, "sha256:") && sameRepository(image, s.ImageID) {
					digests[image] = digest
				}
			}
		}
	}
	images := make([]pipeline.Image, 0, len(w.release.Images))
	for _, image := range w.release.Images {
		if digest := digests[image.Name]; digest != "" && image.Digest == "" {
			image.Digest = digest
		}
		images = append(images, image)
	}
	return images
}
