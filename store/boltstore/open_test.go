package boltstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

func TestASecondProcessIsToldWhoHasTheFileAndWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	openTest(t, path)
	_, err := Open(Options{Path: path, Timeout: time.Millisecond})
	_, err2 := CheckFile(t.Context(), path)
	for advice, err := range map[string]error{"a file of its own": err, "look at a backup": err2} {
		if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), advice) {
			t.Errorf("%v", err)
		}
	}
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	edit := func(change func(*bolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, path string) { editFile(t, path, change) }
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
		says string
	}{
		{"a newer layout", func(t *testing.T, path string) {
			must[any](t)(nil, openTest(t, path).Close())
			editFile(t, path, func(tx *bolt.Tx) error { return bucket(tx, bucketMeta).Put([]byte(metaSchema), seqKey(schema+1)) })
		}, store.ErrNewer, "layout 2"},
		{"another program's database", edit(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return err
		}), nil, "another program"},
		{"another program's database with a bucket of the same name", edit(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte(bucketMeta))
			return err
		}), nil, "another program"},
		{"no database at all", func(t *testing.T, path string) {
			must[any](t)(nil, os.WriteFile(path, bytes.Repeat([]byte("slipway"), 10_000), 0o600))
		}, nil, "not a database"},
		{"a folder", func(t *testing.T, path string) { must[any](t)(nil, os.Mkdir(path, 0o700)) }, nil, "a.db"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := Open(Options{Path: path})
			_, err2 := CheckFile(t.Context(), path)
			for _, err := range []error{err, err2} {
				if err == nil || !strings.Contains(err.Error(), c.says) || (c.want != nil && !errors.Is(err, c.want)) {
					t.Errorf("%v", err)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Path: "x", Timeout: -1}, {Path: "x", BatchMax: -1}, {Path: filepath.Join(t.TempDir(), "no", "such", "folder", "a.db")}} {
		if s, err := Open(o); err == nil {
			t.Errorf("%+v was accepted", o)
			_ = s.Close()
		}
	}
	if _, err := CheckFile(t.Context(), filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func editFile(t testing.TB, path string, change func(*bolt.Tx) error) {
	t.Helper()
	db := must[*bolt.DB](t)(bolt.Open(path, 0o600, nil))
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestABackupIsADatabaseAndFencesGrowOverIt(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	claim, effect := underway(t, s)
	copied := filepath.Join(t.TempDir(), "copy.db")
	f := must[*os.File](t)(os.Create(copied))
	if err := errors.Join(s.Backup(ctx, f), f.Close()); err != nil {
		t.Fatal(err)
	}
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/9", "after the backup")))
	if problems, err := CheckFile(ctx, copied); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	restored := openTest(t, copied)
	c := must[[]store.Claim](t)(restored.Claim(ctx, 5))
	if len(c) != 1 || c[0].ID != "delivery/1" || c[0].Fence <= claim.Fence {
		t.Errorf("%+v", c)
	}
	if e := must[[]store.EffectClaim](t)(restored.ClaimEffects(ctx, "deploy", 1))[0]; !e.Unknown || e.Fence <= effect.Fence {
		t.Errorf("%+v", e)
	}
	// It may have been carried out after the backup was made.
	if e := must[[]store.EffectClaim](t)(restored.ClaimEffects(ctx, "note", 1))[0]; !e.Unknown || e.Attempt != 1 {
		t.Errorf("%+v", e)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Backup(cancelled, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestOnlyCopiesDoubtTheirPendingEffects(t *testing.T) {
	for _, c := range []struct {
		name     string
		restored bool
	}{
		{"the file itself, after a backup and an orderly end", false},
		{"a file that the operator calls restored", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			s := openTest(t, path)
			underway(t, s)
			must[any](t)(nil, s.Backup(t.Context(), io.Discard))
			must[any](t)(nil, s.Close())
			s = must[*Store](t)(Open(Options{Path: path, Restored: c.restored}))
			defer func() { must[any](t)(nil, s.Close()) }()
			if e := must[[]store.EffectClaim](t)(s.ClaimEffects(t.Context(), "note", 1))[0]; e.Unknown != c.restored {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestBrokenPromisesAreFound(t *testing.T) {
	put := func(name, key string, value []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return bucket(tx, name).Put([]byte(key), value) }
	}
	remove := func(name string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			k, _ := bucket(tx, name).Cursor().First()
			return bucket(tx, name).Delete(k)
		}
	}
	body := (&packer{}).encodeEffectBody(store.Effect{Of: "delivery/1", Key: "b", Kind: "note"})
	for _, c := range []struct {
		name   string
		damage func(*bolt.Tx) error
		says   string
	}{
		{"a live aggregate without a due time", remove(bucketDue), "would sleep for ever"},
		{"a due time without an aggregate", put(bucketDue, "delivery/9", seqKey(1)), "a due time without a document"},
		{"a due time of a finished aggregate", put(bucketDue, "delivery/2", seqKey(1)), "is finished and has a due time"},
		{"a due time that is another", put(bucketDue, "delivery/1", seqKey(1)), "its due row says"},
		{"a document that is gone", remove(bucketDocs), "without a document"},
		{"a document that is damaged", put(bucketDocs, "delivery/1", []byte{1, 2}), "damaged"},
		{"a document of another layout", put(bucketDocs, "delivery/1", []byte{99}), "damaged"},
		{"an index row that is gone", remove(bucketIndex), "index rows of"},
		{"an index row of nobody", put(bucketIndex, "a\x00\x00\x00\x00\x00\x00\x00\x01delivery/9", []byte{0}), "without a document"},
		{"an index row too many", put(bucketIndex, "a\x00\x00\x00\x00\x00\x00\x00\x01delivery/1", []byte{0}), "without a document"},
		{"history of nobody", put(bucketHistory, "delivery/9\x00\x00\x00\x00\x00\x00\x00\x00\x01", nil), "history without a document"},
		{"history that is damaged", put(bucketHistory, "delivery/1\x00\x00\x00\x00\x00\x00\x00\x00\x01", nil), "history entry"},
		{"an event that is damaged", put(bucketInbox, "\x00\x00\x00\x00\x00\x00\x00\x01", nil), "event 1"},
		{"an event beyond the last number", put(bucketInbox, "\x00\x00\x01\x00\x00\x00\x00\x01", (&packer{}).encodeEvent(poke("delivery/1", ""))), "beyond the last"},
		{"a key of an event that is forgotten", func(tx *bolt.Tx) error {
			k, _ := bucket(tx, bucketInbox).Cursor().First()
			return bucket(tx, bucketSeen).Delete(k)
		}, "is not remembered"},
		{"an effect of nobody", put(bucketEffects, "\x00\x00\x00\x00\x00\x00\x00\x01",
			encodeEffect(attempt{}, (&packer{}).encodeEffectBody(store.Effect{Of: "delivery/9", Key: "x", Kind: "x"}))), "without a document"},
		{"an effect twice", put(bucketEffects, "\x00\x00\x00\x00\x00\x00\x00\x01", encodeEffect(attempt{}, body)), "two effects have the key"},
		{"an effect that started by nobody's attempt", put(bucketEffects, "\x00\x00\x00\x00\x00\x00\x00\x01",
			encodeEffect(attempt{started: true}, body)), "started without an attempt"},
		{"a blob that is gone", remove(bucketBlobs), "is gone"},
		{"a blob with other content", func(tx *bolt.Tx) error {
			k, _ := bucket(tx, bucketBlobs).Cursor().First()
			return bucket(tx, bucketBlobs).Put(bytes.Clone(k), (&packer{}).pack([]byte("forged")))
		}, "other content"},
		{"a reference to a blob that is gone", remove(bucketBlobRefs), "references to"},
		{"a counter that is wrong", put(bucketMeta, metaTotal, seqKey(9)), "the counter says"},
		{"a bucket that is gone", func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucketSeen)) }, "is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := wholeFile(t)
			editFile(t, path, c.damage)
			problems, err := CheckFile(t.Context(), path)
			found := err != nil && strings.Contains(err.Error(), c.says)
			for _, p := range problems {
				found = found || strings.Contains(p.What, c.says)
			}
			if !found {
				t.Errorf("not found: %v, %v", problems, err)
			}
		})
	}
}

// wholeFile is a file with a row in every bucket.
func wholeFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	s := openTest(t, path)
	ctx := t.Context()
	ref := must[string](t)(s.PutBlob(ctx, []byte("plan")))
	for _, id := range []store.ID{"delivery/1", "delivery/2"} {
		must[[]bool](t)(s.Deliver(ctx, poke(id, string(id))))
		step := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
		step.Finished = id == "delivery/2"
		step.Index = store.Index{Project: 1, MergeRequest: 2, SHA: "f00", Started: time.Unix(1e9, 0)}
		step.History = []store.Entry{{Kind: "poke"}}
		if id == "delivery/1" {
			step.Blobs = []string{ref}
			step.Effects = []store.Effect{{Key: "a", Kind: "deploy"}, {Key: "b", Kind: "note"}}
			step.Messages = []store.Event{poke("environment/1", "want")}
		}
		if err := s.Commit(ctx, step); err != nil {
			t.Fatal(err)
		}
		if id == "delivery/1" {
			env := must[[]store.Claim](t)(s.Claim(ctx, 1))[0]
			if err := s.Release(ctx, env, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "deploy", 1))
	check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if problems, err := CheckFile(ctx, path); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return path
}

func TestADamagedFileIsToldAndNeverCrashesTheCheck(t *testing.T) {
	path := wholeFile(t)
	s := openTest(t, path)
	for i := range 200 {
		e := poke("delivery/1", strconv.Itoa(i))
		e.Data = bytes.Repeat([]byte(e.Key+","), 100)
		must[[]bool](t)(s.Deliver(t.Context(), e))
	}
	used := int(must[store.Stats](t)(s.Stats(t.Context())).Size)
	must[any](t)(nil, s.Close())
	whole := must[[]byte](t)(os.ReadFile(path))
	used = min(used, 40<<12) // the rest of the file is growth
	damage := map[string][]byte{
		"cut to its first page":  whole[:4096],
		"cut to its meta pages":  whole[:8192],
		"cut in the middle":      whole[:20_000],
		"empty":                  {},
		"all but the meta pages": append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...),
	}
	for at := 8192; at < used; at += 4096 {
		b := bytes.Clone(whole)
		for i := range 64 {
			b[at+i] ^= 0xff
		}
		damage["page "+strconv.Itoa(at/4096)] = b
	}
	found := 0
	for name, b := range damage {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		problems, err := CheckFile(t.Context(), path)
		if err != nil || len(problems) > 0 {
			found++
		} else if !strings.HasPrefix(name, "page ") { // a page may be a free one
			t.Errorf("%s: nothing was found", name)
		}
	}
	if found < len(damage)/2 {
		t.Errorf("only %d of %d were found", found, len(damage))
	}
}

func TestMemoryThatDisagreesWithTheFileIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(s *schedule)
	}{
		{"a sleeper without an alarm", func(s *schedule) { s.sleeping.remove(s.aggregates["delivery/1"]) }},
		{"a sleeper that wakes at another time", func(s *schedule) { s.sleeping.set(s.aggregates["delivery/1"], 5e18) }},
		{"an aggregate that is forgotten", func(s *schedule) { delete(s.aggregates, "delivery/1") }},
		{"an event that is forgotten", func(s *schedule) { s.aggregates["environment/1"].work.events = nil }},
		{"a count that is wrong", func(s *schedule) { s.live++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openTest(t, wholeFile(t))
			s.mu.Lock()
			c.damage(s.schedule)
			s.mu.Unlock()
			if problems := must[[]store.Problem](t)(s.Check(t.Context())); len(problems) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

func TestARowThatCannotBeReadStopsNobodyElse(t *testing.T) {
	path := wholeFile(t)
	editFile(t, path, func(tx *bolt.Tx) error {
		if err := bucket(tx, bucketDue).Put([]byte("delivery/1"), seqKey(1)); err != nil {
			return err
		}
		return bucket(tx, bucketDocs).Put([]byte("delivery/1"), []byte{1, 2})
	})
	s := openTest(t, path)
	must[[]bool](t)(s.Deliver(t.Context(), poke("delivery/1", ""), poke("delivery/2", "")))
	seen := map[store.ID]bool{}
	for len(seen) < 2 { // environment/1 and delivery/2
		for _, c := range must[[]store.Claim](t)(s.Claim(t.Context(), 5)) {
			seen[c.ID] = true
		}
	}
	if seen["delivery/1"] {
		t.Error("a damaged aggregate was handed out")
	}
}
