package gitlab

import (
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// reviewed is a review of the shop that has been brought up.
func reviewed() (*pipeline.Plan, *pipeline.Delivery) {
	plan, d := shop()
	plan.Stages, plan.Links = []pipeline.Stage{
		{Name: "deploy", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "review/mr-7"}},
		{Name: "seed", Kind: pipeline.KindJob, Job: &pipeline.Job{Name: "seed"}, Needs: []string{"deploy"}},
	}, nil
	plan.Environments = map[string]pipeline.EnvironmentRules{"review/mr-7": {URL: "https://mr-7.review.example.com", Namespace: "shop-review", Review: true}}
	d.ID, d.Review, d.Handles.MessageURL = pipeline.ReviewID(42, 7, newSHA, ""), true, ""
	d.Stages = []pipeline.StageState{{Name: "deploy", Status: pipeline.StagePending}, {Name: "seed", Status: pipeline.StagePending}}
	return plan, d
}

func TestNotesOfReviews(t *testing.T) {
	for name, change := range map[string]func(*pipeline.Plan, *pipeline.Delivery){
		"review under way": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Stages[0].Status, d.Stages[0].Attempt, d.Stages[0].Started, d.Stages[0].Progress = pipeline.StageRunning, 1, noon, "1 of 2 pods ready"
		},
		"review ready": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 2)
			d.Stages[0].Release = release(newSHA)
			d.Status, d.Reason = pipeline.StatusSucceeded, pipeline.Reason{Code: pipeline.ReasonDone}
		},
		"review failed": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 1)
			why := pipeline.Reason{Code: pipeline.ReasonJobFailed, What: "seed", Detail: "its status is failed"}
			d.Stages[1].Status, d.Stages[1].Attempt, d.Stages[1].Reason = pipeline.StageFailed, 1, why
			d.Status, d.Reason = pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "seed", Detail: why.String()}
		},
		"review gone": func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages = []pipeline.Stage{{Name: "remove", Kind: pipeline.KindTearDown, TearDown: &pipeline.Removal{Environment: "review/mr-7"}}}
			why := pipeline.Reason{Code: pipeline.ReasonTornDown, What: "review/mr-7"}
			d.ID, d.TearDownOf, d.Closing.Heard = "42-7-gone-12345678", d.ID, noon
			d.Stages = []pipeline.StageState{{Name: "remove", Status: pipeline.StageSucceeded, Attempt: 1, Reason: why, Started: noon, Ended: noon}}
			d.Status, d.Reason = pipeline.StatusSucceeded, why
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan, d := reviewed()
			change(plan, d)
			golden(t, "review_"+name[len("review "):]+".md", testClient(t).renderNote(pipeline.NewView(plan, d)))
		})
	}
}
