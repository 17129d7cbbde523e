package boltstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// keyHash stands for the key of an event.
type keyHash [16]byte

func hashKey(key string) (h keyHash) {
	sum := sha256.Sum256([]byte(key))
	copy(h[:], sum[:])
	return h
}

// seenRow is a row of the seen bucket.
type seenRow struct {
	hash keyHash
	at   int64
}

// expireAtMost bounds the work that a batch does for keys that have left the window.
const expireAtMost = 256

func decodeSeen(v []byte) (r seenRow, ok bool) {
	if len(v) != 8+len(r.hash) {
		return r, false
	}
	r.at = int64(binary.BigEndian.Uint64(v))
	copy(r.hash[:], v[8:])
	return r, true
}

func (m *committed) loadSeen(tx *bolt.Tx, now time.Time) error {
	m.oldest = now.UnixNano()
	return bucket(tx, bucketSeen).ForEach(func(k, v []byte) error {
		r, ok := decodeSeen(v)
		if !ok {
			return fmt.Errorf("read the key of event %d: %w", number(k), errRow)
		}
		m.oldest = min(m.oldest, r.at)
		if now.UnixNano()-r.at < m.window {
			m.seen[r.hash] = r.at
		}
		return nil
	})
}

// follow takes over what a batch has written.
func (m *committed) follow(b *batch) {
	m.seq, m.total = b.seq, b.total
	for h, at := range b.keys {
		m.seen[h] = at
	}
	for _, r := range b.expired {
		if m.seen[r.hash] == r.at {
			delete(m.seen, r.hash)
		}
	}
}

// expire removes keys that have left the window, a few with every batch.
func (b *batch) expire() error {
	m := &b.store.memory
	if b.now-m.oldest < m.window {
		return nil
	}
	m.oldest = b.now
	c := b.seen.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		r, _ := decodeSeen(v)
		if b.now-r.at < m.window || len(b.expired) == expireAtMost {
			m.oldest = r.at
			break
		}
		b.expired = append(b.expired, r)
	}
	for range b.expired {
		k, _ := b.seen.Cursor().First()
		if err := b.seen.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// letter is an event on its way into the inbox.
type letter struct {
	to       store.ID
	hash     keyHash
	keyed    bool
	row      []byte
	seq      uint64 // given by put
	accepted bool
}

func (s *Store) letter(e store.Event) (letter, error) {
	if err := checkID(e.To); err != nil {
		return letter{}, err
	}
	if e.At.IsZero() {
		e.At = s.now().UTC()
	}
	l := letter{to: e.To, row: s.packer.encodeEvent(e)}
	if e.Key != "" {
		l.hash, l.keyed = hashKey(e.Key), true
	}
	return l, nil
}

func (s *Store) letters(events []store.Event) ([]letter, error) {
	list := make([]letter, len(events))
	for i, e := range events {
		l, err := s.letter(e)
		if err != nil {
			return nil, fmt.Errorf("event %q: %w", e.Kind, err)
		}
		list[i] = l
	}
	return list, nil
}

// put writes a letter unless its key was seen.
func (b *batch) put(l *letter) error {
	l.accepted = false
	if l.keyed {
		at, ok := b.keys[l.hash]
		if !ok {
			at, ok = b.store.memory.seen[l.hash]
		}
		if ok && b.now-at < b.store.memory.window {
			return nil
		}
	}
	l.seq, l.accepted = b.next(), true
	if l.keyed {
		b.keys[l.hash] = b.now
		row := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(b.now))
		if err := appendRow(b.seen, l.seq, append(row, l.hash[:]...)); err != nil {
			return fmt.Errorf("remember the key of an event for %s: %w", l.to, err)
		}
	}
	if err := appendRow(b.inbox, l.seq, l.row); err != nil {
		return fmt.Errorf("store an event for %s: %w", l.to, err)
	}
	b.touched[l.to] = struct{}{}
	return nil
}

// arrive lets memory know of a letter that was put.
func (s *Store) arrive(l *letter) {
	if !l.accepted {
		return
	}
	a := s.schedule.get(l.to)
	w := a.busy()
	w.events = append(w.events, l.seq)
	s.schedule.inbox++
	s.schedule.place(a)
}

// delivery is the job of Deliver.
type delivery struct{ letters []letter }

func (d *delivery) check(*batch) error { return nil }

func (d *delivery) write(b *batch) error {
	for i := range d.letters {
		if err := b.put(&d.letters[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) applied(s *Store) {
	for i := range d.letters {
		s.arrive(&d.letters[i])
	}
}

// Deliver accepts events, all or none. An event without a time gets the present one.
func (s *Store) Deliver(ctx context.Context, events ...store.Event) ([]bool, error) {
	letters, err := s.letters(events)
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	d := &delivery{letters: letters}
	if len(letters) > 0 {
		if err := s.do(ctx, d); err != nil {
			return nil, fmt.Errorf("deliver: %w", err)
		}
	}
	accepted := make([]bool, len(letters))
	for i, l := range d.letters {
		accepted[i] = l.accepted
	}
	return accepted, nil
}
