package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// CheckFile proves the promises on a file that no server has open; it changes
// nothing. store.ErrLocked: a server has it. A file too damaged to be opened is an error.
func CheckFile(ctx context.Context, path string) (problems []store.Problem, err error) {
	// A truncated file faults when its map is read: as a panic it can be told.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			problems, err = append(problems, store.Problem{What: fmt.Sprintf("the file is damaged: %v", r)}), nil
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Size() == 0 { // bbolt would want to write to it
		return nil, fmt.Errorf("check the database %s: this file is empty", path)
	}
	db, err := openFile(path, bolt.Options{ReadOnly: true, Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bolt.Tx) error {
		if err := checkSchema(tx); err != nil {
			return err
		}
		if bucket(tx, bucketMeta) == nil {
			return errors.New("this file is an empty database")
		}
		if err := walk(tx); err != nil {
			return err
		}
		problems, err = examine(ctx, tx)
		return err
	})
	if err != nil {
		return problems, fmt.Errorf("check the database %s: %w", path, err)
	}
	return problems, nil
}

// walk reads every page. On a damaged one it panics in the caller's goroutine,
// where bbolt's own check would do so in another and end the process.
func walk(tx *bolt.Tx) error {
	for _, name := range bucketNames() {
		if bucket(tx, name) == nil {
			return fmt.Errorf("the bucket %s is missing", name)
		}
		var last []byte
		if err := bucket(tx, name).ForEach(func(k, v []byte) error {
			if last != nil && bytes.Compare(last, k) >= 0 {
				return fmt.Errorf("the bucket %s is out of order at %x", name, k)
			}
			last = append(last[:0], k...)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// Check proves the promises on the file, and that memory agrees with it.
func (s *Store) Check(ctx context.Context) ([]store.Problem, error) {
	var problems []store.Problem
	err := s.view(ctx, func(tx *bolt.Tx) (err error) {
		problems, err = examine(ctx, tx)
		return err
	})
	j := &comparison{}
	if err == nil {
		err = s.do(ctx, j)
	}
	if err != nil {
		return problems, fmt.Errorf("check the database %s: %w", s.path, err)
	}
	return append(problems, j.problems...), nil
}

// examination is one pass over the file.
type examination struct {
	ctx      context.Context
	tx       *bolt.Tx
	problems []store.Problem
	docs     map[store.ID]*owner
}

// owner is what the rows of other buckets are held against.
type owner struct {
	finished          bool
	due               int64
	index             store.Index
	blobs             []string
	rows, refs, dues  int
	wantRows, history int
	effects           map[string]bool
}

func examine(ctx context.Context, tx *bolt.Tx) ([]store.Problem, error) {
	x := &examination{ctx: ctx, tx: tx, docs: map[store.ID]*owner{}}
	for err := range tx.Check() {
		x.problem("", "the file's pages: %v", err)
	}
	if len(x.problems) > 0 {
		return x.problems, ctx.Err()
	}
	for _, part := range []func(){
		x.documents, x.dues, x.index, x.history, x.inbox, x.effects, x.blobs, x.owners,
	} {
		part()
		if err := ctx.Err(); err != nil {
			return x.problems, err
		}
	}
	return x.problems, nil
}

func (x *examination) problem(id store.ID, format string, args ...any) {
	x.problems = append(x.problems, store.Problem{ID: id, What: fmt.Sprintf(format, args...)})
}

// each goes through a bucket until ctx ends.
func (x *examination) each(name string, row func(k, v []byte)) {
	c := bucket(x.tx, name).Cursor()
	for k, v := c.First(); k != nil && x.ctx.Err() == nil; k, v = c.Next() {
		row(k, v)
	}
}

func (x *examination) documents() {
	total := uint64(0)
	x.each(bucketDocs, func(k, v []byte) {
		total++
		id := store.ID(k)
		d, err := decodeDocument(id, v)
		if err != nil {
			x.problem(id, "%v", err)
			return
		}
		if d.Version == 0 {
			x.problem(id, "its version is 0")
		}
		if d.Finished != d.Due.IsZero() {
			x.problem(id, "finished is %t and its due time is %s", d.Finished, d.Due)
		}
		o := &owner{finished: d.Finished, due: nanos(d.Due), index: d.Index, blobs: d.blobs}
		o.wantRows = len(indexRows(id, d.Index))
		x.docs[id] = o
	})
	if n := number(bucket(x.tx, bucketMeta).Get([]byte(metaTotal))); n != total {
		x.problem("", "there are %d documents, and the counter says %d", total, n)
	}
}

func (x *examination) dues() {
	x.each(bucketDue, func(k, v []byte) {
		id := store.ID(k)
		o := x.docs[id]
		switch {
		case o == nil:
			x.problem(id, "a due time without a document")
		case o.finished:
			x.problem(id, "it is finished and has a due time")
		case int64(number(v)) != o.due:
			x.problem(id, "its due row says %s and its document %s", fromNanos(int64(number(v))), fromNanos(o.due))
		}
		if o != nil {
			o.dues++
		}
	})
}

func (x *examination) index() {
	x.each(bucketIndex, func(k, v []byte) {
		// The id is behind a prefix of varying length, so owners are found by making their rows.
		id, o := x.indexOwner(k)
		if o == nil {
			x.problem(id, "the index row %q without a document", k)
			return
		}
		o.rows++
		if len(v) != 1 || v[0] != indexFlags(o.index, o.finished) {
			x.problem(id, "the index row %q has the flags %x", k, v)
		}
	})
}

// indexOwner finds whose index row a key is.
func (x *examination) indexOwner(k []byte) (store.ID, *owner) {
	start := 1
	switch k[0] {
	case rowsKind, rowsSHA:
		for start < len(k) && k[start] != 0 {
			start++
		}
		start++
	case rowsProject:
		start += 8
	case rowsMergeRequest:
		start += 16
	}
	if start+8 > len(k) {
		return "", nil
	}
	id := store.ID(k[start+8:])
	o := x.docs[id]
	if o == nil {
		return id, nil
	}
	for _, want := range indexRows(id, o.index) {
		if string(want) == string(k) {
			return id, o
		}
	}
	return id, nil
}

func (x *examination) history() {
	x.each(bucketHistory, func(k, v []byte) {
		n := len(k) - 9
		if n < 1 || k[n] != 0 {
			x.problem("", "a history row with the key %q", k)
			return
		}
		id := store.ID(k[:n])
		o := x.docs[id]
		if o == nil {
			x.problem(id, "history without a document")
			return
		}
		o.history++
		if _, err := decodeEntry(v); err != nil {
			x.problem(id, "history entry %d: %v", o.history, err)
		}
		x.sequence(id, number(k[n+1:]))
	})
}

// sequence proves that a number was given out.
func (x *examination) sequence(id store.ID, seq uint64) {
	if last := number(bucket(x.tx, bucketMeta).Get([]byte(metaSeq))); seq > last {
		x.problem(id, "sequence number %d is beyond the last one, %d", seq, last)
	}
}

func (x *examination) inbox() {
	seen := bucket(x.tx, bucketSeen)
	oldest, _ := seen.Cursor().First()
	x.each(bucketInbox, func(k, v []byte) {
		seq := number(k)
		e, err := decodeEvent(v)
		if err != nil {
			x.problem(e.To, "event %d: %v", seq, err)
			return
		}
		x.sequence(e.To, seq)
		if e.Key == "" {
			return
		}
		r, ok := decodeSeen(seen.Get(k))
		// The row may have left the window while the event waited.
		if !ok && oldest != nil && seq >= number(oldest) {
			x.problem(e.To, "event %d: its key is not remembered", seq)
		} else if ok && r.hash != hashKey(e.Key) {
			x.problem(e.To, "event %d: another key is remembered for it", seq)
		}
	})
}

func (x *examination) effects() {
	x.each(bucketEffects, func(k, v []byte) {
		e, err := decodeEffect(v)
		if err == nil {
			_, err = unpack(e.data)
		}
		if err != nil {
			x.problem(e.Of, "effect %d: %v", number(k), err)
			return
		}
		x.sequence(e.Of, number(k))
		o := x.docs[e.Of]
		if o == nil {
			x.problem(e.Of, "effect %q without a document", e.Key)
			return
		}
		if o.effects[e.Key] {
			x.problem(e.Of, "two effects have the key %q", e.Key)
		}
		if o.effects == nil {
			o.effects = map[string]bool{}
		}
		o.effects[e.Key] = true
		if e.attempt.started && (e.attempt.number == 0 || e.attempt.since.IsZero()) {
			x.problem(e.Of, "effect %q has started without an attempt", e.Key)
		}
	})
}

func (x *examination) blobs() {
	blobs, times := bucket(x.tx, bucketBlobs), bucket(x.tx, bucketBlobTime)
	x.each(bucketBlobRefs, func(k, _ []byte) {
		if len(k) < 33 {
			x.problem("", "a reference to a blob with the key %x", k)
			return
		}
		id := store.ID(k[32:])
		if o := x.docs[id]; o == nil {
			x.problem(id, "a reference to blob %x without a document", k[:32])
		} else {
			o.refs++
		}
		if blobs.Get(k[:32]) == nil {
			x.problem(id, "it refers to blob %x, which is gone", k[:32])
		}
	})
	x.each(bucketBlobTime, func(k, _ []byte) {
		if blobs.Get(k) == nil {
			x.problem("", "blob %x is gone", k)
		}
	})
	x.each(bucketBlobs, func(k, v []byte) {
		data, err := unpack(v)
		if err != nil {
			x.problem("", "blob %x: %v", k, err)
		} else if h := contentHash(data); string(h) != string(k) {
			x.problem("", "blob %x has other content", k)
		}
		if times.Get(k) == nil {
			x.problem("", "blob %x has no time", k)
		}
	})
}

// owners proves that every document has all of its rows.
func (x *examination) owners() {
	for id, o := range x.docs {
		if o.dues == 0 && !o.finished {
			x.problem(id, "it is live and has no due time: it would sleep for ever")
		}
		if o.rows != o.wantRows {
			x.problem(id, "it has %d index rows of %d", o.rows, o.wantRows)
		}
		if o.refs != len(o.blobs) {
			x.problem(id, "it has %d references to %d blobs", o.refs, len(o.blobs))
		}
	}
}
