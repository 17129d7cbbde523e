package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/pipelinetest"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// TestRandomWorlds plays random plans with random outcomes, wishes, ticks and orders of
// events. The rules that hold after every step are the world's own; at the end every
// delivery has ended, every environment is free, and the history gives the same again.
func TestRandomWorlds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRandom(t)
		for range rapid.IntRange(10, 300).Draw(t, "steps") {
			r.act()
		}
		r.drain()
	})
}

type random struct {
	t       *rapid.T
	world   *pipelinetest.World
	merges  map[string]pipeline.Event // what starts each delivery
	ended   time.Time                 // of the merge request that has reviews, zero while it is open
	waiting []string                  // deliveries that have not been merged
	people  []policy.Person
}

func newRandom(t *rapid.T) *random {
	r := &random{t: t, world: pipelinetest.New(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)), merges: map[string]pipeline.Event{}}
	r.world.OnStep = func(step pipelinetest.Taken) {
		if err := onlyAllowed(step); err != nil {
			t.Fatal(err)
		}
	}
	for i, access := range []policy.AccessLevel{policy.Guest, policy.Reporter, policy.Developer, policy.Maintainer, policy.Developer} {
		p := pipelinetest.Person(fmt.Sprintf("p%d", i), access)
		if i == 3 {
			p.Groups = []string{"ops"}
		}
		r.people = append(r.people, p)
	}
	// The look-up failed, or found nobody, whatever else is told of them.
	r.people = append(r.people,
		policy.Person{ID: 90, Username: "p90", Access: policy.Owner, Groups: []string{"ops"}, Problem: "Nobody knows you."},
		policy.Person{Username: "p91", Access: policy.Owner, Groups: []string{"ops"}},
	)
	for _, env := range environments {
		if rapid.Bool().Draw(t, "seeded "+env) {
			r.world.Seed(projectID, env, pipeline.Release{ID: env + "/seed", Delivery: "before", SHA: "0000000000", Manifests: "blob"})
		}
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "deliveries") {
		iid := int64(i + 1)
		sha := strings.Repeat(string(rune('a'+i)), 40)
		id := pipeline.DeliveryID(projectID, iid, sha)
		mr := mergeRequest(iid, r.world.Now.Add(time.Duration(i)*time.Second), map[string]string{"author": fmt.Sprintf("p%d", i)})
		plan := randomPlan(t)
		plan.MergeRequest = mr
		plan.Commit = pipeline.Commit{SHA: sha}
		r.world.AddPlan(id, plan)
		r.waiting = append(r.waiting, id)
		r.merges[id] = pipeline.Merged{Project: plan.Project, MergeRequest: mr, SHA: sha}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "reviews") {
		r.review(strings.Repeat(string(rune('d'+i)), 40))
	}
	return r
}

// reviewed is the merge request that is reviewed while others are merged.
const reviewed = 9

// review makes a commit that is going to be pushed to an open merge request.
func (r *random) review(sha string) {
	id := pipeline.ReviewID(projectID, reviewed, sha, "")
	plan := randomPlan(r.t)
	plan.MergeRequest = pipeline.MergeRequest{IID: reviewed, AuthorUsername: "p1"}
	plan.Commit, plan.AftermathOn = pipeline.Commit{SHA: sha}, nil
	plan.Environments = map[string]pipeline.EnvironmentRules{}
	for i := range plan.Stages {
		st := &plan.Stages[i]
		if st.Environment() == "" {
			continue
		}
		name := rapid.SampledFrom([]string{"review/a", "review/b"}).Draw(r.t, "review environment")
		if st.Run != nil {
			st.Run.Environment = name
		} else {
			st.Kind, st.Canary = pipeline.KindDeploy, nil
			st.Deploy = &pipeline.Deploy{Environment: name, Strategy: pipeline.StrategyRolling}
		}
		plan.Environments[name] = pipeline.EnvironmentRules{Namespace: "review", Review: true, Slug: "slug"}
	}
	r.world.AddPlan(id, plan)
	r.waiting = append(r.waiting, id)
	r.merges[id] = pipeline.Proposed{Project: plan.Project, MergeRequest: plan.MergeRequest, SHA: sha}
}

