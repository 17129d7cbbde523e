package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

const stepPatience = 60 * time.Second

// step is one thing that happens in the script, and what has to be true after it.
type step struct {
	what string
	do   func(ctx context.Context) error
}

// play is the script while it runs: what it merged so far.
type play struct {
	*stage
	changes
	delivered, slowed, limped string // commits
}

// script plays the demo through without a browser, and checks what people would see.
func (s *stage) script(ctx context.Context, out io.Writer) error {
	began := time.Now()
	p := &play{stage: s}
	for _, step := range slices.Concat(p.goesWell(), p.isWorse(), p.isGrey(), p.crashes(), p.limps()) {
		at := time.Now()
		ctx, cancel := context.WithTimeout(ctx, stepPatience)
		err := step.do(ctx)
		cancel()
		if err != nil {
			fmt.Fprintf(out, "  ✗ %s\n", step.what)
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(out, "  ✓ %-78s %5.1f s\n", step.what, time.Since(at).Seconds())
	}
	fmt.Fprintf(out, "\nEverything happened as it should, in %.0f s. See it yourself: slipway demo\n", time.Since(began).Seconds())
	return nil
}

// goesWell is a change that reaches production, past somebody who may not approve it.
func (p *play) goesWell() []step {
	return []step{
		{"The first release is delivered, so that there is something to go back to", func(ctx context.Context) (err error) {
			p.changes, err = p.open(ctx)
			return err
		}},
		{"Ben merges “" + goodTitle + "”", func(context.Context) (err error) {
			p.delivered, err = p.merge(p.good, p.world.Ben)
			return err
		}},
		{"Staging is deployed, the smoke test plays, and Slack asks", func(ctx context.Context) error {
			return p.awaitQuestion(ctx, p.good)
		}},
		{"Ben presses Approve, and is refused: he wrote the change", func(ctx context.Context) error {
			if err := p.world.PressWhenAsked(ctx, p.good, world.SlackBen, "Approve"); err != nil {
				return err
			}
			return p.awaitEphemeral(ctx, world.SlackBen, "wrote this change")
		}},
		{"Ada presses Approve", func(ctx context.Context) error {
			return p.world.PressWhenAsked(ctx, p.good, world.SlackAda, "Approve")
		}},
		{"A canary is compared with a baseline on real traffic, and passes", func(ctx context.Context) error {
			return p.awaitPair(ctx, p.delivered, p.mergedSHA(1))
		}},
		{"Production's traffic moves to the new version; the old one is on hot standby", func(ctx context.Context) error {
			return p.awaitTraffic(ctx, p.delivered, p.mergedSHA(1))
		}},
		{"Production runs the new version, and the merge request says so", func(ctx context.Context) error {
			if err := p.world.AwaitNote(ctx, p.good, delivered); err != nil {
				return err
			}
			return errors.Join(p.runs("production", p.delivered), p.customersSee(ctx, p.delivered))
		}},
		{"GitLab shows the deployments and the stages", func(ctx context.Context) error {
			return p.awaitDeployments(ctx, p.delivered, map[string]string{"staging": "success", "production": "success"})
		}},
	}
}

// isWorse is a change that the canary stops.
func (p *play) isWorse() []step {
	return []step{
		{"Ben merges “" + worseTitle + "”: it works, and loses requests; Ada approves", func(ctx context.Context) error {
			if _, err := p.merge(p.worse, p.world.Ben); err != nil {
				return err
			}
			return p.world.PressWhenAsked(ctx, p.worse, world.SlackAda, "Approve")
		}},
		{"The canary is worse than the baseline, and is stopped before its time is over", func(ctx context.Context) error {
			return p.world.AwaitNote(ctx, p.worse, "canary failed")
		}},
		{"Nothing of it is left, and production is as it was", func(ctx context.Context) error {
			return errors.Join(p.runs("production", p.delivered), p.customersSee(ctx, p.delivered))
		}},
	}
}

// isGrey is a change about which the canary is not sure.
func (p *play) isGrey() []step {
	return []step{
		{"Ben merges “" + slowerTitle + "”, a little slower; Ada approves", func(ctx context.Context) (err error) {
			if p.slowed, err = p.merge(p.slower, p.world.Ben); err != nil {
				return err
			}
			return p.world.PressWhenAsked(ctx, p.slower, world.SlackAda, "Approve")
		}},
		{"The canary is neither good nor bad at the end, so Slipway asks", func(ctx context.Context) error {
			return p.awaitCanaryQuestion(ctx, p.slower)
		}},
		{"Ada rejects it, and production is as it was", func(ctx context.Context) error {
			if err := p.world.Reject(ctx, p.slower, world.SlackAda, "searching is slow enough"); err != nil {
				return err
			}
			if err := p.world.AwaitNote(ctx, p.slower, "**Rejected**"); err != nil {
				return err
			}
			return errors.Join(p.runs("production", p.delivered), p.customersSee(ctx, p.delivered))
		}},
	}
}

// crashes is a change that does not get past staging.
func (p *play) crashes() []step {
	return []step{
		{"Ben merges “" + badTitle + "”, which crashes", func(context.Context) error {
			_, err := p.merge(p.bad, p.world.Ben)
			return err
		}},
		{"Slipway sees the crash loop, and takes staging back by itself", func(ctx context.Context) error {
			if err := p.world.AwaitNote(ctx, p.bad, rolledBack); err != nil {
				return err
			}
			return p.runs("staging", p.slowed) // which was rejected for production only
		}},
		{"The merge request says why, with the last lines of the log", func(ctx context.Context) error {
			return p.world.AwaitNote(ctx, p.bad, "panic: connect to database: connection refused")
		}},
		{"Production was never touched", func(ctx context.Context) error {
			return errors.Join(p.runs("production", p.delivered), p.customersSee(ctx, p.delivered))
		}},
	}
}

// limps is a change that nothing stops before customers have it.
func (p *play) limps() []step {
	return []step{
		{"Ben merges “" + limpingTitle + "”: pods get ready, nobody can pay", func(context.Context) (err error) {
			p.limped, err = p.merge(p.limping, p.world.Ben)
			return err
		}},
		{"Staging and the smoke test notice nothing, and Ada presses Approve", func(ctx context.Context) error {
			return p.world.PressWhenAsked(ctx, p.limping, world.SlackAda, "Approve")
		}},
		{"It takes production's traffic, with the version before on hot standby", func(ctx context.Context) error {
			return p.awaitTraffic(ctx, p.limped, p.delivered)
		}},
		{"The check of the shop fails, and Slipway moves the traffic back in one step", func(ctx context.Context) error {
			if err := p.world.AwaitNote(ctx, p.limping, rolledBack); err != nil {
				return err
			}
			return errors.Join(p.runs("production", p.delivered), p.customersSee(ctx, p.delivered))
		}},
		{"The merge request says what the check saw", func(ctx context.Context) error {
			return errors.Join(p.world.AwaitNote(ctx, p.limping, "answered 500"), p.world.AwaitNote(ctx, p.limping, "payments: certificate expired"))
		}},
		{"GitLab shows that production's deployment failed", func(ctx context.Context) error {
			return p.awaitDeployments(ctx, p.limped, map[string]string{"staging": "success", "production": "failed"})
		}},
	}
}

func (s *stage) awaitQuestion(ctx context.Context, iid int64) error {
	for {
		m, ok := s.world.Message(iid)
		if ok && slices.ContainsFunc(m.Buttons(), func(b slacksim.Element) bool { return b.Text.Text == "Approve" }) {
			return nil
		}
		if err := s.slackChanged(ctx, "the question in Slack"); err != nil {
			return err
		}
	}
}

// slackChanged waits for the next change in Slack.
func (s *stage) slackChanged(ctx context.Context, what string) error {
	changed, stop := s.world.Slack.Subscribe()
	defer stop()
	recheck := time.NewTimer(time.Second) // a change between the look and the subscription
	defer recheck.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", what, ctx.Err())
	case <-changed:
	case <-recheck.C:
	}
	return nil
}

