package boltstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// step is the job of Commit.
type step struct {
	store.Commit
	doc     document
	docRow  []byte
	history [][]byte
	letters []letter
	effects []emitted

	withdrawn []uint64 // sequence numbers of effects, found by check
	dropped   []uint64 // by Latest, found by write
	old       *document
}

// emitted is an effect on its way into the file.
type emitted struct {
	store.Effect
	body []byte
	seq  uint64 // given by write
	drop bool   // a later effect of the same commit replaces it
}

// conflictHold is how long an aggregate rests after a commit with a wrong version.
const conflictHold = time.Second

// Commit applies one step. It ends the claim also with store.ErrConflict, since a
// step from another document can't be committed later either; after any other
// error the claim is still to be committed or released.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	st, err := s.step(c)
	if err == nil {
		err = s.do(ctx, st)
	}
	if errors.Is(err, store.ErrConflict) {
		claim := store.Claim{Document: store.Document{ID: c.ID}, Fence: c.Fence}
		_ = s.release(claim, s.now().Add(conflictHold)) // it was ours, or there would be no conflict
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", c.ID, err)
	}
	return nil
}

// step checks what needs no transaction, and encodes the rows outside of the committer.
func (s *Store) step(c store.Commit) (*step, error) {
	if err := errors.Join(checkID(c.ID), checkIndex(c.Index)); err != nil {
		return nil, err
	}
	if c.Finished {
		c.Due = time.Time{}
	} else if c.Due.IsZero() {
		return nil, errors.New("an unfinished aggregate needs a due time")
	}
	st := &step{Commit: c}
	st.doc = document{Document: store.Document{
		ID: c.ID, Version: c.Version + 1, Data: c.Data, Index: c.Index,
		Finished: c.Finished, Due: c.Due, Updated: s.now(),
	}}
	for _, ref := range c.Blobs {
		if _, err := blobKey(ref); err != nil {
			return nil, err
		}
		if !slices.Contains(st.doc.blobs, ref) {
			st.doc.blobs = append(st.doc.blobs, ref)
		}
	}
	st.docRow = s.packer.encodeDocument(st.doc)
	for _, e := range c.History {
		st.history = append(st.history, s.packer.encodeEntry(e))
	}
	var err error
	if st.letters, err = s.letters(c.Messages); err != nil {
		return nil, err
	}
	return st, st.prepareEffects(&s.packer)
}

func (st *step) prepareEffects(p *packer) error {
	for i, e := range st.Effects {
		if e.Of != "" && e.Of != st.ID {
			return fmt.Errorf("effect %q belongs to %s", e.Key, e.Of)
		}
		if e.Key == "" || e.Kind == "" {
			return fmt.Errorf("effect %q of kind %q: both must be given", e.Key, e.Kind)
		}
		e.Of = st.ID
		for j := range st.effects {
			o := &st.effects[j]
			if o.Key == e.Key {
				return fmt.Errorf("two effects have the key %q", e.Key)
			}
			o.drop = o.drop || replaces(e, o.Effect)
		}
		st.Effects[i].Of = st.ID
		st.effects = append(st.effects, emitted{Effect: e, body: p.encodeEffectBody(e)})
	}
	return nil
}

// replaces says whether a newer effect makes an older one pointless. Both must
// agree to that: the first write of a slot, such as making the thing, may be needed.
func replaces(newer, older store.Effect) bool {
	return newer.Latest && older.Latest && newer.Slot != "" && newer.Slot == older.Slot
}

func (st *step) check(b *batch) error {
	st.withdrawn, st.dropped, st.old = nil, nil, nil
	if _, ok := b.ended[st.ID]; ok {
		return store.ErrFenced
	}
	if err := st.checkMemory(b); err != nil {
		return err
	}
	if row := b.docs.Get([]byte(st.ID)); row != nil {
		d, _, err := decodeHead(st.ID, row)
		if err != nil {
			return err
		}
		st.old = &d
	}
	have := uint64(0)
	if st.old != nil {
		have = st.old.Version
	}
	if have != st.Version {
		return fmt.Errorf("%w: it has version %d, not %d", store.ErrConflict, have, st.Version)
	}
	for i, seq := range st.Consumed {
		to, err := eventTo(b.inbox.Get(seqKey(seq)))
		if err != nil || !bytes.Equal(to, []byte(st.ID)) || slices.Contains(st.Consumed[:i], seq) {
			return fmt.Errorf("event %d is not in its inbox", seq)
		}
	}
	for _, ref := range st.doc.blobs {
		key, _ := blobKey(ref) // step has checked it
		if b.blobTime.Get(key) == nil {
			return fmt.Errorf("blob %s: %w", ref, store.ErrNotFound)
		}
	}
	return nil
}

// checkMemory looks up the claim, and the effects that the step names.
func (st *step) checkMemory(b *batch) error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	a, err := b.store.schedule.claimOf(st.ID, st.Fence)
	if err != nil {
		return err
	}
	for _, key := range st.Withdraw {
		if e := a.find(key); e != nil {
			st.withdrawn = append(st.withdrawn, e.seq)
		}
	}
	for i := range st.effects {
		n := &st.effects[i]
		e := a.find(n.Key)
		if e != nil && !slices.Contains(st.withdrawn, e.seq) && b.effects.Get(seqKey(e.seq)) != nil {
			return fmt.Errorf("effect %q is there already", n.Key)
		}
	}
	for _, e := range a.work.effects {
		older := store.Effect{Slot: e.slot, Latest: e.latest}
		for i := range st.effects {
			if replaces(st.effects[i].Effect, older) {
				st.dropped = append(st.dropped, e.seq)
				break
			}
		}
	}
	return nil
}

