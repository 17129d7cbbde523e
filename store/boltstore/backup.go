package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// Backup writes a consistent copy of the whole database, which Open can open.
// Writes go on meanwhile. It gives up between two blocks when ctx ends.
//
// The copy is marked: whoever opens it treats its pending effects as unknown,
// because they may have been carried out after the copy was made.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	tx, err := s.markedCopy(ctx)
	if err == nil {
		_, err = tx.WriteTo(untilDone{ctx, w})
		err = errors.Join(err, tx.Rollback())
	}
	if err != nil {
		return fmt.Errorf("back up the database %s: %w", s.path, err)
	}
	return nil
}

// markedCopy begins to read from a state that has the mark. If the process dies
// before the mark is gone again, effects are looked after once more than needed.
func (s *Store) markedCopy(ctx context.Context) (*bolt.Tx, error) {
	s.backups.Lock()
	defer s.backups.Unlock()
	if err := s.do(ctx, marking{true}); err != nil {
		return nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, errors.Join(err, s.do(context.WithoutCancel(ctx), marking{false}))
	}
	if err := s.do(context.WithoutCancel(ctx), marking{false}); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

// marking is the job that sets or removes the mark of a copy.
type marking struct{ set bool }

func (m marking) check(*batch) error { return nil }

func (m marking) write(b *batch) error {
	if m.set {
		return b.meta.Put([]byte(metaCopy), seqKey(1))
	}
	return b.meta.Delete([]byte(metaCopy))
}

func (m marking) applied(*Store) {}

// doubt marks every pending effect as unknown if the file is a copy.
func doubt(tx *bolt.Tx, restored bool) error {
	meta := bucket(tx, bucketMeta)
	if !restored && meta.Get([]byte(metaCopy)) == nil {
		return nil
	}
	if err := meta.Delete([]byte(metaCopy)); err != nil {
		return err
	}
	effects := bucket(tx, bucketEffects)
	rows := map[uint64][]byte{}
	if err := effects.ForEach(func(k, v []byte) error {
		r, err := decodeEffect(v)
		if err != nil {
			return fmt.Errorf("read effect %d: %w", number(k), err)
		}
		r.attempt.unknown = true
		rows[number(k)] = encodeEffect(r.attempt, r.body)
		return nil
	}); err != nil {
		return err
	}
	for seq, row := range rows {
		if err := effects.Put(seqKey(seq), row); err != nil {
			return fmt.Errorf("doubt effect %d: %w", seq, err)
		}
	}
	return nil
}

// untilDone is a writer that fails when the context has ended.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}
