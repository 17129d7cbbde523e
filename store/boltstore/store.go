package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"gitlab.com/slipway-cd/slipway/store"
)

// maxEvents is how many events a claim hands out at once.
const maxEvents = 64

// Options say which file and how. Only Path is required.
type Options struct {
	Path string
	// Now is the clock of due times and deduplication; nil is time.Now. Waiting goes by real timers.
	Now func() time.Time
	// Logger hears of damaged rows and failed writes; nil is silence.
	Logger *slog.Logger
	// Timeout is how long to wait for another process to let go of the file; 0 is 3 s.
	Timeout time.Duration
	// InitialMmapSize in bytes is address space that is kept for the file; 0 is 4 GiB.
	// When the file outgrows it, the next growth waits for running reads and backups.
	InitialMmapSize int
	// BatchMax is how many requests share a transaction at most; 0 is 512.
	BatchMax int
	// UnknownGrace is how long an effect waits after an open if the process before
	// died while it ran; 0 is 2 s, negative is no time.
	UnknownGrace time.Duration
	// DedupWindow is how long keys of events are remembered; 0 is 7 days.
	DedupWindow time.Duration
	// Restored says that the file is an old copy: effects that it has as pending may
	// have been carried out since, so all of them become unknown. Files that Backup
	// wrote say so themselves.
	Restored bool
}

func (o *Options) complete() error {
	if o.Path == "" {
		return errors.New("open the database: no path")
	}
	if o.Timeout < 0 || o.InitialMmapSize < 0 || o.BatchMax < 0 || o.DedupWindow < 0 {
		return fmt.Errorf("open the database %s: a negative option", o.Path)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.InitialMmapSize == 0 {
		o.InitialMmapSize = 4 << 30
	}
	if o.BatchMax == 0 {
		o.BatchMax = 512
	}
	if o.UnknownGrace == 0 {
		o.UnknownGrace = 2 * time.Second
	}
	if o.DedupWindow == 0 {
		o.DedupWindow = 7 * 24 * time.Hour
	}
	return nil
}

// Store is a store.Store in one bbolt file.
type Store struct {
	db     *bolt.DB
	path   string
	now    func() time.Time
	log    *slog.Logger
	packer packer
	queue  jobs
	commit func(*bolt.Tx) error // ends a transaction; tests let it fail
	memory committed

	closing chan struct{}
	done    chan struct{} // the committer has ended

	mu       sync.Mutex
	closed   bool
	schedule *schedule
	fence    uint64
	readers  withdrawals

	backups sync.Mutex // one at a time marks its copy
}

var _ store.Store = (*Store)(nil)

// Open opens or creates the file. store.ErrLocked: another process has it.
// store.ErrNewer: a newer Slipway wrote it.
func Open(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	db, err := openFile(o.Path, bolt.Options{
		Timeout: o.Timeout, InitialMmapSize: o.InitialMmapSize,
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: db, path: o.Path, now: o.Now, log: o.Logger,
		commit:   (*bolt.Tx).Commit,
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
		schedule: newSchedule(o.Now),
	}
	s.queue.signal = make(chan struct{}, 1)
	s.queue.limit = o.BatchMax
	s.memory.window = o.DedupWindow.Nanoseconds()
	s.memory.seen = map[keyHash]int64{}
	if err := s.load(o); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", o.Path, err), db.Close())
	}
	s.schedule.timer = time.AfterFunc(time.Hour, s.ring)
	s.schedule.timer.Stop()
	s.mu.Lock()
	s.schedule.arm()
	s.mu.Unlock()
	go s.run()
	return s, nil
}

// openFile opens a bbolt file, and says in words what stands in the way.
func openFile(path string, o bolt.Options) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &o)
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		advice := "stop the other Slipway that uses this file, or give this one a file of its own"
		if o.ReadOnly {
			advice = "stop the Slipway that uses this file, or look at a backup instead"
		}
		return nil, fmt.Errorf("open the database %s: %w: %s", path, store.ErrLocked, advice)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("open the database %s: this file is not a database of Slipway, or it is damaged: %w", path, err)
	}
	return nil, fmt.Errorf("open the database %s: %w", path, err)
}

// load prepares the file and rebuilds what memory knows.
func (s *Store) load(o Options) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if err := s.prepare(tx); err != nil {
			return err
		}
		return doubt(tx, o.Restored)
	})
	if err == nil {
		err = syncFolder(filepath.Dir(o.Path))
	}
	if err != nil {
		return err
	}
	return s.db.View(func(tx *bolt.Tx) error { return s.rebuild(tx, o.UnknownGrace) })
}

