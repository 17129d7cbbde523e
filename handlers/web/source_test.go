package web

import (
	"context"
	"sync"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// memory is a source whose deliveries a test can change.
type memory struct {
	mu      sync.Mutex
	views   []pipeline.View // newest first
	subs    map[chan struct{}]string
	logs    map[string]string // by delivery and stage
	samples map[string]*pipeline.Measurement
	err     error
	renders int
}

func newMemory(views ...pipeline.View) *memory {
	return &memory{views: views, subs: map[chan struct{}]string{}}
}

func (m *memory) Deliveries(_ context.Context, before string, limit int) ([]pipeline.View, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renders++
	if m.err != nil {
		return nil, "", m.err
	}
	from := 0
	for i, v := range m.views {
		if v.ID == before {
			from = i + 1
		}
	}
	views, next := m.views[from:], ""
	if len(views) > limit {
		views = views[:limit]
		next = views[limit-1].ID
	}
	return append([]pipeline.View(nil), views...), next, nil
}

func (m *memory) Delivery(_ context.Context, id string) (pipeline.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renders++
	if m.err != nil {
		return pipeline.View{}, m.err
	}
	for _, v := range m.views {
		if v.ID == id {
			return v, nil
		}
	}
	return pipeline.View{}, ErrNotFound
}

func (m *memory) Log(_ context.Context, id, stage string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return "", m.err
	}
	text, ok := m.logs[id+" "+stage]
	if !ok {
		return "", ErrNotFound
	}
	return text, nil
}

func (m *memory) Samples(_ context.Context, id, stage string) (*pipeline.Measurement, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	samples, ok := m.samples[id+" "+stage]
	if !ok {
		return nil, ErrNotFound
	}
	return samples, nil
}

func (m *memory) Changes(id string) (<-chan struct{}, func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan struct{}, 1)
	m.subs[ch] = id
	return ch, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subs, ch)
	}
}

// set replaces or adds a delivery and tells everyone who listens.
func (m *memory) set(v pipeline.View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for i := range m.views {
		if m.views[i].ID == v.ID {
			m.views[i], found = v, true
		}
	}
	if !found {
		m.views = append([]pipeline.View{v}, m.views...)
	}
	for ch, id := range m.subs {
		if id == "" || id == v.ID {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

// tell signals a change to those who listen for the id.
func (m *memory) tell(of string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ch, id := range m.subs {
		if id == "" || id == of {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

func (m *memory) listeners() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.subs)
}

func (m *memory) looks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.renders
}