// start lets GitLab tell of a delivery. A push to a merge request that had ended reopens it.
func (r *random) start(id string) {
	e := r.merges[id]
	if _, review := e.(pipeline.Proposed); review {
		r.ended = time.Time{}
	}
	r.must(r.world.Send(id, e))
}

// close ends the merge request, and tells its reviews.
func (r *random) close() {
	if r.ended.IsZero() {
		r.ended = r.world.Now
	}
	for _, id := range r.born() {
		if _, review := r.merges[id].(pipeline.Proposed); review {
			r.must(r.world.Send(id, pipeline.Closed{}))
		}
	}
}

// good is the outcome where all goes well, and GitLab tells the truth.
func (r *random) good(p pipelinetest.Pending) pipeline.Event {
	if _, look := p.Effect.Do.(pipeline.LookAtMergeRequest); look {
		return pipeline.MergeRequestSeen{Open: r.ended.IsZero(), Ended: r.ended}
	}
	e, err := r.world.Good(p)
	r.must(err)
	return e
}

var environments = []string{"staging", "qa", "production"}

func randomPlan(t *rapid.T) *pipeline.Plan {
	p := &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: "shop", Project: pipeline.Project{ID: projectID, Path: "shop/api"},
		After:       rapid.SampledFrom([]pipeline.After{pipeline.AfterMerge, pipeline.AfterPipeline}).Draw(t, "after"),
		Concurrency: rapid.SampledFrom([]pipeline.Concurrency{pipeline.Queue, pipeline.Supersede}).Draw(t, "concurrency"),
		Channel:     "#shop", Environments: map[string]pipeline.EnvironmentRules{},
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "stages") {
		st := randomStage(t, fmt.Sprintf("s%d", i))
		for j := range i {
			if rapid.IntRange(0, 2).Draw(t, "need") == 0 || j == i-1 && rapid.Bool().Draw(t, "follow") {
				st.Needs = append(st.Needs, fmt.Sprintf("s%d", j))
			}
		}
		if env := st.Environment(); env != "" {
			p.Environments[env] = pipeline.EnvironmentRules{Namespace: env}
		}
		p.Stages = append(p.Stages, st)
	}
	if rapid.IntRange(0, 2).Draw(t, "aftermath") == 0 {
		p.AftermathOn = rapid.SampledFrom([][]pipeline.Status{{pipeline.StatusFailed}, {pipeline.StatusFailed, pipeline.StatusRolledBack}}).Draw(t, "aftermath on")
		for i, kind := range []pipeline.StageKind{pipeline.KindNotify, pipeline.KindJob} {
			st := pipeline.Stage{Name: fmt.Sprintf("after%d", i), Kind: kind, Aftermath: true, OnFailure: pipeline.FailStop, Job: &pipeline.Job{Name: "look"}, Notify: &pipeline.Notify{}}
			if i > 0 {
				st.Needs = []string{"after0"}
			}
			p.Stages = append(p.Stages, st)
		}
	}
	if rapid.Bool().Draw(t, "ruled") {
		p.Environments["production"] = pipeline.EnvironmentRules{Rule: policy.Rule{Approvers: []string{"group:ops", "role:maintainer"}}}
	}
	return p
}

