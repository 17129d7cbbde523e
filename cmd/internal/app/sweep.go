package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

const (
	sweepEvery = time.Hour
	sweepSoon  = 5 * time.Minute // after GitLab could not be asked
	sweepPage  = 50              // deliveries that are read at once
	sweepMost  = 100             // requests to GitLab in one sweep
)

// sweeper finds reviews whose merge request has ended without a hook that told so, such as while Slipway was away.
type sweeper struct {
	store  store.Store
	gitlab *gitlab.Client
	inbox  *engine.Engine
	log    *slog.Logger
}

// sweep looks at the start and from time to time, until ctx ends.
func (a *App) sweep(ctx context.Context) {
	if !slices.ContainsFunc(a.o.Config.Environments, func(e config.Environment) bool { return e.Review }) {
		return
	}
	s := &sweeper{store: a.store, gitlab: a.gitlab, inbox: a.engine, log: a.log}
	for ctx.Err() == nil {
		wait := sweepEvery
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent {
				wait = sweepSoon
			}
			a.log.Warn("look for reviews whose merge request has ended", "error", err)
		}
		pause(ctx, wait)
	}
}

// reviews are the deliveries of each merge request of a project.
type reviews map[int64][]string

// once asks GitLab for the merge requests of all reviews that are not known to have ended, as many of a project in one
// request as GitLab takes. What it says about the others is looked up again by each review itself, as after a hook.
func (s *sweeper) once(ctx context.Context) error {
	projects, err := s.living(ctx)
	if err != nil {
		return err
	}
	requests := 0
	var failed error
	for _, project := range slices.Sorted(maps.Keys(projects)) {
		all := projects[project]
		for iids := range slices.Chunk(slices.Sorted(maps.Keys(all)), gitlab.MostMergeRequests) {
			if requests++; requests > sweepMost {
				return fmt.Errorf("there are more than %d requests' worth of reviews", sweepMost)
			}
			ended, err := s.gitlab.EndedMergeRequests(ctx, project, iids)
			if err != nil {
				failed = err // the other projects may be seen
				continue
			}
			for iid, at := range ended {
				if err := s.tell(ctx, all[iid], at); err != nil {
					return err
				}
				s.log.InfoContext(ctx, "a merge request has ended, and no hook told so", "project", project, "merge_request", iid)
			}
		}
	}
	return failed
}

// tell lets reviews look at their merge request. Each end is told once.
func (s *sweeper) tell(ctx context.Context, deliveries []string, at time.Time) error {
	for _, id := range deliveries {
		if _, err := s.inbox.Deliver(ctx, id, fmt.Sprintf("sweep/%s/%d", id, at.UnixMilli()), pipeline.Closed{}); err != nil {
			return fmt.Errorf("tell review %s of the end of its merge request: %w", id, err)
		}
	}
	return nil
}

// living lists the reviews whose merge request has not ended as far as they know, by project.
func (s *sweeper) living(ctx context.Context) (map[int64]reviews, error) {
	found := map[int64]reviews{}
	q := store.Query{Kind: engine.KindDelivery, Limit: sweepPage}
	for {
		page, err := s.store.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list reviews: %w", err)
		}
		for _, doc := range page.Documents {
			if !pipeline.IsReview(deliveryID(doc.ID)) {
				continue
			}
			d, err := pipeline.DecodeDelivery(doc.Data)
			if err != nil {
				s.log.ErrorContext(ctx, "a review is not swept, because it can't be read", "delivery", doc.ID, "error", err)
				continue
			}
			if !d.Review || d.TearDownOf != "" || !d.Closing.At.IsZero() {
				continue
			}
			if found[d.Project.ID] == nil {
				found[d.Project.ID] = reviews{}
			}
			iid := d.MergeRequest.IID
			found[d.Project.ID][iid] = append(found[d.Project.ID][iid], d.ID)
		}
		if q.Before = page.Next; q.Before == "" {
			return found, nil
		}
	}
}
