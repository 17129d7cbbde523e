package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	lateCall = 3 * time.Second // a call that was given up may still arrive
	// longestCheck ends a Job of a check of which nobody may hear any more: it must not run for ever.
	longestCheck = int64(60 * 60) // seconds; the engine gives up then, too
)

// runJob makes the stage's Job. A try after a kill finds the same one.
func (e *Executor) runJob(ctx context.Context, t *pipeline.Task, a pipeline.RunJob) (pipeline.Event, error) {
	if err := e.outlived(ctx, t, a); err != nil {
		return nil, err
	}
	j, err := e.stageJob(ctx, t, a.Stage, a.Attempt)
	if err != nil {
		return nil, beforeJob(t, err)
	}
	uid, err := e.startJob(ctx, t, j, a.Stage)
	if err != nil {
		return nil, err
	}
	return pipeline.JobStarted{Stage: a.Stage, Attempt: a.Attempt, Job: j.job.GetName(), UID: string(uid)}, nil
}

// watchRun watches the stage's Job to its end.
func (e *Executor) watchRun(ctx context.Context, t *pipeline.Task, a pipeline.WatchJob) (pipeline.Event, error) {
	j, err := e.stageJob(ctx, t, a.Stage, a.Attempt)
	if err != nil {
		return nil, err
	}
	live, err := j.where.Cluster.Get(ctx, j.job)
	switch {
	case err != nil:
		return nil, err
	case live == nil || string(live.GetUID()) != a.Job.UID:
		return nil, refusal(pipeline.ReasonRunLost, fmt.Sprintf("the Job %s was started at %s and is gone; nobody knows whether it finished",
			a.Job.Name, a.Job.At.UTC().Format("15:04 UTC on 2 January")), nil)
	}
	passed, ran, detail, err := e.toEnd(ctx, t, j, live.GetUID(), a.Stage)
	if err != nil {
		return nil, err
	}
	return pipeline.JobRan{Stage: a.Stage, Attempt: a.Attempt, Passed: passed, Ran: ran, Detail: detail}, nil
}

// stageJob is the Job of an attempt of a run stage.
func (e *Executor) stageJob(ctx context.Context, t *pipeline.Task, stage string, attempt int) (oneJob, error) {
	run, err := runOf(t, stage)
	if err != nil {
		return oneJob{}, err
	}
	return e.jobFor(ctx, t, run, stage, attempt, stage)
}

// outlived makes sure that the Job of the attempt before has ended: two of them at the same time, such as of a migration,
// are nobody's wish. One that took too long is being removed by StopJob, and its pods may take a while.
func (e *Executor) outlived(ctx context.Context, t *pipeline.Task, a pipeline.RunJob) error {
	if a.Attempt < 2 {
		return nil
	}
	j, err := e.stageJob(ctx, t, a.Stage, a.Attempt-1)
	if err != nil {
		return err
	}
	live, err := j.where.Cluster.Get(ctx, j.job)
	if err != nil || live == nil || hasEnded(live) {
		return err
	}
	if _, err := j.where.Cluster.Remove(ctx, []manifest.Object{j.job}, Claim{Owner: j.where.owner, Delivery: t.Delivery.ID}); err != nil {
		return err
	}
	return j.gone(ctx)
}

// hasEnded tells that a Job runs no more pods.
func hasEnded(job *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True"
	})
}

// stopJob removes the stage's Job and waits until its pods have ended, because what comes next has the environment for
// itself. One that is gone already, or never was, is fine.
func (e *Executor) stopJob(ctx context.Context, t *pipeline.Task, a pipeline.StopJob) (pipeline.Event, error) {
	stopped := pipeline.JobStopped(a)
	j, err := e.stageJob(ctx, t, a.Stage, a.Attempt)
	if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent && !begun(t, a) {
		return stopped, nil // it was refused, so there never was one
	}
	if err != nil {
		return nil, err
	}
	live, err := j.where.Cluster.Get(ctx, j.job)
	claim := Claim{Owner: j.where.owner, Delivery: t.Delivery.ID}
	switch {
	case err != nil:
		return nil, err
	case live == nil && t.Attempt < 2:
		// Whoever was starting it has just been told to leave it, and their call may still arrive.
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "it is looked once more for " + j.job.Title(), After: lateCall}
	case live == nil: // somebody removed it, and its pods may take longer
		return stopped, j.gone(ctx)
	case !claim.Holds(live):
		return nil, refusal(pipeline.ReasonOther, j.job.Title()+" has lost Slipway's labels, so it was not stopped", nil)
	}
	removed, err := j.where.Cluster.Remove(ctx, []manifest.Object{j.job}, claim)
	if err != nil {
		return nil, err
	}
	if len(removed) > 0 {
		e.Logger.InfoContext(ctx, "stopped a job", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
			"cluster", j.where.Name, "namespace", j.where.Namespace, "job", j.job.GetName())
	}
	if err := j.gone(ctx); err != nil {
		return nil, err
	}
	return stopped, nil
}

