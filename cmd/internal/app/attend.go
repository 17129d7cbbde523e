package app

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// attender keeps an environment's pods under watch.
type attender interface {
	Attend(ctx context.Context, project pipeline.Project, environment string) error
	Leave(project int64, environment string)
}

// attendance keeps environments under watch while a delivery has them and a blue-green release runs there: its traffic may
// have to move at any moment, forward or back, also for as long as a release is on hot standby. What it does follows from
// the environments as they are stored, so a restart begins it anew.
type attendance struct {
	attender attender
	where    *environments
	log      *slog.Logger

	mu      sync.Mutex
	changed map[string]bool // and not yet looked at, by pipeline.EnvironmentID
	signal  chan struct{}

	watched map[string]bool // run's alone
}

func newAttendance(attender attender, where *environments, log *slog.Logger) *attendance {
	return &attendance{
		attender: attender, where: where, log: log,
		changed: map[string]bool{}, signal: make(chan struct{}, 1), watched: map[string]bool{},
	}
}

// hear takes note that an environment has changed. It never waits.
func (a *attendance) hear(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed[id] = true
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// run follows what is heard until ctx ends, and begins with the environments as they are.
func (a *attendance) run(ctx context.Context) error {
	all, _, err := a.where.all(ctx)
	if err != nil && ctx.Err() == nil {
		a.log.Error("look for environments that are being delivered to", "error", err)
	}
	for _, w := range all {
		a.hear(w.ID)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.signal:
		}
		a.mu.Lock()
		changed := a.changed
		a.changed = map[string]bool{}
		a.mu.Unlock()
		for id := range changed {
			a.follow(ctx, id)
		}
	}
}

// follow begins or ends the watch of one environment, by what the store has of it now.
func (a *attendance) follow(ctx context.Context, id string) {
	number, name, _ := strings.Cut(id, "/")
	project, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return // no environment is called so
	}
	env, err := a.where.read(ctx, project, name)
	if err != nil && !errors.Is(err, errNoEnvironment) {
		a.log.Error("look whether an environment is being delivered to", "environment", id, "error", err)
		return
	}
	current := env.Current()
	if env.Holder == nil || current == nil || current.Version == "" {
		a.attender.Leave(project, name)
		delete(a.watched, id)
		return
	}
	if a.watched[id] {
		return
	}
	of, _ := a.where.about(ctx, env)
	if err := a.attender.Attend(ctx, of, name); err != nil {
		// The delivery itself says so, and needs no watch for that.
		a.log.Debug("an environment can't be kept under watch", "project", of.Path, "environment", name, "error", err)
		return
	}
	a.watched[id] = true
}
