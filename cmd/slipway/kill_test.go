package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

// migrating is a stage before production that runs a Kubernetes Job once, and from which
// no way leads back without asking.
const migrating = `  - name: migrate
    run: {environment: production, image: "registry.example.com/migrate:${{ commit.short_sha }}"}
    rollback: never

`

// TestKilledAtRandomItLosesNothingAndDoublesNothing delivers changes, one after the
// other: good ones, some that crash in staging and some that customers cannot buy with.
// Half of them run a Kubernetes Job. Meanwhile the process is killed again and again, up to half a second
// after it got ready. People press again what did not answer, and GitLab's operator
// resends hooks that were not answered 200: nothing else may be needed.
func TestKilledAtRandomItLosesNothingAndDoublesNothing(t *testing.T) {
	eachCluster(t, func(r *rig) {
		kills, longest := 100, 500*time.Millisecond
		switch {
		case testing.Short():
			kills = 15
		case r.cluster == "real":
			kills, longest = 30, time.Second
		}
		seed := uint64(time.Now().UnixNano())
		r.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0)) // times of kills

		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		counted := r.census()
		driven := make(chan error, 1)
		enough := make(chan struct{})
		go func() { driven <- r.drive(ctx, enough) }()
		for n := range kills {
			r.start()
			select {
			case err := <-driven:
				r.Fatalf("after %d kills: %v", n, err)
			case <-time.After(time.Duration(random.Int64N(int64(longest)))):
			}
			r.kill()
		}
		r.start()
		close(enough)
		select {
		case err := <-driven:
			r.ok(err)
		case <-time.After(patience):
			r.Fatal("the deliveries do not end")
		}
		r.checkOnce()
		r.checkJobsPlayedOnce()
		counted.check(r, r.migrations)
		r.checkDatabase()
	})
}

// drive delivers changes until there were enough kills, and sees each to its end.
func (r *rig) drive(ctx context.Context, enough <-chan struct{}) error {
	go r.resend(ctx)
	for n := 1; ; n++ {
		var err error
		switch n % 4 {
		case 1:
			err = r.driveOne(ctx, true, r.world.Good, fmt.Sprintf("Good change %d", n), fmt.Sprintf("good-%d", n), "**Delivered**")
		case 2: // goes back from hot standby by itself
			err = r.driveOne(ctx, false, r.world.Limping, fmt.Sprintf("Limping change %d", n), fmt.Sprintf("limping-%d", n), "**Rolled back**")
		case 3:
			err = r.driveOne(ctx, false, r.world.Bad, fmt.Sprintf("Bad change %d", n), fmt.Sprintf("bad-%d", n), "**Rolled back**")
		case 0: // goes back when people say so, because of the Job
			err = r.driveOne(ctx, true, r.world.Limping, fmt.Sprintf("Limping change %d", n), fmt.Sprintf("limping-%d", n), "**Rolled back**")
		}
		if err != nil {
			return err
		}
		select {
		case <-enough:
			if n < 4 && !testing.Short() {
				continue // every kind was there once
			}
			r.Logf("%d deliveries", n)
			return nil
		default:
		}
	}
}

// pipelineFile puts one on the main branch, with the stage that migrates or without it.
func (r *rig) pipelineFile(migrates bool) error {
	files, err := r.world.Files()
	if err != nil {
		return err
	}
	file := files[world.PipelineFile]
	if migrates {
		file = strings.Replace(file, "  - name: production\n", migrating+"  - name: production\n", 1)
	}
	_, err = r.world.GitLab.Commit(gitlabsim.CommitOptions{
		ProjectID: r.world.Project, Branch: "main", Files: map[string]string{world.PipelineFile: file}, Message: "Change the pipeline", AuthorID: r.world.Ada,
	})
	return err
}

func (r *rig) driveOne(ctx context.Context, migrates bool, open func(title, branch string) (int64, error), title, branch, end string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := r.pipelineFile(migrates); err != nil {
		return err
	}
	if migrates {
		r.migrations++
	}
	iid, err := open(title, branch)
	if err != nil {
		return err
	}
	if _, err := r.world.GitLab.Merge(r.world.Project, iid, r.world.Ben, gitlabsim.MergeCommit); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.world.AwaitNote(ctx, iid, end) }()
	button := "Approve"
	for {
		pressing, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		err := r.world.PressWhenAsked(pressing, iid, world.SlackAda, button)
		stop()
		if button = "Approve"; err != nil && r.asksWhetherBack(iid) {
			button = "Roll back"
		}
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%s: %w, the last press: %w", title, ctx.Err(), err)
		default:
			if err == nil { // a second press is refused, and harmless; but people wait a moment
				select {
				case err := <-ended:
					return err
				case <-time.After(200 * time.Millisecond):
				}
			}
		}
	}
}

// asksWhetherBack tells that people are asked whether to roll back.
func (r *rig) asksWhetherBack(iid int64) bool {
	m, ok := r.world.Message(iid)
	return ok && slices.ContainsFunc(m.Buttons(), func(e slacksim.Element) bool { return e.Text.Text == "Roll back" })
}

// resend does what GitLab's operator does with hooks that were not answered well.
func (r *rig) resend(ctx context.Context) {
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		good := map[string]bool{}
		last := map[string]gitlabsim.Delivery{}
		for _, d := range r.world.GitLab.Deliveries() {
			good[d.IdempotencyKey] = good[d.IdempotencyKey] || d.Status == 200
			last[d.IdempotencyKey] = d
		}
		for key, d := range last {
			if !good[key] {
				_ = r.world.GitLab.Resend(d.ID) // the process may be away again
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// checkJobsPlayedOnce proves that no manual job was played or retried twice.
func (r *rig) checkJobsPlayedOnce() {
	r.Helper()
	for _, ci := range r.world.ProjectNow().Pipelines {
		n := 0
		for _, j := range ci.Jobs {
			if j.Name == "smoke-test" {
				n++
			}
		}
		if n > 1 {
			r.Errorf("CI pipeline %d has %d smoke tests", ci.ID, n)
		}
	}
	plays := map[string]int{}
	for _, req := range r.world.GitLab.Requests() {
		if strings.HasSuffix(req.Path, "/play") && req.Status < 300 {
			plays[req.Path]++
		}
	}
	for path, n := range plays {
		if n > 1 {
			r.Errorf("%s was posted %d times", path, n)
		}
	}
}