// begun tells that the attempt's Job was made.
func begun(t *pipeline.Task, a pipeline.StopJob) bool {
	st := t.Delivery.Stage(a.Stage)
	return st != nil && st.Attempt == a.Attempt && st.Begun != nil
}

// gone waits until the Job is removed and none of its pods runs any more.
func (j oneJob) gone(ctx context.Context) error {
	return until(ctx, "the pods of "+j.job.Title()+" are still ending", func() (bool, error) {
		live, err := j.where.Cluster.Get(ctx, j.job)
		if err != nil || live != nil {
			return false, err
		}
		pods, err := j.where.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), batchv1.JobNameLabel+"="+j.job.GetName())
		return err == nil && !slices.ContainsFunc(pods, mayRun), err
	})
}

// mayRun tells that containers of a pod may not have ended.
func mayRun(pod *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	return phase != string(corev1.PodSucceeded) && phase != string(corev1.PodFailed)
}

func runOf(t *pipeline.Task, stage string) (pipeline.Run, error) {
	def, err := definition(t, stage)
	if err != nil {
		return pipeline.Run{}, err
	}
	if def.Run == nil {
		return pipeline.Run{}, refusal(pipeline.ReasonOther, "stage "+stage+" runs no Job", nil)
	}
	return *def.Run, nil
}

// RunToEnd runs a Job to its end, once for each name within the task's stage and attempt: when it is called again, after a
// kill or an unknown outcome, it finds the Job and watches on. passed says how it ended, and detail why it did not pass, in
// words with the last lines of its log. An error says that it could not be run, or not be watched.
func (e *Executor) RunToEnd(ctx context.Context, t *pipeline.Task, run pipeline.Run, name string) (passed bool, ran pipeline.Ran, detail string, err error) {
	stage, attempt := pipeline.StageOf(t.Effect.Do)
	j, err := e.jobFor(ctx, t, run, stage, attempt, name)
	if err != nil {
		return false, ran, "", beforeJob(t, err)
	}
	uid, err := e.startJob(ctx, t, j, name)
	if err != nil {
		return false, ran, "", err
	}
	return e.toEnd(ctx, t, j, uid, name)
}

// toEnd watches a Job that has been made.
func (e *Executor) toEnd(ctx context.Context, t *pipeline.Task, j oneJob, uid types.UID, name string) (passed bool, ran pipeline.Ran, detail string, err error) {
	end, err := e.watchJob(ctx, t, j, uid)
	if err != nil {
		return false, ran, "", err
	}
	ran = pipeline.Ran{Job: j.job.GetName(), ExitCode: end.code}
	if len(end.log) > 0 {
		if ran.Log, err = e.Blobs.PutBlob(ctx, []byte(strings.Join(end.log, "\n")+"\n")); err != nil {
			return false, ran, "", fmt.Errorf("keep the log of job %s: %w", j.job.GetName(), err)
		}
	}
	e.Logger.InfoContext(ctx, "a job has ended", "delivery", t.Delivery.ID, "stage", name, "project", t.Delivery.Project.Path,
		"cluster", j.where.Name, "namespace", j.where.Namespace, "job", j.job.GetName(), "passed", end.passed, "exit_code", end.code)
	return end.passed, ran, end.detail, nil
}

