// Package store is the durable contract of Slipway: an inbox of events, one
// document per aggregate, the effects that are still to be carried out, and one
// due time per live aggregate, all changed together or not at all.
//
// The store knows nothing of pipelines. Documents, events and effects are opaque
// bytes with a few index fields beside them. An implementation is right when it
// passes the suite in storetest.
//
// Four writes carry the promise that a process may be killed at any instruction:
//
//	Deliver       an event is durable and deduplicated before anyone hears "200"
//	Commit        state, effects, due time, messages and consumed events in one transaction
//	ClaimEffects  "started" is durable before the outside world is touched
//	Settle        the outcome is an event in the same transaction that ends the effect
package store

import (
	"context"
	"errors"
	"time"
)

// Errors that callers branch on.
var (
	// ErrNotFound: there is no such aggregate, effect or blob.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the document has another version than the commit expects.
	ErrConflict = errors.New("the document was changed by somebody else")
	// ErrFenced: the claim is not the aggregate's or the effect's newest claim.
	ErrFenced = errors.New("the claim was taken over")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrLocked: another process has the database open.
	ErrLocked = errors.New("another process has the database open")
	// ErrNewer: the database was written by a newer Slipway.
	ErrNewer = errors.New("the database was written by a newer version")
)

// ID names an aggregate: its kind, a slash and the rest, such as
// "delivery/42-7-3f2a91c0" or "environment/42/production".
type ID string

// Kind is the part of the ID before its first slash.
func (id ID) Kind() string {
	for i := range len(id) {
		if id[i] == '/' {
			return string(id[:i])
		}
	}
	return string(id)
}

// Event is something that happened, on its way to one aggregate.
type Event struct {
	To   ID
	Kind string    // for people, metrics and history
	Key  string    // deduplicates within the window of the store (7 days); "" never does
	At   time.Time // when it was received, UTC
	Data []byte
}

// Queued is an event that waits in an aggregate's inbox.
type Queued struct {
	Seq uint64 // ascending in the order of acceptance
	Event
}

// Index holds the fields of a document that lists and look-ups go by. It is
// replaced as a whole by every commit. Empty fields are not indexed.
type Index struct {
	Project      int64     // GitLab's project id
	MergeRequest int64     // its number within the project (iid)
	SHA          string    // the commit, in full
	Status       string    // the domain's word, for people and filters
	Title        string    // one line, for lists
	Started      time.Time // lists are ordered by it, newest first
	Hidden       bool      // not in lists, still found by id and by look-ups
}

// Document is the stored state of one aggregate.
type Document struct {
	ID       ID
	Version  uint64 // 1 after the first commit
	Data     []byte
	Index    Index
	Finished bool
	Due      time.Time // zero if finished
	Updated  time.Time
}

// Claim is the exclusive right to step one aggregate, with what it needs to.
type Claim struct {
	Document          // Version 0 and no Data if the aggregate does not exist yet
	Fence    uint64   // goes into the commit
	Events   []Queued // oldest first, at most as many as the store hands out at once (64)
	IsDue    bool     // the due time has come
}

// Effect is something to do in the outside world, taken in once by its key.
type Effect struct {
	Key  string // unique for ever within its aggregate
	Of   ID     // the aggregate whose inbox receives the outcome
	Kind string // the pool that carries it out
	// Slot makes effects of one aggregate wait for each other: of those that share
	// a slot, one runs at a time, in the order of their emission. "" never waits.
	Slot string
	// Latest drops the older effects of the slot that have not started when a newer
	// one is committed: they write the same place, and only the newest matters.
	Latest    bool
	NotBefore time.Time // zero: at once
	Data      []byte
}

// EffectClaim is the exclusive right to carry out one effect. That it started is
// durable when the claim is handed out.
type EffectClaim struct {
	Effect
	Seq     uint64
	Fence   uint64
	Attempt int // 1 at first
	// Unknown: an earlier attempt started and its outcome was never recorded, so the
	// thing may have been done already. The executor looks before it acts.
	Unknown bool
	Since   time.Time // of the first attempt
	Reason  string    // why the attempt before failed, "" if it did not
}

// Commit is everything that one step changes.
type Commit struct {
	ID       ID
	Fence    uint64
	Version  uint64 // that was read; 0 creates
	Data     []byte
	Index    Index
	Finished bool
	Due      time.Time // required unless finished
	Consumed []uint64  // sequence numbers of the claim's events
	History  []Entry   // appended
	Messages []Event   // to other aggregates (or itself)
	Effects  []Effect
	Withdraw []string // keys of effects that must not run any more; a running one's outcome is dropped
	Blobs    []string // every blob that the document now refers to (replaces the former list)
}