func randomStage(t *rapid.T, name string) pipeline.Stage {
	st := pipeline.Stage{
		Name: name, Kind: rapid.SampledFrom([]pipeline.StageKind{
			pipeline.KindDeploy, pipeline.KindDeploy, pipeline.KindDeploy, pipeline.KindJudgement, pipeline.KindWait, pipeline.KindJob,
			pipeline.KindCanary, pipeline.KindCanary, pipeline.KindRun, pipeline.KindValidate, pipeline.KindTrigger, pipeline.KindNotify,
		}).Draw(t, "kind"),
		NoWayBack: rapid.IntRange(0, 5).Draw(t, "no way back") == 0,
		OnFailure: rapid.SampledFrom([]pipeline.OnFailure{pipeline.FailStop, pipeline.FailRollback, pipeline.FailRollback, pipeline.FailContinue}).Draw(t, "on_failure"),
		Retry:     rapid.IntRange(0, 2).Draw(t, "retry"),
		Dynamic:   rapid.IntRange(0, 4).Draw(t, "dynamic") == 0,
	}
	if rapid.IntRange(0, 9).Draw(t, "skipped") == 0 {
		st.Skip = "not today"
	}
	for i := range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "checks") {
		st.Checks = append(st.Checks, pipeline.Check{
			Name: fmt.Sprintf("c%d", i), Every: time.Minute, Failures: rapid.IntRange(0, 2).Draw(t, "failures"),
			For: time.Duration(rapid.IntRange(0, 30).Draw(t, "for")) * time.Minute,
		})
	}
	switch st.Kind {
	case pipeline.KindRun:
		st.Run = &pipeline.Run{Environment: rapid.SampledFrom(environments).Draw(t, "environment")}
	case pipeline.KindCanary:
		st.Canary = randomCanary(t)
	case pipeline.KindTrigger:
		st.Trigger = &pipeline.Trigger{}
	case pipeline.KindNotify:
		st.Notify = &pipeline.Notify{Channel: "#oncall"}
	case pipeline.KindValidate:
	case pipeline.KindDeploy:
		st.Deploy = &pipeline.Deploy{Environment: rapid.SampledFrom(environments).Draw(t, "environment"), Strategy: pipeline.StrategyRolling}
		if rapid.Bool().Draw(t, "blue-green") {
			st.Deploy.Strategy = pipeline.StrategyBlueGreen
			st.Deploy.Standby = time.Duration(rapid.SampledFrom([]int{0, 10, 60}).Draw(t, "standby")) * time.Minute
			st.Deploy.KeepFailed = time.Duration(rapid.SampledFrom([]int{0, 30}).Draw(t, "keep")) * time.Minute
		}
	case pipeline.KindJudgement:
		st.Judgement = &pipeline.Judgement{
			Ask: "Go?", Quorum: rapid.IntRange(1, 2).Draw(t, "quorum"), Expires: time.Hour,
			Environment: rapid.SampledFrom([]string{"", "production"}).Draw(t, "comes next"),
			Rule: policy.Rule{
				Approvers: rapid.SampledFrom([][]string{nil, {"user:p2", "user:p1"}, {"role:developer"}}).Draw(t, "approvers"),
				Not:       rapid.SampledFrom([][]string{nil, {"author"}, {"user:P3"}}).Draw(t, "not"),
			},
		}
	case pipeline.KindWait:
		st.Wait = &pipeline.Wait{For: time.Duration(rapid.IntRange(0, 60).Draw(t, "minutes")) * time.Minute}
	case pipeline.KindJob, pipeline.KindRollback, pipeline.KindTearDown:
		st.Job = &pipeline.Job{Name: "job-" + name}
	}
	return st
}

func randomCanary(t *rapid.T) *pipeline.Canary {
	c := newCanary(rapid.SampledFrom(environments).Draw(t, "environment"), map[string]string{
		"warmup":   rapid.SampledFrom([]string{"0s", "3m"}).Draw(t, "warmup"),
		"lifetime": rapid.SampledFrom([]string{"5m", "12m", "1h"}).Draw(t, "lifetime"),
		"lookback": rapid.SampledFrom([]string{"0s", "7m"}).Draw(t, "lookback"),
		"marginal": rapid.SampledFrom([]string{"judgement", "pass", "fail"}).Draw(t, "marginal"),
		"misses":   rapid.SampledFrom([]string{"0", "1", "3"}).Draw(t, "misses"),
		"weights":  rapid.SampledFrom([]string{"", "5", "5,10,50"}).Draw(t, "weights"),
		"baseline": rapid.SampledFrom([]string{"", "", "aaaaaaaa", "0000"}).Draw(t, "baseline"),
	})
	if rapid.IntRange(0, 5).Draw(t, "past") == 0 {
		c.From, c.To = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	}
	return c
}