// syncFolder makes the name of a new file durable; syncing the file does not.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// prepare creates the buckets and raises the epoch, so that fences grow.
func (s *Store) prepare(tx *bolt.Tx) error {
	if err := checkSchema(tx); err != nil {
		return err
	}
	for _, name := range bucketNames() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("create the bucket %s: %w", name, err)
		}
	}
	meta := bucket(tx, bucketMeta)
	// The clock is in it so that a restored backup doesn't give out old fences again.
	epoch := max(number(meta.Get([]byte(metaEpoch)))+1, uint64(max(s.now().Unix(), 0)))
	s.fence = epoch << 32
	return errors.Join(
		meta.Put([]byte(metaSchema), seqKey(schema)),
		meta.Put([]byte(metaEpoch), seqKey(epoch)),
	)
}

// checkSchema refuses files of others and of newer versions; an empty file passes.
func checkSchema(tx *bolt.Tx) error {
	meta := bucket(tx, bucketMeta)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return errors.New("this file is a database of another program")
		}
		return nil
	}
	v := number(meta.Get([]byte(metaSchema)))
	if v > schema {
		return fmt.Errorf("%w: it has layout %d and this Slipway knows %d: use the newer Slipway, or restore a backup", store.ErrNewer, v, schema)
	}
	if v == 0 {
		return errors.New("this file is a database of another program, or it is damaged")
	}
	return nil
}

// rebuild reads the small rows: never documents, history or blobs.
func (s *Store) rebuild(tx *bolt.Tx, grace time.Duration) error {
	meta := bucket(tx, bucketMeta)
	s.memory.seq = number(meta.Get([]byte(metaSeq)))
	s.memory.total = number(meta.Get([]byte(metaTotal)))
	now := s.now()
	c := s.schedule

	if err := bucket(tx, bucketDue).ForEach(func(k, v []byte) error {
		c.setDue(c.get(store.ID(k)), int64(number(v)))
		return nil
	}); err != nil {
		return err
	}
	if err := bucket(tx, bucketInbox).ForEach(func(k, v []byte) error {
		to, err := eventTo(v)
		if err != nil {
			return fmt.Errorf("read event %d: %w", number(k), err)
		}
		w := c.get(store.ID(to)).busy()
		w.events = append(w.events, number(k))
		c.inbox++
		return nil
	}); err != nil {
		return err
	}
	if err := bucket(tx, bucketEffects).ForEach(func(k, v []byte) error {
		row, err := decodeEffect(v)
		if err != nil {
			return fmt.Errorf("read effect %d: %w", number(k), err)
		}
		if row.attempt.started {
			row.NotBefore = now.Add(max(grace, 0))
		}
		c.addEffect(number(k), row.Effect)
		return nil
	}); err != nil {
		return err
	}
	if err := s.memory.loadSeen(tx, now); err != nil {
		return err
	}
	for _, a := range c.aggregates {
		c.place(a)
	}
	return nil
}

// Close ends the claims, waits for the write that is under way, and lets go of
// the file. Whoever still waits hears store.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	close(s.closing)
	s.schedule.timer.Stop()
	s.mu.Unlock()

	s.queue.close()
	<-s.done
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the database %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.schedule.ring()
	}
}

// nextFence gives a fence that no claim had before.
func (s *Store) nextFence() uint64 {
	s.fence++
	return s.fence
}

// view reads from a consistent state of the file.
func (s *Store) view(ctx context.Context, read func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.read(read)
}

func (s *Store) read(read func(*bolt.Tx) error) error {
	err := s.db.View(read)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// Stats counts from memory; only the age of the oldest event is read.
func (s *Store) Stats(ctx context.Context) (store.Stats, error) {
	var st store.Stats
	err := s.view(ctx, func(tx *bolt.Tx) error {
		total := int(number(bucket(tx, bucketMeta).Get([]byte(metaTotal))))
		if k, v := bucket(tx, bucketInbox).Cursor().First(); k != nil {
			e, _, err := eventHead(v)
			if err != nil {
				return fmt.Errorf("read event %d: %w", binary.BigEndian.Uint64(k), err)
			}
			st.OldestEvent = e.At
		}
		st.Size = tx.Size()
		if info, err := os.Stat(s.path); err == nil {
			st.Size = info.Size()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.schedule
		st.Live, st.Inbox, st.EffectsPending, st.EffectsRunning = c.live, c.inbox, c.pending, c.running
		st.Finished = max(total-c.live, 0)
		return nil
	})
	return st, err
}
