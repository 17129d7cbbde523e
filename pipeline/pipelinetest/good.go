package pipelinetest

import (
	"errors"
	"fmt"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// Good is the outcome of an effect in a world where everything goes well: files are
// right, CI passes, rollouts succeed, and whoever asks is a Maintainer. It carries out
// StartRollback, too. nil means that nobody needs to hear.
func (w *World) Good(p Pending) (pipeline.Event, error) {
	switch do := p.Effect.Do.(type) {
	case pipeline.LoadPlan:
		return pipeline.Planned{PlanRef: p.Of}, nil
	case pipeline.LookAtCI:
		return pipeline.CISeen{CI: pipeline.CIPipeline{ID: 100, Status: "success"}}, nil
	case pipeline.Evaluate:
		return pipeline.Evaluated{Stage: do.Stage, Attempt: do.Attempt, Run: true, Resolved: Resolve(w.Plan(p.Of), do.Stage)}, nil
	case pipeline.Identify:
		return pipeline.Identified{Request: do.Request.Key, Person: Person(do.Request.Username, policy.Maintainer)}, nil
	case pipeline.Apply:
		return pipeline.Applied{Stage: do.Stage, Attempt: do.Attempt, Release: w.release(p.Of, do)}, nil
	case pipeline.Observe:
		return pipeline.RolledOut{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.Restore:
		return pipeline.Restored{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.Switch:
		return pipeline.Switched{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.Retire:
		return pipeline.Retired{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.RunJob:
		return pipeline.JobStarted{Stage: do.Stage, Attempt: do.Attempt, Job: do.Stage, UID: "uid-1"}, nil
	case pipeline.WatchJob:
		return pipeline.JobRan{Stage: do.Stage, Attempt: do.Attempt, Passed: true, Ran: pipeline.Ran{Job: do.Stage}}, nil
	case pipeline.StopJob:
		return pipeline.JobStopped(do), nil
	case pipeline.RunCheck:
		return pipeline.Checked{Stage: do.Stage, Attempt: do.Attempt, Check: do.Check, Run: do.Run, Passed: true, Saw: "all is well"}, nil
	case pipeline.StartPair:
		return pipeline.Paired{Stage: do.Stage, Attempt: do.Attempt, Pair: w.pair(p.Of, do)}, nil
	case pipeline.WeighPair:
		return pipeline.Weighed(do), nil
	case pipeline.Measure:
		return Samples(w.Plan(p.Of), do, Same), nil
	case pipeline.EndPair:
		return pipeline.PairEnded{Stage: do.Stage, Attempt: do.Attempt, Removed: []string{"Deployment shop-canary"}}, nil
	case pipeline.StartPipeline:
		return pipeline.PipelineSeen{Stage: do.Stage, Attempt: do.Attempt, CI: pipeline.JobHandle{ID: 800, Status: "running"}}, nil
	case pipeline.LookAtPipeline:
		return pipeline.PipelineSeen{Stage: do.Stage, Attempt: do.Attempt, CI: pipeline.JobHandle{ID: do.Pipeline, Status: "success"}}, nil
	case pipeline.SendNotice:
		return pipeline.NoticeSent{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.PlayJob:
		return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: pipeline.JobHandle{ID: 500 + int64(do.Attempt), Status: "running"}}, nil
	case pipeline.LookAtJob:
		return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: pipeline.JobHandle{ID: do.Job, Status: "success"}}, nil
	case pipeline.StartRollback:
		return nil, w.startRollback(p, do)
	case pipeline.WatchPair:
		return nil, errors.New("pods that are well are watched on")
	case pipeline.LookAtMergeRequest:
		return pipeline.MergeRequestSeen{Merged: true, Ended: w.ended(p.Of)}, nil
	case pipeline.StartTearDown:
		return nil, w.startTearDown(p, do)
	case pipeline.TearDown:
		return pipeline.TornDown{Stage: do.Stage, Attempt: do.Attempt, Removed: []string{"Deployment shop"}}, nil
	case pipeline.WriteNote:
		return pipeline.NoteWritten{ID: 900}, nil
	case pipeline.WriteMessage:
		return pipeline.MessageSent{Channel: "C1", TS: "1.2", URL: "https://slack.example.com/1"}, nil
	case pipeline.WriteDeployment:
		return pipeline.DeploymentWritten{Handle: pipeline.DeploymentHandle{Stage: do.Stage, Attempt: do.Attempt, ID: 700}}, nil
	case pipeline.DrawChart:
		return pipeline.ChartDrawn{Stage: do.Stage, Attempt: do.Attempt, Chart: "/uploads/1/canary.png"}, nil
	case pipeline.WriteStatus, pipeline.Ask, pipeline.Answer, pipeline.Remove, pipeline.StopEnvironment:
		return nil, nil
	}
	return nil, fmt.Errorf("no good outcome is known for %s", p.Kind())
}

// release is what applying a stage's manifests brings.
func (w *World) release(of string, do pipeline.Apply) pipeline.Release {
	d := w.deliveries[of]
	r := pipeline.Release{ID: do.ReleaseID, Delivery: of, SHA: d.SHA, Manifests: "manifests-of-" + do.ReleaseID, Objects: 3}
	if def, ok := w.Plan(of).Stage(do.Stage); ok && def.Deploy.Strategy == pipeline.StrategyBlueGreen {
		r.Strategy, r.Version, r.KeepFailed = def.Deploy.Strategy, "v-"+pipeline.Short(d.SHA), def.Deploy.KeepFailed
	}
	return r
}

func (w *World) startRollback(p Pending, do pipeline.StartRollback) error {
	plan, err := spec.RollbackPlan(w.Plan(p.Of), do)
	if err != nil {
		return err
	}
	w.AddPlan(do.NewID, plan)
	return w.Send(do.NewID, pipeline.RollbackStarted{Of: p.Of, PlanRef: do.NewID, Decision: do.Decision})
}

func (w *World) startTearDown(p Pending, do pipeline.StartTearDown) error {
	plan, err := spec.TearDownPlan(w.Plan(p.Of), do)
	if err != nil {
		return err
	}
	w.AddPlan(do.NewID, plan)
	return w.Send(do.NewID, pipeline.TearDownStarted{Of: p.Of, PlanRef: do.NewID, Closed: do.Closed, Had: do.Had})
}

// ended is when the merge request of a delivery ended, the same for whoever asks in the
// same minute.
func (w *World) ended(of string) time.Time {
	at := w.Now.Truncate(time.Minute)
	return at.Add(time.Duration(w.deliveries[of].MergeRequest.IID))
}

// Resolve is a dynamic stage with nothing left to resolve.
func Resolve(plan *pipeline.Plan, stage string) *pipeline.Stage {
	def, _ := plan.Stage(stage)
	def.Dynamic, def.If = false, ""
	return &def
}

// Person is somebody whose id follows from the name.
func Person(username string, access policy.AccessLevel, groups ...string) policy.Person {
	id := int64(1)
	for _, c := range []byte(username) {
		id = id*31 + int64(c)
	}
	return policy.Person{ID: id, Username: username, Access: access, Groups: groups}
}

// Endless tells that an action goes on as long as everything is well: it has no good outcome.
func Endless(a pipeline.Action) bool {
	_, watch := a.(pipeline.WatchPair)
	return watch
}

// IsReport tells that an action only tells people something.
func IsReport(a pipeline.Action) bool {
	switch a.(type) {
	case pipeline.WriteNote, pipeline.WriteMessage, pipeline.Ask, pipeline.WriteStatus, pipeline.WriteDeployment, pipeline.DrawChart:
		return true
	}
	return false
}
