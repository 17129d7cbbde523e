package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// pruneAtOnce is how many aggregates or blobs one request removes, so that others
// get their turn between.
const pruneAtOnce = 100

// pruning is a job of Prune.
type pruning struct {
	ids     []store.ID
	before  time.Time
	blobs   [][]byte
	removed int
}

// Prune removes finished aggregates that were last changed before the time. One
// that still has events or effects stays until they are done.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	var ids []store.ID
	err := s.view(ctx, func(tx *bolt.Tx) error {
		return bucket(tx, bucketDocs).ForEach(func(k, v []byte) error {
			d, _, err := decodeHead(store.ID(k), v)
			if err == nil && d.Finished && d.Updated.Before(before) {
				ids = append(ids, d.ID)
			}
			return err
		})
	})
	removed := 0
	for len(ids) > 0 && err == nil {
		n := min(len(ids), pruneAtOnce)
		j := &pruning{ids: ids[:n], before: before}
		if err = s.do(ctx, j); err == nil {
			removed += j.removed
		}
		ids = ids[n:]
	}
	if err == nil {
		err = s.pruneBlobs(ctx)
	}
	if err != nil {
		return removed, fmt.Errorf("prune: %w", err)
	}
	return removed, nil
}

func (s *Store) pruneBlobs(ctx context.Context) error {
	var keys [][]byte
	oldest := s.now().Add(-blobStay).UnixNano()
	err := s.view(ctx, func(tx *bolt.Tx) error {
		// An event that waits may tell of a blob that was stored not long before it.
		if k, v := bucket(tx, bucketInbox).Cursor().First(); k != nil {
			e, _, err := eventHead(v)
			if err != nil {
				return fmt.Errorf("read event %d: %w", number(k), err)
			}
			oldest = min(oldest, e.At.Add(-blobStay).UnixNano())
		}
		refs := bucket(tx, bucketBlobRefs)
		return bucket(tx, bucketBlobTime).ForEach(func(k, v []byte) error {
			if int64(number(v)) < oldest && !blobReferred(refs, k) {
				keys = append(keys, bytes.Clone(k))
			}
			return nil
		})
	})
	for len(keys) > 0 && err == nil {
		n := min(len(keys), pruneAtOnce)
		err = s.do(ctx, &pruning{blobs: keys[:n]})
		keys = keys[n:]
	}
	return err
}

func (j *pruning) check(*batch) error { return nil }

func (j *pruning) write(b *batch) error {
	j.removed = 0
	for _, id := range j.ids {
		d, err := j.candidate(b, id)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		if err := b.remove(d); err != nil {
			return fmt.Errorf("remove %s: %w", id, err)
		}
		j.removed++
	}
	for _, key := range j.blobs {
		if b.now-int64(number(b.blobTime.Get(key))) < blobStay.Nanoseconds() || blobReferred(b.blobRefs, key) {
			continue
		}
		if err := b.blobTime.Delete(key); err != nil {
			return err
		}
		if err := b.blobs.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// candidate gives the document if it may still go, nil if something has happened to it.
func (j *pruning) candidate(b *batch, id store.ID) (*document, error) {
	if _, ok := b.touched[id]; ok {
		return nil, nil
	}
	b.store.mu.Lock()
	_, known := b.store.schedule.aggregates[id] // live, claimed, or with events or effects
	b.store.mu.Unlock()
	row := b.docs.Get([]byte(id))
	if known || row == nil {
		return nil, nil
	}
	d, _, err := decodeHead(id, row)
	if err != nil || !d.Finished || !d.Updated.Before(j.before) {
		return nil, err
	}
	return &d, nil
}

// remove deletes a document and all that belongs to it.
func (b *batch) remove(d *document) error {
	if err := b.docs.Delete([]byte(d.ID)); err != nil {
		return err
	}
	b.total--
	if err := b.reindex(d.ID, d, nil); err != nil {
		return err
	}
	if err := b.refer(d.ID, d, nil); err != nil {
		return err
	}
	prefix := historyPrefix(d.ID)
	var keys [][]byte
	c := b.history.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.history.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func (j *pruning) applied(*Store) {}
