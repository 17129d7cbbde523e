package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// changed hears every committed step.
func (a *App) changed(c engine.Change) {
	a.metrics.changed(c)
	if c.After != nil {
		a.changes.tell(c.After.ID)
		a.goesBack(c)
	}
	if id, ok := strings.CutPrefix(string(c.ID), engine.KindEnvironment+"/"); ok {
		a.places.tell(id)
		a.attendance.hear(id)
	}
}

// goesBack logs that it is decided to go back to what ran before.
func (a *App) goesBack(c engine.Change) {
	for i := range c.After.Stages {
		st := &c.After.Stages[i]
		if st.Phase != pipeline.PhaseRestoring {
			continue
		}
		if before := c.Before.Stage(st.Name); before != nil && before.Phase == st.Phase && before.Attempt == st.Attempt {
			continue
		}
		to := ""
		if st.Target != nil {
			to = st.Target.ID
		}
		a.log.Info("goes back to the release before", "delivery", c.After.ID, "stage", st.Name, "project", c.After.Project.Path, "release", to)
	}
}

// changes tells the pages that something has changed: a delivery or an environment, by its id.
type changes struct {
	mu   sync.Mutex
	next int
	subs map[int]subscription
}

type subscription struct {
	delivery string // "" hears of all
	c        chan struct{}
}

func newChanges() *changes { return &changes{subs: map[int]subscription{}} }

func (c *changes) tell(delivery string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if s.delivery == "" || s.delivery == delivery {
			select {
			case s.c <- struct{}{}:
			default: // it has not looked since the last one, and will see both at once
			}
		}
	}
}

func (c *changes) subscribe(delivery string) (<-chan struct{}, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.next
	c.next++
	ch := make(chan struct{}, 1)
	c.subs[id] = subscription{delivery: delivery, c: ch}
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, id)
	}
}

// source is the store as the pages want it.
type source struct {
	store    store.Store
	changes  *changes
	measured measurements
}

// Deliveries implements web.Source.
func (s *source) Deliveries(ctx context.Context, before string, limit int) ([]pipeline.View, string, error) {
	page, err := s.store.List(ctx, store.Query{Kind: engine.KindDelivery, Before: before, Limit: limit})
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	views := make([]pipeline.View, 0, len(page.Documents))
	for _, doc := range page.Documents {
		v, err := s.view(ctx, doc)
		if err != nil {
			return nil, "", err
		}
		views = append(views, v)
	}
	return views, page.Next, nil
}

// Delivery implements web.Source.
func (s *source) Delivery(ctx context.Context, id string) (pipeline.View, error) {
	doc, err := s.document(ctx, id)
	if err != nil {
		return pipeline.View{}, err
	}
	return s.view(ctx, doc)
}

// document is a delivery that may be shown.
func (s *source) document(ctx context.Context, id string) (store.Document, error) {
	doc, err := s.store.Get(ctx, engine.Delivery(id))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && doc.Index.Hidden:
		return store.Document{}, web.ErrNotFound
	case err != nil:
		return store.Document{}, fmt.Errorf("read delivery %s: %w", id, err)
	}
	return doc, nil
}

// Log implements web.Source.
func (s *source) Log(ctx context.Context, id, stage string) (string, error) {
	ref, err := s.left(ctx, id, stage, func(st *pipeline.StageState) string {
		if st.Ran == nil {
			return ""
		}
		return st.Ran.Log
	})
	if err != nil {
		return "", err
	}
	text, err := s.blob(ctx, ref)
	return string(text), err
}

// Samples implements web.Source.
func (s *source) Samples(ctx context.Context, id, stage string) (*pipeline.Measurement, error) {
	ref, err := s.left(ctx, id, stage, func(st *pipeline.StageState) string {
		if st.Analysis == nil {
			return ""
		}
		return st.Analysis.Samples
	})
	if err != nil {
		return nil, err
	}
	if m := s.measured.get(ref); m != nil {
		return m, nil
	}
	data, err := s.blob(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := pipeline.DecodeMeasurement(data)
	if err == nil {
		s.measured.put(ref, len(data), m)
	}
	return m, err
}

// left is the reference of a blob that a stage has left.
func (s *source) left(ctx context.Context, id, stage string, ref func(*pipeline.StageState) string) (string, error) {
	doc, err := s.document(ctx, id)
	if err != nil {
		return "", err
	}
	d, err := pipeline.DecodeDelivery(doc.Data)
	if err != nil {
		return "", err
	}
	st := d.Stage(stage)
	if st == nil || ref(st) == "" {
		return "", web.ErrNotFound
	}
	return ref(st), nil
}

func (s *source) blob(ctx context.Context, ref string) ([]byte, error) {
	data, err := s.store.GetBlob(ctx, ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, web.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read what a stage has left: %w", err)
	}
	return data, nil
}

func (s *source) view(ctx context.Context, doc store.Document) (pipeline.View, error) {
	d, err := pipeline.DecodeDelivery(doc.Data)
	if err != nil {
		return pipeline.View{}, err
	}
	plan, err := engine.ReadPlan(ctx, s.store, d.PlanRef)
	if err != nil {
		return pipeline.View{}, err
	}
	return pipeline.NewView(plan, &d), nil
}

// Changes implements web.Source.
func (s *source) Changes(id string) (<-chan struct{}, func()) { return s.changes.subscribe(id) }

// guard asks for the operator's password before it lets anyone read.
func guard(c config.Console, next http.Handler) http.Handler {
	if c.Access != "password" {
		return next
	}
	want := sha256.Sum256([]byte(c.Username + "\x00" + c.Password.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(user + "\x00" + password))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Slipway", charset="UTF-8"`)
			http.Error(w, "A name and a password are needed to read here.", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