// startJob makes the Job, unless it is there. What it needs was there before it, if the Job is.
func (e *Executor) startJob(ctx context.Context, t *pipeline.Task, j oneJob, name string) (types.UID, error) {
	live, err := j.where.Cluster.Get(ctx, j.job)
	if err != nil {
		return "", err
	}
	if live != nil {
		return live.GetUID(), nil
	}
	objects := append(slices.Clone(j.needs), j.job)
	if err := j.where.fenced(manifest.Set{Objects: objects}); err != nil {
		return "", beforeJob(t, err)
	}
	if isCheck(t) {
		if err := j.spares(ctx); err != nil {
			return "", beforeJob(t, err)
		}
	}
	if err := j.where.Cluster.Check(ctx, objects); err != nil {
		return "", beforeJob(t, err)
	}
	if _, err := j.where.Cluster.Apply(ctx, objects, false); err != nil {
		return "", err
	}
	e.Logger.InfoContext(ctx, "started a job", "delivery", t.Delivery.ID, "stage", name, "project", t.Delivery.Project.Path,
		"cluster", j.where.Name, "namespace", j.where.Namespace, "job", j.job.GetName())
	live, err = j.where.Cluster.Get(ctx, j.job)
	switch {
	case err != nil:
		return "", err
	case live == nil:
		return "", lostJob(j.job)
	}
	return live.GetUID(), nil
}

// lostJob says that a Job is gone which has run at least for a while.
func lostJob(job manifest.Object) error {
	return refusal(pipeline.ReasonRunLost, job.Title()+" is gone, or has lost Slipway's labels, before it ended", nil)
}

// beforeJob marks a failure before there was any Job, so that none has to be stopped. An earlier try may have begun one.
func beforeJob(t *pipeline.Task, err error) error {
	failure, ok := pipeline.AsFailure(err)
	if !ok || t.Attempt > 1 || t.Unknown {
		return err
	}
	said := *failure
	said.Unchanged = true
	return &said
}

// oneJob is a Job that is to run, and what it needs.
type oneJob struct {
	where  place
	job    manifest.Object
	needs  []manifest.Object
	redact redactor
}

// jobFor makes the Job: that of the manifests, or one from an image.
func (e *Executor) jobFor(ctx context.Context, t *pipeline.Task, run pipeline.Run, stage string, attempt int, name string) (oneJob, error) {
	key := fmt.Sprintf("%s/%s/%d", t.Delivery.ID, stage, attempt)
	release := pipeline.Release{ID: key, Delivery: t.Delivery.ID, SHA: t.Delivery.SHA}
	if isCheck(t) {
		release.ID += ofCheck
	}
	if def, err := definition(t, stage); err == nil && run.Environment == "" {
		run.Environment = def.Environment()
	}
	where, err := e.place(ctx, t, run.Environment, release)
	if err != nil {
		return oneJob{}, err
	}
	set := manifest.Set{Objects: []manifest.Object{inlineJob(run, name)}}
	if run.Manifests != "" {
		set, err = e.render(ctx, t, pipeline.Deploy{Environment: run.Environment, Manifests: run.Manifests, Images: run.Images, Helm: run.Helm})
		if err != nil {
			return oneJob{}, err
		}
		if err := where.within(set); err != nil {
			return oneJob{}, err
		}
		if slug := t.Plan.Environments[run.Environment].Slug; slug != "" && run.Job != "" {
			run.Job += "-" + slug // as the objects of a review are called
		}
	}
	job, needs, err := pickJob(set, run)
	if err != nil {
		return oneJob{}, err
	}
	all := stamp(append(needs, job), where.owner, where.Namespace)
	j := oneJob{where: where, needs: all[:len(needs)], job: all[len(needs)], redact: newRedactor(set)}
	j.job.SetName(jobName(job.GetName(), t.Delivery.SHA, key+"/"+name))
	if isCheck(t) {
		if err := endIn(j.job, longestCheck); err != nil {
			return j, err
		}
	}
	return j, keepForAWhile(j.job)
}

// ofCheck ends the release that is noted on what a check brings, so that it is told from what a release brought.
const ofCheck = "/check"

func isCheck(t *pipeline.Task) bool {
	_, check := t.Effect.Do.(pipeline.RunCheck)
	return check
}

// spares refuses what a check would write over: it runs beside the release, whose environment may be somebody else's at the
// moment, and brings what the release did not.
func (j oneJob) spares(ctx context.Context) error {
	for _, o := range j.needs {
		live, err := j.where.Cluster.Get(ctx, o)
		if err != nil {
			return err
		}
		if live == nil || live.GetLabels()[LabelManagedBy] != Manager { // the cluster tells of conflicts with others
			continue
		}
		if !strings.HasSuffix(live.GetAnnotations()[AnnotationRelease], ofCheck) {
			return refusal(pipeline.ReasonNotAllowed, o.Title()+" was delivered, and not by a check; give what the check brings names of its own", nil)
		}
	}
	return nil
}

