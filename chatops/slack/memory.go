package slack

import (
	"crypto/sha256"
	"sync"
)

// memory holds what this process knows of the messages that it sent. It saves calls and
// closes the moment between a message and the record of it; losing it loses no message.
type memory struct {
	mu    sync.Mutex
	most  int
	order []string // of deliveries, oldest first
	by    map[string]sent
}

// sent is one delivery's message.
type sent struct {
	channel, ts, url string
	shown            [sha256.Size]byte // the rendering that is there; zero if unknown
	doubt            bool              // a call may have sent it, and nobody knows
}

func newMemory(most int) *memory { return &memory{most: most, by: map[string]sent{}} }

func (m *memory) get(delivery string) sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[delivery]
}

func (m *memory) change(delivery string, change func(*sent)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, known := m.by[delivery]
	change(&s)
	m.by[delivery] = s
	if known {
		return
	}
	m.order = append(m.order, delivery)
	if len(m.order) > m.most {
		delete(m.by, m.order[0])
		m.order = m.order[1:]
	}
}
