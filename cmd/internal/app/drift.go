package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// How often an environment is compared with its release.
const (
	compareAgain    = time.Minute      // while people look and nothing seems to change
	compareAtMost   = 5 * time.Second  // between two comparisons
	comparePatience = 10 * time.Second // with the cluster
	correctAgain    = 10 * time.Minute // without a change that the watches tell
	correctSettle   = 2 * time.Second  // after a change, for others that belong to it
	correctLongest  = 10 * time.Minute // between two corrections, when somebody sets things back each time
	supervise       = time.Minute
)

// driftState is what the last comparison has found.
type driftState struct {
	checked   bool
	at        time.Time
	problem   string // why it was not compared
	found     []deploy.Deviation
	corrected time.Time
}

// drift remembers the last comparison of one environment.
type drift struct {
	mu      sync.Mutex
	state   driftState
	release string
	mark    string // of what the watches showed then
}

func (e *environments) driftOf(id string) *drift {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.drifts[id]
	if d == nil {
		d = &drift{}
		e.drifts[id] = d
	}
	return d
}

// compared is how the environment differs from its release. The cluster is asked again only if something may have
// changed since, and never while something is being delivered.
func (e *environments) compared(ctx context.Context, w *whereabouts) driftState {
	d := e.driftOf(w.ID)
	d.mu.Lock()
	defer d.mu.Unlock()
	current := w.Current()
	quiet := driftState{corrected: d.state.corrected}
	switch {
	case w.place == nil || w.mode == config.DriftIgnore:
		return quiet
	case current == nil:
		quiet.problem = "there is no release to compare with"
		return quiet
	case w.Unsure != nil:
		quiet.problem = "a rollback has failed half-way, so nobody knows what to compare with"
		return quiet
	case w.Holder != nil:
		quiet.problem = "it is compared when nothing is being delivered"
		return quiet
	}
	mark := fingerprint(w.tree)
	age := time.Since(d.state.at)
	same := d.release == current.ID && (d.mark == mark && age < compareAgain || age < compareAtMost)
	if !same {
		d.state = e.compare(ctx, w)
		d.state.corrected = quiet.corrected
		d.release, d.mark = current.ID, mark
	}
	return d.state
}

// compare asks the cluster.
func (e *environments) compare(ctx context.Context, w *whereabouts) driftState {
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()
	state := driftState{at: time.Now()}
	set, err := e.expected(ctx, w.Environment)
	if err == nil {
		state.found, err = deploy.Drift(ctx, w.place, w.rules.Namespace, set, owner(w.Environment))
	}
	if err != nil {
		state.at = state.at.Add(-compareAgain + compareAtMost) // tried again soon
		state.problem = "it could not be compared: " + words(err)
		return state
	}
	state.checked = true
	return state
}

// fingerprint changes when an object comes or goes or gets another release, and not with every pod that gets ready.
func fingerprint(t deploy.Tree) string {
	sum := sha256.New()
	for _, n := range t.Nodes {
		fmt.Fprintf(sum, "%s/%s %s %s %q %v\n", n.Kind, n.Name, n.Release, n.Revision, n.Images, n.Health == deploy.Missing)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// correct keeps the environments as their releases recorded them whose operator wants it so, until ctx ends.
func (e *environments) correct(ctx context.Context) error {
	wanted := func(env config.Environment) bool { return env.Drift == config.DriftCorrect }
	if !slices.ContainsFunc(e.cfg.Environments, wanted) {
		return nil
	}
	changed, stop := e.changes.subscribe("")
	defer stop()
	var keepers sync.WaitGroup
	defer keepers.Wait()
	kept := map[string]bool{}
	for ctx.Err() == nil {
		all, _, err := e.all(ctx)
		if err != nil && ctx.Err() == nil {
			e.log.Error("look for environments whose drift is corrected", "error", err)
		}
		for _, w := range all {
			if w.mode == config.DriftCorrect && !kept[w.ID] {
				kept[w.ID] = true
				keepers.Go(func() { e.keep(ctx, w.Project, w.Name) })
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(supervise):
		}
	}
	return nil
}

// keep corrects one environment whenever its watches tell a change. When somebody sets things back each time, it waits
// longer and longer.
func (e *environments) keep(ctx context.Context, project int64, name string) {
	changed, stop := e.follow(ctx, project, name)
	defer stop()
	gap := compareAtMost
	for ctx.Err() == nil {
		pause(ctx, correctSettle)
		did, again := e.correctOnce(ctx, project, name)
		switch {
		case did:
			pause(ctx, gap)
			gap = min(2*gap, correctLongest)
		case again > correctSettle:
			gap = compareAtMost
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(again):
		}
	}
}

// correctOnce applies the release again where it has drifted. again is when to look at the latest.
func (e *environments) correctOnce(ctx context.Context, project int64, name string) (did bool, again time.Duration) {
	w, err := e.one(ctx, project, name)
	if err != nil || w.place == nil || w.mode != config.DriftCorrect || !atRest(w.Environment) {
		return false, correctAgain
	}
	state := e.compare(ctx, &w)
	if len(state.found) == 0 {
		return false, correctAgain
	}
	now, err := e.read(ctx, project, name)
	if err != nil || !atRest(now) || now.Current().ID != w.Current().ID {
		return false, correctAgain
	}
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()
	n, err := deploy.Correct(ctx, w.place, state.found)
	fields := differing(state.found)
	attrs := []any{"project", w.project.Path, "environment", name, "release", w.Current().ID, "fields", fields, "objects", n}
	if err != nil {
		if failure, ok := pipeline.AsFailure(err); ok && !failure.Permanent {
			return false, correctSettle // it changes at this moment
		}
		e.log.Warn("drift could not be corrected", append(attrs, "error", err)...)
		return false, correctAgain
	}
	if n == 0 {
		return false, correctAgain
	}
	e.log.Info("corrected what was not as the release recorded it", attrs...)
	d := e.driftOf(w.ID)
	d.mu.Lock()
	d.state.corrected, d.mark, d.release = time.Now(), "", ""
	d.mu.Unlock()
	return true, correctAgain
}

// atRest tells that nothing is being delivered, or about to be, and that what was delivered stands still.
func atRest(env pipeline.Environment) bool {
	current := env.Current()
	if current == nil || env.Unsure != nil || current.Bad {
		return false
	}
	return env.Holder == nil && len(env.Queue) == 0
}

// differing names what was different, without values.
func differing(found []deploy.Deviation) string {
	const most = 10
	var all []string
	for _, d := range found[:min(len(found), most)] {
		text := d.Kind + " " + d.Name + d.Field
		if d.Missing {
			text += " (missing)"
		}
		if d.By != "" {
			text += " by " + d.By
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