func (st *step) write(b *batch) error {
	b.ended[st.ID] = struct{}{}
	if err := st.writeDocument(b); err != nil {
		return err
	}
	for _, seq := range st.Consumed {
		if err := b.inbox.Delete(seqKey(seq)); err != nil {
			return fmt.Errorf("consume event %d: %w", seq, err)
		}
	}
	for _, row := range st.history {
		if err := b.history.Put(historyKey(st.ID, b.next()), row); err != nil {
			return fmt.Errorf("append to the history: %w", err)
		}
	}
	if err := st.writeEffects(b); err != nil {
		return err
	}
	for i := range st.letters {
		if err := b.put(&st.letters[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeDocument writes the document and every row that follows from it.
func (st *step) writeDocument(b *batch) error {
	id := []byte(st.ID)
	if err := b.docs.Put(id, st.docRow); err != nil {
		return fmt.Errorf("store the document: %w", err)
	}
	if st.old == nil {
		b.total++
	}
	if st.Finished {
		if err := b.due.Delete(id); err != nil {
			return fmt.Errorf("remove the due time: %w", err)
		}
	} else if err := b.due.Put(id, seqKey(uint64(nanos(st.Due)))); err != nil {
		return fmt.Errorf("store the due time: %w", err)
	}
	if err := b.reindex(st.ID, st.old, &st.doc); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return b.refer(st.ID, st.old, &st.doc)
}

// reindex replaces the index rows of a document; before or after is nil if there is none.
func (b *batch) reindex(id store.ID, before, after *document) error {
	if before != nil && after != nil && before.Finished == after.Finished && before.Index.Hidden == after.Index.Hidden &&
		before.Index.Project == after.Index.Project && before.Index.MergeRequest == after.Index.MergeRequest &&
		before.Index.SHA == after.Index.SHA && before.Index.Started.Equal(after.Index.Started) {
		return nil
	}
	if before != nil {
		for _, k := range indexRows(id, before.Index) {
			if err := b.index.Delete(k); err != nil {
				return err
			}
		}
	}
	if after == nil {
		return nil
	}
	flags := []byte{indexFlags(after.Index, after.Finished)}
	for _, k := range indexRows(id, after.Index) {
		if err := b.index.Put(k, flags); err != nil {
			return err
		}
	}
	return nil
}

// refer replaces the rows that say which blobs a document refers to.
func (b *batch) refer(id store.ID, before, after *document) error {
	var was, is []string
	if before != nil {
		was = before.blobs
	}
	if after != nil {
		is = after.blobs
	}
	for _, ref := range was {
		if !slices.Contains(is, ref) {
			if err := b.blobRefs.Delete(blobRefKey(ref, id)); err != nil {
				return fmt.Errorf("forget blob %s: %w", ref, err)
			}
		}
	}
	for _, ref := range is {
		if !slices.Contains(was, ref) {
			if err := b.blobRefs.Put(blobRefKey(ref, id), []byte{}); err != nil {
				return fmt.Errorf("refer to blob %s: %w", ref, err)
			}
		}
	}
	return nil
}

// blobRefKey is a key of the blobrefs bucket; the ref must have been checked.
func blobRefKey(ref string, id store.ID) []byte {
	key, _ := hex.DecodeString(ref)
	return append(key, id...)
}

func (st *step) writeEffects(b *batch) error {
	for _, seq := range st.withdrawn {
		if err := b.effects.Delete(seqKey(seq)); err != nil {
			return fmt.Errorf("withdraw an effect: %w", err)
		}
	}
	candidates := st.dropped
	st.dropped = nil
	for _, seq := range candidates {
		row, err := decodeEffect(b.effects.Get(seqKey(seq)))
		if err != nil || row.attempt.number > 0 {
			continue // it is gone, or has started before
		}
		if err := b.effects.Delete(seqKey(seq)); err != nil {
			return fmt.Errorf("drop an effect: %w", err)
		}
		st.dropped = append(st.dropped, seq)
	}
	for i := range st.effects {
		n := &st.effects[i]
		if n.drop {
			continue
		}
		n.seq = b.next()
		row := encodeEffect(attempt{notBefore: n.NotBefore}, n.body)
		if err := appendRow(b.effects, n.seq, row); err != nil {
			return fmt.Errorf("store effect %q: %w", n.Key, err)
		}
		b.touched[st.ID] = struct{}{}
	}
	return nil
}

func (st *step) applied(s *Store) {
	c := s.schedule
	a := c.get(st.ID)
	w := a.busy()
	w.fence = 0
	w.events = slices.DeleteFunc(w.events, func(seq uint64) bool { return slices.Contains(st.Consumed, seq) })
	c.inbox -= len(st.Consumed)
	due := int64(0)
	if !st.Finished {
		due = nanos(st.Due)
	}
	c.setDue(a, due)
	for _, e := range slices.Clone(w.effects) {
		switch {
		case slices.Contains(st.withdrawn, e.seq):
			s.withdraw(e)
		case slices.Contains(st.dropped, e.seq):
			c.removeEffect(e)
		}
	}
	for i := range st.effects {
		if n := &st.effects[i]; !n.drop {
			c.addEffect(n.seq, n.Effect)
		}
	}
	for i := range st.letters {
		s.arrive(&st.letters[i])
	}
	a.mode = resting
	c.place(a)
}

// withdraw ends an effect that does not run. A running one keeps its slot until
// its executor settles, because until then it may still write.
func (s *Store) withdraw(e *effect) {
	if e.mode != claimed {
		s.schedule.removeEffect(e)
		return
	}
	e.withdrawn = true
	if e.fence != 0 {
		s.readers.tell(store.EffectID{Of: e.of.id, Key: e.key})
	}
}