func (r *random) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// act lets one thing happen.
func (r *random) act() {
	t, w := r.t, r.world
	switch rapid.IntRange(0, 25).Draw(t, "what") {
	case 0:
		if len(r.waiting) > 0 {
			i := rapid.IntRange(0, len(r.waiting)-1).Draw(t, "which merge")
			id := r.waiting[i]
			r.waiting = slices.Delete(r.waiting, i, i+1)
			r.start(id)
		}
	case 25:
		if rapid.IntRange(0, 3).Draw(t, "close") == 0 {
			r.close()
		}
	case 1: // a hook comes again
		if ids := r.born(); len(ids) > 0 {
			id := rapid.SampledFrom(ids).Draw(t, "again")
			if e, told := r.merges[id]; told {
				r.must(w.Send(id, e))
			}
		}
	case 2, 3, 14:
		r.ask()
	case 4, 5:
		w.Now = w.Now.Add(time.Duration(rapid.SampledFrom([]int{1, 30, 60, 600, 3600, 90000}).Draw(t, "seconds")) * time.Second)
	case 6, 7:
		if ids := w.Ripe(); len(ids) > 0 {
			r.must(w.Send(rapid.SampledFrom(ids).Draw(t, "ripe"), pipeline.Tick{}))
		}
	case 8:
		r.noise()
	case 9, 10, 11, 12:
		if live := w.Pending(); len(live) > 0 {
			p := rapid.SampledFrom(live).Draw(t, "effect")
			if pipelinetest.Endless(p.Effect.Do) && rapid.IntRange(0, 3).Draw(t, "well") > 0 {
				return
			}
			e := r.outcome(p)
			if _, delayed := e.(pipeline.Delayed); delayed {
				r.must(w.Send(p.Of, e))
				return
			}
			r.must(w.Finish(p, e))
		}
	default:
		if ids := w.Waiting(); len(ids) > 0 {
			r.must(w.StepOne(rapid.SampledFrom(ids).Draw(t, "inbox")))
		}
	}
}

// born are the deliveries that exist.
func (r *random) born() []string {
	return slices.DeleteFunc(r.world.Deliveries(), func(id string) bool { return r.world.Delivery(id) == nil })
}

func (r *random) ask() {
	ids := r.born()
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(r.t, "asked")
	req := pipeline.Request{
		What: rapid.SampledFrom([]pipeline.Verb{
			pipeline.VerbApprove, pipeline.VerbApprove, pipeline.VerbApprove, pipeline.VerbReject, pipeline.VerbCancel, pipeline.VerbCancel, pipeline.VerbCancel,
			pipeline.VerbRetry, pipeline.VerbRetry, pipeline.VerbRollback, pipeline.VerbRollback, pipeline.VerbPromote, pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown,
		}).Draw(r.t, "verb"),
		Via:      rapid.SampledFrom([]pipeline.Via{pipeline.ViaComment, pipeline.ViaSlack, pipeline.ViaDeployment}).Draw(r.t, "via"),
		Username: fmt.Sprint(rapid.IntRange(0, len(r.people)-1).Draw(r.t, "who")),
	}
	d := r.world.Delivery(id)
	if asking := slices.IndexFunc(d.Stages, func(st pipeline.StageState) bool { return st.Status == pipeline.StageAsking }); asking >= 0 {
		req.What = rapid.SampledFrom([]pipeline.Verb{pipeline.VerbApprove, pipeline.VerbApprove, pipeline.VerbReject, req.What}).Draw(r.t, "answer")
	}
	if len(d.Stages) > 0 && rapid.Bool().Draw(r.t, "button") {
		st := rapid.SampledFrom(d.Stages).Draw(r.t, "stage")
		req.Stage, req.Attempt = st.Name, rapid.IntRange(0, st.Attempt+1).Draw(r.t, "attempt")
	}
	if req.What == pipeline.VerbRollback && rapid.Bool().Draw(r.t, "named") {
		req.Environment = rapid.SampledFrom(environments).Draw(r.t, "environment")
		req.Release = rapid.SampledFrom([]string{"", "aaaaaaaa", "00000000", "production/seed", "nothing"}).Draw(r.t, "release")
	}
	r.must(r.world.Send(id, pipeline.Requested{Request: req}))
}