func (s *stage) awaitEphemeral(ctx context.Context, user, words string) error {
	for {
		for _, m := range s.world.Slack.Ephemerals(user) {
			if strings.Contains(m.Text, words) {
				return nil
			}
		}
		if err := s.slackChanged(ctx, fmt.Sprintf("%q, shown to %s", words, user)); err != nil {
			return err
		}
	}
}

func (s *stage) awaitDeployments(ctx context.Context, sha string, want map[string]string) error {
	return s.world.AwaitGitLab(ctx, "the deployments", func(p gitlabsim.ProjectSnapshot) bool {
		got := map[string]string{}
		for _, d := range p.Deployments {
			if d.SHA == sha {
				got[d.Environment] = d.Status
			}
		}
		for environment, status := range want {
			if got[environment] != status {
				return false
			}
		}
		return true
	})
}

// runs checks that every pod of an environment runs a commit's image, and that there is
// nothing else.
func (s *stage) runs(environment, sha string) error {
	for _, p := range s.places() {
		if p.Environment != environment {
			continue
		}
		for _, wl := range p.Workloads {
			if !slices.Contains(wl.Images, image(sha)) || wl.Ready != wl.Desired {
				return fmt.Errorf("%s in %s runs %v, %d of %d pods ready; %s should run", wl.Name, environment, wl.Images, wl.Ready, wl.Desired, image(sha))
			}
		}
		if len(p.Workloads) == 0 {
			return fmt.Errorf("%s is empty", environment)
		}
	}
	return nil
}

