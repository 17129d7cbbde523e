package main

import (
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

var allDone = map[string]string{"staging": "success", "smoke": "success", "go-live": "success", "production": "success"}

func TestMergedMergeRequestIsDelivered(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		iid, sha := r.deliver("Show the delivery date", "date")
		r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)

		note := r.note(iid)
		for _, want := range []string{"staging", "smoke", "go-live", "production", "ada", r.world.ShopURL, "http://" + r.addr + "/deliveries/"} {
			if !strings.Contains(note, want) {
				r.Errorf("the note does not say %q:\n%s", want, note)
			}
		}
		m := r.awaitNoQuestion(iid)
		if versions := r.world.Slack.History(m.Channel, m.TS); len(versions) < 3 {
			r.Errorf("the message was edited %d times, want after every change", len(versions)-1)
		}
		r.runs(r.prod, sha)
		r.checkOnce()
		r.checkDatabase()
	})
}

func TestRejectionStopsTheDeliveryWithItsReason(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		iid := r.good("Sell umbrellas", "umbrellas")
		sha := r.merge(iid)
		r.ok(r.world.Reject(r.within(), iid, world.SlackAda, "Not on a *Friday*, @all"))
		r.ok(r.world.AwaitNote(r.within(), iid, "**Rejected**"))
		r.awaitSettled(sha, map[string]string{"staging": "success"}, map[string]string{
			"staging": "success", "smoke": "success", "go-live": "skipped", "production": "skipped",
		})
		note := r.note(iid)
		if !strings.Contains(note, "Friday") || strings.Contains(note, "@all") {
			r.Errorf("the reason is missing, or mentions everybody:\n%s", note)
		}
		r.checkOnce()
		r.checkDatabase()
	})
}

func TestCrashLoopGoesBackToTheRecordedRelease(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		_, good := r.deliver("Open the shop", "open")
		bad, err := r.world.Bad("Keep sessions elsewhere", "sessions")
		r.ok(err)
		sha := r.merge(bad)
		r.ok(r.world.AwaitNote(r.within(), bad, "**Rolled back**"))
		r.awaitSettled(sha, map[string]string{"staging": "failed"}, map[string]string{
			"staging": "skipped", "smoke": "skipped", "go-live": "skipped", "production": "skipped",
		})
		note := r.note(bad)
		for _, want := range []string{"panic: connect to database: connection refused", good[:8]} {
			if !strings.Contains(note, want) {
				r.Errorf("the note does not say %q:\n%s", want, note)
			}
		}
		r.runs(r.staging, good)
		r.runs(r.prod, good)
		r.checkOnce()
		r.checkDatabase()
	})
}

func TestCancelInTheMiddleOfADeploy(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		_, good := r.deliver("Open the shop", "open")
		iid, err := r.world.Change("Wait for ever", "", "wait", map[string]string{
			"deploy/base/deployment.yaml": r.file("deploy/base/deployment.yaml") +
				"        - name: sessions\n          image: registry.example.com/sessions:neverready\n",
		})
		r.ok(err)
		sha := r.merge(iid)
		r.ok(r.world.AwaitNote(r.within(), iid, "pods ready"))
		note, err := r.world.GitLab.Comment(r.world.Project, iid, r.world.Ben, "@slipway cancel: wrong base image")
		r.ok(err)
		r.ok(r.world.AwaitNote(r.within(), iid, "**Canceled**"))
		r.awaitSettled(sha, map[string]string{"staging": "canceled"}, map[string]string{
			"staging": "skipped", "smoke": "skipped", "go-live": "skipped", "production": "skipped",
		})
		r.runs(r.staging, good)
		r.ok(r.world.AwaitGitLab(r.within(), "an emoji on the command", func(gitlabsim.ProjectSnapshot) bool {
			mr, err := r.world.MergeRequest(iid)
			r.ok(err)
			for _, n := range mr.Notes {
				if n.ID == note.ID && len(n.Emoji) > 0 {
					return true
				}
			}
			return false
		}))
		r.checkOnce()
		r.checkDatabase()
	})
}