// noise is what comes late, or was never asked for.
func (r *random) noise() {
	ids := r.born()
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(r.t, "noisy")
	d := r.world.Delivery(id)
	events := []pipeline.Event{pipeline.CIChanged{}, pipeline.JobChanged{Job: pipeline.JobHandle{ID: 501}}, pipeline.Identified{Request: "r99"}}
	for _, st := range d.Stages {
		old := max(st.Attempt-1, 0)
		key := fmt.Sprintf("%s/%d/observe", st.Name, old)
		events = append(events,
			pipeline.Applied{Stage: st.Name, Attempt: old}, pipeline.RolledOut{Stage: st.Name, Attempt: old},
			pipeline.Failed{Effect: "observe", Key: key, Stage: st.Name, Attempt: old, Code: pipeline.ReasonCrashLoop, Detail: "late"},
			pipeline.Switched{Stage: st.Name, Attempt: old}, pipeline.Retired{Stage: st.Name, Attempt: old},
			pipeline.Checked{Stage: st.Name, Attempt: st.Attempt, Check: "c0", Run: 99}, pipeline.JobRan{Stage: st.Name, Attempt: old}, pipeline.JobStarted{Stage: st.Name, Attempt: old}, pipeline.JobStopped{Stage: st.Name, Attempt: old},
			pipeline.NoticeSent{Stage: st.Name, Attempt: old}, pipeline.TornDown{Stage: st.Name, Attempt: old}, pipeline.PipelineSeen{Stage: st.Name, Attempt: old},
			pipeline.Paired{Stage: st.Name, Attempt: old}, pipeline.Weighed{Stage: st.Name, Attempt: st.Attempt, Weight: 99}, pipeline.PairEnded{Stage: st.Name, Attempt: old},
			pipeline.PairUnwell{Stage: st.Name, Attempt: old, Words: "late"}, pipeline.Sampled{Stage: st.Name, Attempt: old, Look: 1}, pipeline.Sampled{Stage: st.Name, Attempt: st.Attempt, Look: 99},
			pipeline.LockQueued{Environment: "staging", Stage: st.Name, Attempt: old, Holder: "somebody"},
		)
		if def, _ := r.world.Plan(id).Stage(st.Name); def.Environment() != "" && st.Attempt > 0 && st.Held != st.Attempt && st.Phase != pipeline.PhaseLocking {
			events = append(events, pipeline.LockGranted{Environment: def.Environment(), Stage: st.Name, Attempt: st.Attempt})
		}
	}
	r.must(r.world.Send(id, rapid.SampledFrom(events).Draw(r.t, "noise")))
}

