package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

const stepPatience = 60 * time.Second

// script plays the demo through without a browser, and checks what people would see.
func (s *stage) script(ctx context.Context, out io.Writer) error {
	began := time.Now()
	var good string // the commit
	var goodMR, badMR int64
	for _, step := range []struct {
		what string
		do   func(ctx context.Context) error
	}{
		{"The first release is delivered, so that there is something to go back to", func(ctx context.Context) (err error) {
			goodMR, badMR, err = s.open(ctx)
			return err
		}},
		{"Ben merges “" + goodTitle + "”", func(context.Context) (err error) {
			good, err = s.merge(goodMR, s.world.Ben)
			return err
		}},
		{"Staging is deployed, the smoke test plays, and Slack asks", func(ctx context.Context) error {
			return s.awaitButtons(ctx, goodMR)
		}},
		{"Ben presses Approve, and is refused: he wrote the change", func(ctx context.Context) error {
			if err := s.world.PressWhenAsked(ctx, goodMR, world.SlackBen, "Approve"); err != nil {
				return err
			}
			return s.awaitEphemeral(ctx, world.SlackBen, "wrote this change")
		}},
		{"Ada presses Approve", func(ctx context.Context) error {
			return s.world.PressWhenAsked(ctx, goodMR, world.SlackAda, "Approve")
		}},
		{"Production runs the new version, and the merge request says so", func(ctx context.Context) error {
			if err := s.world.AwaitNote(ctx, goodMR, "**Delivered**"); err != nil {
				return err
			}
			return s.runs("production", good)
		}},
		{"GitLab shows the deployments and the stages", func(ctx context.Context) error {
			return s.awaitDeployments(ctx, good, map[string]string{"staging": "success", "production": "success"})
		}},
		{"Ben merges “" + badTitle + "”, which crashes", func(context.Context) error {
			_, err := s.merge(badMR, s.world.Ben)
			return err
		}},
		{"Slipway sees the crash loop, and takes staging back by itself", func(ctx context.Context) error {
			if err := s.world.AwaitNote(ctx, badMR, "**Rolled back**"); err != nil {
				return err
			}
			return s.runs("staging", good)
		}},
		{"The merge request says why, with the last lines of the log", func(ctx context.Context) error {
			return s.world.AwaitNote(ctx, badMR, "panic: connect to database: connection refused")
		}},
		{"Production was never touched", func(context.Context) error { return s.runs("production", good) }},
	} {
		at := time.Now()
		ctx, cancel := context.WithTimeout(ctx, stepPatience)
		err := step.do(ctx)
		cancel()
		if err != nil {
			fmt.Fprintf(out, "  ✗ %s\n", step.what)
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(out, "  ✓ %-72s %5.1f s\n", step.what, time.Since(at).Seconds())
	}
	fmt.Fprintf(out, "\nEverything happened as it should, in %.0f s. See it yourself: slipway demo\n", time.Since(began).Seconds())
	return nil
}

func (s *stage) awaitButtons(ctx context.Context, iid int64) error {
	for {
		if m, ok := s.world.Message(iid); ok && len(m.Buttons()) > 0 {
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

// runs checks that every pod of an environment runs a commit's image.
func (s *stage) runs(environment, sha string) error {
	namespace := map[string]string{"staging": "shop-staging", "production": "shop"}[environment]
	image := "registry.example.com/shop:" + sha[:8]
	for _, ns := range s.world.Cluster.Snapshot().Namespaces {
		if ns.Name != namespace {
			continue
		}
		for _, wl := range ns.Workloads {
			if !slices.Contains(wl.Images, image) || wl.Ready != wl.Desired {
				return fmt.Errorf("%s in %s runs %v, %d of %d pods ready; %s should run", wl.Name, namespace, wl.Images, wl.Ready, wl.Desired, image)
			}
		}
		return nil
	}
	return fmt.Errorf("namespace %s is empty", namespace)
}
