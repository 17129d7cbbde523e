package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// job is one request to change the file.
//
// The committer calls check and write within the same transaction, perhaps more
// than once for the same job, and applied when the transaction is durable.
type job interface {
	// check only reads. Its error is for its own caller and spoils nothing.
	check(b *batch) error
	// write makes the changes. Its error undoes the whole batch, which is then tried without it.
	write(b *batch) error
	// applied changes what memory knows. Store.mu is held.
	applied(s *Store)
}

// request is a job and who waits for it.
type request struct {
	job  job
	err  error
	done chan struct{}
}

// jobs is the queue before the committer.
type jobs struct {
	mu     sync.Mutex
	list   []*request
	closed bool
	signal chan struct{} // holds one token while the list may be non-empty
	limit  int
}

func (q *jobs) add(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return store.ErrClosed
	}
	q.list = append(q.list, r)
	select {
	case q.signal <- struct{}{}:
	default:
	}
	return nil
}

// take gives the next batch: those that wait, up to the limit.
func (q *jobs) take() (list []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.list), q.limit)
	list = q.list[:n:n]
	q.list = q.list[n:]
	if len(q.list) == 0 {
		q.list = nil
	} else {
		select {
		case q.signal <- struct{}{}:
		default:
		}
	}
	return list, q.closed
}

func (q *jobs) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}

func (q *jobs) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// do hands a job to the committer and waits until it is durable or has failed. A
// context that ends after that is not heard: the change could not be taken back.
func (s *Store) do(ctx context.Context, j job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{job: j, done: make(chan struct{})}
	if err := s.queue.add(r); err != nil {
		return err
	}
	<-r.done
	return r.err
}

// run is the committer. It ends when the store is closed and the queue is empty.
func (s *Store) run() {
	defer close(s.done)
	for range s.queue.signal {
		s.gather()
		list, closed := s.queue.take()
		if len(list) > 0 {
			s.commitBatch(list)
			for _, r := range list {
				close(r.done)
			}
		}
		if closed && s.queue.len() == 0 {
			return
		}
	}
}

// gather lets callers that were just told of the batch before queue their next
// request, so that batches don't alternate between one request and all the others.
func (s *Store) gather() {
	for n, rounds := s.queue.len(), 0; n < s.queue.limit && rounds < 8; rounds++ {
		runtime.Gosched()
		m := s.queue.len()
		if m == n {
			return
		}
		n = m
	}
}

// batch is one transaction and what its jobs need to know of each other.
type batch struct {
	tx    *bolt.Tx
	store *Store
	now   int64

	docs, due, index, history, inbox, seen   *bolt.Bucket
	effects, blobs, blobTime, blobRefs, meta *bolt.Bucket

	seq     uint64
	total   uint64
	keys    map[keyHash]int64     // seen in this batch
	ended   map[store.ID]struct{} // claims that a job of this batch ends
	touched map[store.ID]struct{} // aggregates that got events or effects in this batch
	expired []seenRow
}

func (s *Store) begin() (*batch, error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	return &batch{
		tx: tx, store: s, now: s.now().UnixNano(),
		docs: bucket(tx, bucketDocs), due: bucket(tx, bucketDue), index: bucket(tx, bucketIndex),
		history: bucket(tx, bucketHistory), inbox: bucket(tx, bucketInbox), seen: bucket(tx, bucketSeen),
		effects: bucket(tx, bucketEffects), blobs: bucket(tx, bucketBlobs),
		blobTime: bucket(tx, bucketBlobTime), blobRefs: bucket(tx, bucketBlobRefs), meta: bucket(tx, bucketMeta),
		seq: s.memory.seq, total: s.memory.total,
		keys: map[keyHash]int64{}, ended: map[store.ID]struct{}{}, touched: map[store.ID]struct{}{},
	}, nil
}

func (b *batch) next() uint64 {
	b.seq++
	return b.seq
}

// appendRow writes a row behind all others of a bucket with ascending keys.
func appendRow(bk *bolt.Bucket, seq uint64, row []byte) error {
	bk.FillPercent = 0.95 // nothing is inserted between them later
	return bk.Put(seqKey(seq), row)
}

// committed is what the committer alone knows and needs from batch to batch.
type committed struct {
	seq    uint64
	total  uint64
	seen   map[keyHash]int64 // when an event's key was accepted
	oldest int64             // no row of the seen bucket is older
	window int64
}

// commitBatch carries out requests in one transaction, and sets their errors.
func (s *Store) commitBatch(list []*request) {
	for {
		b, err := s.begin()
		if err != nil {
			fail(list, err)
			return
		}
		passed, bad, err := b.perform(list)
		if err != nil { // of one job: the others are tried again without it
			_ = b.tx.Rollback()
			bad.err = err
			list = without(list, bad)
			continue
		}
		if len(passed) == 0 {
			_ = b.tx.Rollback()
			return
		}
		id := b.tx.ID()
		if err = b.finish(); err == nil {
			err = s.commit(b.tx)
		}
		if err != nil {
			_ = b.tx.Rollback()
			err = fmt.Errorf("write to the database %s: %w", s.path, err)
			fail(passed, err)
			s.log.Error("a write failed", "path", s.path, "requests", len(passed), "error", err)
			if !s.wasCommitted(id) {
				return
			}
			// Written but not surely durable: memory follows the file, and the callers
			// hear the error and find out when they try again.
		}
		s.apply(b, passed)
		return
	}
}

// perform checks and writes the jobs. An error is that of the job bad.
func (b *batch) perform(list []*request) (passed []*request, bad *request, err error) {
	for _, r := range list {
		if r.err = r.job.check(b); r.err != nil {
			continue
		}
		if err := r.job.write(b); err != nil {
			return nil, r, err
		}
		passed = append(passed, r)
	}
	return passed, nil, nil
}

// finish writes what a batch changes as a whole.
func (b *batch) finish() error {
	if err := b.expire(); err != nil {
		return err
	}
	var errs []error
	if b.seq != b.store.memory.seq {
		errs = append(errs, b.meta.Put([]byte(metaSeq), binary.BigEndian.AppendUint64(nil, b.seq)))
	}
	if b.total != b.store.memory.total {
		errs = append(errs, b.meta.Put([]byte(metaTotal), binary.BigEndian.AppendUint64(nil, b.total)))
	}
	return errors.Join(errs...)
}

// apply lets memory follow a transaction.
func (s *Store) apply(b *batch, passed []*request) {
	s.memory.follow(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range passed {
		r.job.applied(s)
	}
}

// wasCommitted says whether the file has the transaction although its commit failed:
// bbolt can fail after it has written the page that makes a transaction valid.
func (s *Store) wasCommitted(id int) bool {
	tx, err := s.db.Begin(false)
	if err != nil {
		return false
	}
	defer func() { _ = tx.Rollback() }()
	return tx.ID() >= id
}

func fail(list []*request, err error) {
	for _, r := range list {
		r.err = err
	}
}

func without(list []*request, bad *request) []*request {
	rest := make([]*request, 0, len(list)-1)
	for _, r := range list {
		if r != bad {
			rest = append(rest, r)
		}
	}
	return rest
}