func TestTwoMergesAtOnceTakeTurns(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		a, b := r.good("First", "first"), r.good("Second", "second")
		r.merge(a)
		newer := r.merge(b)
		r.ok(r.world.PressWhenAsked(r.within(), b, world.SlackAda, "Approve"))
		r.ok(r.world.AwaitNote(r.within(), b, "**Delivered**"))
		r.ok(r.world.AwaitNote(r.within(), a, "**Superseded**"))
		r.runs(r.staging, newer)
		r.runs(r.prod, newer)
		r.awaitNoQuestion(a)
		r.checkOnce()
		r.checkDatabase()
	})
}

func TestOnlyThoseWhoMayApproveDo(t *testing.T) {
	r := newRig(t, "sim")
	r.start()
	iid := r.good("Sell umbrellas", "umbrellas")
	r.merge(iid)
	for user, words := range map[string]string{world.SlackBen: "wrote this change", world.SlackMallory: "not among the approvers"} {
		r.ok(r.world.PressWhenAsked(r.within(), iid, user, "Approve"))
		r.ok(r.world.Slack.Await(r.within(), func(slacksim.Snapshot) bool {
			for _, m := range r.world.Slack.Ephemerals(user) {
				if strings.Contains(m.Text, words) {
					return true
				}
			}
			return false
		}))
	}
	_, err := r.world.GitLab.Comment(r.world.Project, iid, r.world.Mallory, "@slipway approve")
	r.ok(err)
	r.ok(r.world.AwaitGitLab(r.within(), "a refusal in the thread", func(gitlabsim.ProjectSnapshot) bool {
		mr, err := r.world.MergeRequest(iid)
		r.ok(err)
		for _, n := range mr.Notes {
			if n.Reply && strings.Contains(n.Body, "not among the approvers") {
				return true
			}
		}
		return false
	}))
	if strings.Contains(r.note(iid), "approved by") {
		r.Errorf("somebody's approval counted:\n%s", r.note(iid))
	}
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	_, err = r.world.Slack.Replay(r.within()) // the same press again, with its signature
	r.ok(err)
	r.checkOnce()
}

func TestRollbackByCommentBringsTheEarlierReleaseBack(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		_, good := r.deliver("Open the shop", "open")
		iid, newer := r.deliver("Sell umbrellas", "umbrellas")
		r.runs(r.prod, newer)
		_, err := r.world.GitLab.Comment(r.world.Project, iid, r.world.Ada, "@slipway rollback production")
		r.ok(err)
		r.ok(r.world.AwaitGitLab(r.within(), "a second note, about the rollback", func(gitlabsim.ProjectSnapshot) bool {
			notes := r.world.Notes(iid)
			return len(notes) == 2 && strings.Contains(notes[1].Body, "**Rolled back**")
		}))
		r.runs(r.prod, good)
		r.runs(r.staging, newer)
		r.checkContract()
		r.checkDatabase()
	})
}

func TestAReleaseThatFailsItsCheckGoesBackFromHotStandby(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		_, good := r.deliver("Open the shop", "open")
		bad, err := r.world.Limping("Take cards by another provider", "cards")
		r.ok(err)
		sha := r.merge(bad)
		r.ok(r.world.PressWhenAsked(r.within(), bad, world.SlackAda, "Approve"))
		r.ok(r.world.AwaitNote(r.within(), bad, "**Rolled back**"))
		r.awaitSettled(sha, map[string]string{"staging": "success", "production": "failed"}, map[string]string{
			"staging": "success", "smoke": "success", "go-live": "success", "production": "skipped",
		})
		note := r.note(bad)
		for _, want := range []string{"answered 500", "certificate expired", good[:8]} {
			if !strings.Contains(note, want) {
				r.Errorf("the note does not say %q:\n%s", want, note)
			}
		}
		r.runs(r.prod, good)
		r.checkOnce()
		r.checkDatabase()
	})
}