// awaitTraffic waits until production's traffic goes to the one commit's pods, all of them
// and no others, while all pods of the other one are ready to take it back.
func (s *stage) awaitTraffic(ctx context.Context, to, standby string) error {
	changed, stop := s.world.Cluster.Subscribe()
	defer stop()
	for {
		for _, p := range s.places() {
			if p.Environment == "production" && p.serves(to, true) && p.serves(standby, false) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for production's traffic to go to %s: %w", image(to), ctx.Err())
		case <-changed:
		}
	}
}

// awaitPair waits until a canary of the one commit and a baseline of the other are both there and get traffic.
func (s *stage) awaitPair(ctx context.Context, canary, baseline string) error {
	changed, stop := s.world.Cluster.Subscribe()
	defer stop()
	for {
		for _, p := range s.places() {
			if p.Environment == "production" && p.tracks("canary", canary) && p.tracks("baseline", baseline) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a canary and a baseline: %w", ctx.Err())
		case <-changed:
		}
	}
}

// tracks tells that a side of a pair runs a commit, and that all of its pods get traffic.
func (p Place) tracks(track, sha string) bool {
	for _, wl := range p.Workloads {
		if len(wl.Pods) == 0 || wl.Pods[0].Labels["slipway.dev/track"] != track {
			continue
		}
		for _, pod := range wl.Pods {
			if !slices.Contains(p.Traffic, pod.Name) {
				return false
			}
		}
		return slices.Contains(wl.Images, image(sha)) && wl.Ready == wl.Desired
	}
	return false
}

// awaitCanaryQuestion waits until people are asked about a canary.
func (s *stage) awaitCanaryQuestion(ctx context.Context, iid int64) error {
	for {
		m, _ := s.world.Message(iid)
		asked, err := json.Marshal(m.Blocks)
		if err != nil {
			return err
		}
		if strings.Contains(string(asked), "neither good nor bad") && len(m.Buttons()) > 0 {
			return nil
		}
		if err := s.slackChanged(ctx, "the question about the canary"); err != nil {
			return err
		}
	}
}

// serves tells that a commit's pods are all ready here, and whether they get the traffic.
func (p Place) serves(sha string, traffic bool) bool {
	for _, wl := range p.Workloads {
		if !slices.Contains(wl.Images, image(sha)) {
			continue
		}
		for _, pod := range wl.Pods {
			if slices.Contains(p.Traffic, pod.Name) != traffic {
				return false
			}
		}
		return wl.Ready == wl.Desired
	}
	return false
}

// customersSee checks what the shop answers.
func (s *stage) customersSee(ctx context.Context, sha string) error {
	if got := s.shop(ctx); got.Status != http.StatusOK || !strings.Contains(got.Text, sha[:8]) {
		return fmt.Errorf("customers see %d %q; version %s should answer", got.Status, got.Text, sha[:8])
	}
	return nil
}

func (s *stage) mergedSHA(iid int64) string {
	mr, err := s.world.MergeRequest(iid)
	if err != nil {
		return ""
	}
	return mr.MergedSHA
}

func image(sha string) string { return "registry.example.com/shop:" + sha[:min(8, len(sha))] }
