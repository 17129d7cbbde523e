package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// schema is the version of the file's layout. A file with a higher one is refused.
const schema = 1

// maxID bounds an aggregate's id: it is part of keys, which bbolt bounds too.
const maxID = 512

// The buckets. Whatever grows with the traffic has an ascending key, so that a
// batch touches few pages: random keys halve the throughput.
const (
	bucketMeta     = "meta"     // name → number
	bucketDocs     = "docs"     // id → document
	bucketDue      = "due"      // id → due time, of live aggregates only
	bucketIndex    = "index"    // prefix, started, id → flags
	bucketHistory  = "history"  // id, 0, seq → entry
	bucketInbox    = "inbox"    // seq → event
	bucketSeen     = "seen"     // seq → time, hash of an event's key
	bucketEffects  = "effects"  // seq → effect
	bucketBlobs    = "blobs"    // hash → bytes
	bucketBlobTime = "blobtime" // hash → when it was put last
	bucketBlobRefs = "blobrefs" // hash, id → nothing
)

// Keys of the meta bucket.
const (
	metaSchema = "schema"
	metaEpoch  = "epoch"
	metaSeq    = "seq"   // the last sequence number that was given out
	metaTotal  = "total" // how many documents there are
	metaCopy   = "copy"  // there only in copies that Backup made
)

func bucketNames() []string {
	return []string{
		bucketMeta, bucketDocs, bucketDue, bucketIndex, bucketHistory, bucketInbox,
		bucketSeen, bucketEffects, bucketBlobs, bucketBlobTime, bucketBlobRefs,
	}
}

func bucket(tx *bolt.Tx, name string) *bolt.Bucket { return tx.Bucket([]byte(name)) }

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// number reads a big-endian number; a missing or torn one is 0.
func number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// nanos maps a time to a number with the same order, from 1970 to 2262, beyond
// which it stays at the ends. The zero time is the smallest.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Unix() <= 0:
		return 1
	case t.Unix() >= math.MaxInt64/1_000_000_000:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func historyPrefix(id store.ID) []byte { return append([]byte(id), 0) }

func historyKey(id store.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(historyPrefix(id), seq)
}

// The kinds of index rows, the first byte of their keys.
const (
	rowsAll          = 'a' // every document
	rowsKind         = 'k' // by kind of aggregate
	rowsProject      = 'p'
	rowsMergeRequest = 'm'
	rowsSHA          = 's'
)

// Flags of an index row: what a list filters by without reading documents.
const (
	flagFinished = 1 << iota
	flagHidden
)

func prefixKind(kind string) []byte { return append(append([]byte{rowsKind}, kind...), 0) }

func prefixProject(project int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowsProject}, uint64(project))
}

func prefixMergeRequest(project, mr int64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{rowsMergeRequest}, uint64(project))
	return binary.BigEndian.AppendUint64(b, uint64(mr))
}

func prefixSHA(sha string) []byte { return append(append([]byte{rowsSHA}, sha...), 0) }

// position is the part of an index key that orders it: when it started, then the id.
func position(started time.Time, id store.ID) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(nanos(started)))
	return append(b, id...)
}

// indexRows are the keys of every index row of a document.
func indexRows(id store.ID, x store.Index) [][]byte {
	at := position(x.Started, id)
	rows := [][]byte{
		append([]byte{rowsAll}, at...),
		append(prefixKind(id.Kind()), at...),
	}
	if x.Project != 0 {
		rows = append(rows, append(prefixProject(x.Project), at...))
		if x.MergeRequest != 0 {
			rows = append(rows, append(prefixMergeRequest(x.Project, x.MergeRequest), at...))
		}
	}
	if x.SHA != "" {
		rows = append(rows, append(prefixSHA(x.SHA), at...))
	}
	return rows
}

func indexFlags(x store.Index, finished bool) byte {
	var f byte
	if finished {
		f |= flagFinished
	}
	if x.Hidden {
		f |= flagHidden
	}
	return f
}

// checkID refuses ids that would be ambiguous in a key.
func checkID(id store.ID) error {
	switch {
	case id == "":
		return errors.New("an aggregate needs an id")
	case len(id) > maxID:
		return fmt.Errorf("the id %.40q… has %d bytes, more than %d", string(id), len(id), maxID)
	case strings.IndexByte(string(id), 0) >= 0:
		return fmt.Errorf("the id %q has a zero byte", string(id))
	}
	return nil
}

func checkIndex(x store.Index) error {
	if len(x.SHA) > maxID || strings.IndexByte(x.SHA, 0) >= 0 {
		return fmt.Errorf("the sha %.40q is too long or has a zero byte", x.SHA)
	}
	return nil
}