// outcome is good three times out of five.
func (r *random) outcome(p pipelinetest.Pending) pipeline.Event {
	t := r.t
	stage, attempt := pipeline.StageOf(p.Effect.Do)
	switch rapid.IntRange(0, 9).Draw(t, "outcome") {
	case 0, 1, 2:
		if p.Kind() == "identify" || p.Kind() == "start-rollback" && rapid.Bool().Draw(t, "start") {
			break
		}
		return pipeline.Failed{
			Effect: p.Kind(), Key: p.Effect.Key, Stage: stage, Attempt: attempt,
			Code:      rapid.SampledFrom([]pipeline.ReasonCode{pipeline.ReasonImagePull, pipeline.ReasonOther, pipeline.ReasonManifest, pipeline.ReasonRunLost, pipeline.ReasonMeasure}).Draw(t, "code"),
			Detail:    rapid.SampledFrom([]string{"it broke", "crash\nlog: line"}).Draw(t, "detail"),
			Unchanged: p.Kind() == "apply" && rapid.Bool().Draw(t, "unchanged"),
		}
	case 3:
		return pipeline.Delayed{Effect: p.Kind(), Stage: stage, Attempt: attempt, Detail: "not now"}
	}
	switch do := p.Effect.Do.(type) {
	case pipeline.Identify:
		return pipeline.Identified{Request: do.Request.Key, Person: r.people[number(do.Request.Username)]}
	case pipeline.LookAtCI:
		return pipeline.CISeen{CI: pipeline.CIPipeline{
			ID: int64(rapid.IntRange(0, 1).Draw(t, "ci")), Status: rapid.SampledFrom([]string{"running", "success", "success", "failed", "skipped"}).Draw(t, "ci status"),
		}}
	case pipeline.Evaluate:
		return pipeline.Evaluated{
			Stage: do.Stage, Attempt: do.Attempt, Run: rapid.Bool().Draw(t, "run"), Error: rapid.IntRange(0, 4).Draw(t, "error") == 0,
			Why: "because", Resolved: pipelinetest.Resolve(r.world.Plan(p.Of), do.Stage),
		}
	case pipeline.Apply:
		e, err := r.world.Good(p)
		r.must(err)
		applied := e.(pipeline.Applied)
		if applied.Release.Strategy == pipeline.StrategyBlueGreen && rapid.Bool().Draw(t, "adopts") {
			applied.Adopted = "Deployment shop"
		}
		return applied
	case pipeline.RunCheck:
		return pipeline.Checked{Stage: do.Stage, Attempt: do.Attempt, Check: do.Check, Run: do.Run, Passed: rapid.IntRange(0, 3).Draw(t, "passed") > 0, Saw: "something"}
	case pipeline.WatchJob:
		return pipeline.JobRan{Stage: do.Stage, Attempt: do.Attempt, Passed: rapid.Bool().Draw(t, "ran"), Ran: pipeline.Ran{Job: "migrate"}, Detail: "exit code 1"}
	case pipeline.Measure:
		return r.samples(p, do)
	case pipeline.WatchPair:
		return pipeline.PairUnwell{Stage: do.Stage, Attempt: do.Attempt, Words: "a container crashes"}
	case pipeline.Restore:
		return pipeline.Restored{Stage: do.Stage, Attempt: do.Attempt, Serving: rapid.Bool().Draw(t, "serving")}
	case pipeline.LookAtPipeline:
		return pipeline.PipelineSeen{Stage: do.Stage, Attempt: do.Attempt, CI: pipeline.JobHandle{
			ID: do.Pipeline, Status: rapid.SampledFrom([]string{"running", "success", "failed"}).Draw(t, "pipeline status"),
		}}
	case pipeline.LookAtJob:
		return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: pipeline.JobHandle{
			ID: do.Job, Status: rapid.SampledFrom([]string{"running", "success", "failed"}).Draw(t, "job status"),
		}}
	}
	return r.good(p)
}

// samples are what a look gets, good more often than not.
func (r *random) samples(p pipelinetest.Pending, do pipeline.Measure) pipeline.Event {
	how := rapid.SampledFrom([]pipelinetest.Compared{
		pipelinetest.Same, pipelinetest.Same, pipelinetest.Same, pipelinetest.Mixed, pipelinetest.Worse, pipelinetest.None,
	}).Draw(r.t, "samples")
	e := pipelinetest.Samples(r.world.Plan(p.Of), do, how)
	switch rapid.IntRange(0, 9).Draw(r.t, "pods") {
	case 0:
		e.Unwell = "a container crashes"
	case 1:
		e.Unequal = "the baseline lacks a pod"
	}
	return e
}