// Entry is one line of an aggregate's history: an event and when it was applied.
// Replaying the entries in order gives the document's state.
type Entry struct {
	At   time.Time
	Kind string
	Data []byte
}

// Settlement ends one attempt of an effect: with an outcome, or with a time for the next.
type Settlement struct {
	Of      ID
	Key     string
	Fence   uint64
	Outcome *Event    // delivered to Of in the same transaction; nil if nobody needs to hear
	RetryAt time.Time // not zero: the effect stays, and is tried again then
	Reason  string    // why it is tried again
	// Unknown keeps the mark that this attempt may have reached the outside world.
	Unknown bool
	// Notice is delivered to Of when the effect is tried again; nil for none.
	Notice *Event
}

// Query selects documents for a list.
type Query struct {
	Kind         string // "delivery", "environment"
	Project      int64  // 0: all
	MergeRequest int64  // 0: all
	SHA          string // "": all
	Live         bool   // only unfinished ones
	WithHidden   bool
	Before       string // cursor from Page.Next
	Limit        int    // 1 to 500; 0 is 50
}

// Page is one page of a list, newest first.
type Page struct {
	Documents []Document
	Next      string // "" on the last page
}

// Stats are counts for metrics and health.
type Stats struct {
	Live, Finished int
	Inbox          int // events not consumed
	EffectsPending int
	EffectsRunning int
	OldestEvent    time.Time // zero if the inbox is empty
	Size           int64     // bytes on disk
}

// Problem is one broken promise that Check found.
type Problem struct {
	ID   ID
	What string
}

// Store is the contract. All methods may be called from many goroutines. A method
// that returns nil has made its change durable (fsynced).
type Store interface {
	// Deliver accepts events, all or none. accepted[i] is false if the event's key
	// was seen before. A nil error means that everything accepted is durable.
	Deliver(ctx context.Context, events ...Event) (accepted []bool, err error)

	// Claim blocks until at least one aggregate has events or is due, and claims up
	// to most of them. An aggregate has at most one valid claim.
	Claim(ctx context.Context, most int) ([]Claim, error)
	// Commit applies one step. ErrFenced, ErrConflict: nothing was changed. It ends
	// the claim; events that arrived meanwhile make the aggregate claimable again.
	Commit(ctx context.Context, c Commit) error
	// Release gives a claim back untouched; the aggregate is claimable again at the time.
	Release(ctx context.Context, c Claim, at time.Time) error

	// ClaimEffects blocks until at least one effect of the kind may run, and claims
	// up to most of them, marking them started.
	ClaimEffects(ctx context.Context, kind string, most int) ([]EffectClaim, error)
	// Settle ends an attempt. ErrNotFound: the effect was withdrawn, its outcome is dropped.
	Settle(ctx context.Context, s Settlement) error
	// Withdrawn reports the keys of running effects that a commit has withdrawn, as
	// they are withdrawn, until ctx ends. A slow reader may miss none.
	Withdrawn(ctx context.Context) (<-chan EffectID, error)

	// PutBlob stores bytes under the hash of their content (compressed, deduplicated).
	// It stays while a document refers to it, and a day at least.
	PutBlob(ctx context.Context, data []byte) (ref string, err error)
	GetBlob(ctx context.Context, ref string) ([]byte, error)

	Get(ctx context.Context, id ID) (Document, error)
	List(ctx context.Context, q Query) (Page, error)
	History(ctx context.Context, id ID) ([]Entry, error)
	// Effects lists the unsettled effects of an aggregate, oldest first.
	Effects(ctx context.Context, id ID) ([]EffectClaim, error)

	// Prune removes finished aggregates that were last changed before the time, with
	// their history and the blobs that nobody refers to any more.
	Prune(ctx context.Context, before time.Time) (removed int, err error)
	Stats(ctx context.Context) (Stats, error)
	// Check proves the promises on the stored data: exactly one due row per live
	// aggregate and none else, every index row and effect row has its owner, no
	// document refers to a blob that is gone.
	Check(ctx context.Context) ([]Problem, error)
	Close() error
}

// EffectID names one effect of one aggregate.
type EffectID struct {
	Of  ID
	Key string
}