// endIn ends a Job after a number of seconds at the latest.
func endIn(job manifest.Object, seconds int64) error {
	const deadline = "activeDeadlineSeconds"
	if n, found, err := unstructured.NestedInt64(job.Object, "spec", deadline); found && err == nil {
		seconds = min(seconds, n)
	}
	if err := unstructured.SetNestedField(job.Object, seconds, "spec", deadline); err != nil {
		return refusal(pipeline.ReasonManifest, job.Title()+" has no spec", err)
	}
	return nil
}

// keepForAWhile lets a Job that has ended stay long enough to be seen, and go some day: each run has one of its own.
func keepForAWhile(job manifest.Object) error {
	const ttl, least, usual = "ttlSecondsAfterFinished", int64(60 * 60), int64(24 * 60 * 60)
	n, found, _ := unstructured.NestedInt64(job.Object, "spec", ttl)
	if n = max(n, least); !found {
		n = usual
	}
	if err := unstructured.SetNestedField(job.Object, n, "spec", ttl); err != nil {
		return refusal(pipeline.ReasonManifest, job.Title()+" has no spec", err)
	}
	return nil
}

// jobName is unlike that of any other run, so that each has a Job of its own.
func jobName(name, sha, key string) string {
	const longest = 63 // it is a label of the pods
	sum := sha256.Sum256([]byte(key))
	suffix := "-" + strings.ToLower(pipeline.Short(sha)) + "-" + hex.EncodeToString(sum[:])[:5]
	if room := longest - len(suffix); len(name) > room {
		name = strings.TrimRight(name[:room], "-.")
	}
	return strings.ReplaceAll(name, ".", "-") + suffix
}

// pickJob finds the Job that is meant and what it needs. What would keep running when the Job has ended is refused.
func pickJob(set manifest.Set, run pipeline.Run) (job manifest.Object, needs []manifest.Object, err error) {
	var jobs []manifest.Object
	for _, o := range set.Objects {
		switch kind := o.GetKind(); {
		case kind == "Job" && o.GroupVersionKind().Group == "batch":
			jobs = append(jobs, o)
		case slices.Contains([]string{"ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim", "Role", "RoleBinding", "NetworkPolicy"}, kind):
			needs = append(needs, o)
		default:
			mistake := &manifest.Error{Origin: o.From, What: o.Title() + " is not for a run stage, which only takes a Job and its configuration", Hint: "bring it with a deploy stage"}
			return job, nil, refusal(pipeline.ReasonManifest, mistake.Error(), nil)
		}
	}
	names := make([]string, len(jobs))
	for i, o := range jobs {
		if names[i] = o.GetName(); run.Job == o.GetName() {
			return o, needs, nil
		}
	}
	switch list := strings.Join(names, ", "); {
	case len(jobs) == 0:
		return job, nil, refusal(pipeline.ReasonManifest, run.Manifests+" holds no Job", nil)
	case run.Job != "" && run.Manifests != "":
		return job, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s holds no Job %s, but %s", run.Manifests, clean(run.Job, 100), list), nil)
	case len(jobs) > 1:
		return job, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s holds several Jobs (%s): name one of them with job", run.Manifests, list), nil)
	}
	return jobs[0], needs, nil
}

// inlineJob is a Job of one container. It is not tried again by the cluster: the stage says how often it is.
func inlineJob(run pipeline.Run, name string) manifest.Object {
	container := map[string]any{"name": "run", "image": run.Image}
	if len(run.Command) > 0 {
		container["command"] = texts(run.Command)
	}
	if len(run.Args) > 0 {
		container["args"] = texts(run.Args)
	}
	var env []any
	for _, key := range slices.Sorted(maps.Keys(run.Env)) {
		env = append(env, map[string]any{"name": key, "value": run.Env[key]})
	}
	if env != nil {
		container["env"] = env
	}
	pod := map[string]any{"restartPolicy": "Never", "containers": []any{container}}
	if pod["automountServiceAccountToken"] = false; run.ServiceAccount != "" {
		pod["serviceAccountName"], pod["automountServiceAccountToken"] = run.ServiceAccount, true
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"spec": map[string]any{
			"backoffLimit": int64(0),
			"template":     map[string]any{"spec": pod},
		},
	}}
	o.SetName(dnsName(name))
	return manifest.Object{Unstructured: o}
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, text := range list {
		out[i] = text
	}
	return out
}

// dnsName makes the name of an object from that of a stage or check.
func dnsName(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text), "-")
	if name == "" {
		return "run"
	}
	return name
}