// drain lets everything go well from now on, until all have ended.
func (r *random) drain() {
	for _, id := range r.waiting {
		r.start(id)
	}
	r.must(r.world.Settle())
	r.close()
	for range 400 {
		r.must(r.world.Settle())
		live := slices.DeleteFunc(r.world.Pending(), func(p pipelinetest.Pending) bool { return pipelinetest.Endless(p.Effect.Do) })
		if len(live) == 0 {
			if r.world.Drained() == nil {
				break
			}
			r.must(r.world.Advance(20 * time.Minute))
			continue
		}
		for _, p := range live {
			if _, still := r.world.Find(p.Of, p.Effect.Key); still {
				r.must(r.world.Finish(p, r.good(p)))
			}
		}
	}
	r.must(r.world.Drained())
	r.must(r.world.Replay())
	if slices.ContainsFunc(r.world.Deliveries(), func(id string) bool {
		d := r.world.Delivery(id)
		return d.TearDownOf != "" && d.Status == pipeline.StatusFailed
	}) {
		return // people have to look
	}
	for _, name := range []string{"review/a", "review/b"} {
		if e := r.world.Environment(pipeline.EnvironmentID(projectID, name)); e != nil && len(e.Releases) > 0 {
			r.t.Fatalf("the merge request has ended, and %s still runs %+v", name, e.Releases)
		}
	}
}

// onlyAllowed checks every new decision against the rules, in a second wording of them.
func onlyAllowed(step pipelinetest.Taken) error {
	if step.After == nil || len(step.After.Decisions) == len(step.Before.Decisions) || len(step.After.Decisions) >= 100 {
		return nil
	}
	if _, copied := step.Event.(pipeline.RollbackStarted); copied {
		return nil // decided in the delivery that was told to
	}
	dec := step.After.Decisions[len(step.After.Decisions)-1]
	p := dec.By
	if p.ID == 0 || p.Problem != "" || p.Blocked {
		return fmt.Errorf("%+v was decided by somebody unknown", dec)
	}
	switch dec.What {
	case pipeline.VerbApprove, pipeline.VerbReject:
		def, _ := step.Plan.Stage(dec.Stage)
		if def.Judgement == nil && def.Canary == nil { // whether to roll back
			if rule := step.Plan.Environments[def.Environment()].Rule; !rule.IsZero() && !agrees(policy.Rule{Approvers: rule.Approvers}, p, "") {
				return fmt.Errorf("%+v was decided against %+v", dec, rule)
			}
			return nil
		}
		question, next := def.Judgement, def.Environment()
		if def.Canary != nil {
			question = def.Canary.Question
		} else {
			next = question.Environment
		}
		rules := []policy.Rule{question.Rule}
		if env := step.Plan.Environments[next].Rule; !env.IsZero() {
			rules = append(rules, env)
		}
		for _, rule := range rules {
			if dec.What == pipeline.VerbReject {
				rule.Not = nil
			}
			if !agrees(rule, p, step.After.MergeRequest.AuthorUsername) {
				return fmt.Errorf("%+v was decided against %+v", dec, rule)
			}
		}
	default:
		if rule := "role:developer"; dec.Rule == rule && p.Access < policy.Developer {
			return fmt.Errorf("%+v was decided by less than a Developer", dec)
		}
	}
	return nil
}

func agrees(rule policy.Rule, p policy.Person, author string) bool {
	for _, n := range rule.Not {
		if n == "author" && p.Username == author || strings.EqualFold(n, "user:"+p.Username) {
			return false
		}
	}
	if len(rule.Approvers) == 0 {
		return p.Access >= policy.Developer
	}
	return slices.Contains(rule.Approvers, "user:"+p.Username) ||
		slices.Contains(rule.Approvers, "group:ops") && slices.Contains(p.Groups, "ops") ||
		slices.Contains(rule.Approvers, "role:developer") && p.Access >= policy.Developer ||
		slices.Contains(rule.Approvers, "role:maintainer") && p.Access >= policy.Maintainer
}
