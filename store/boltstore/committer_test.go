package boltstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// hold stops the committer before the end of its next transaction until the
// function it gives is called, so that what is done meanwhile is one batch.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.commit = func(tx *bolt.Tx) error {
		once.Do(func() {
			close(reached)
			<-goOn
		})
		return tx.Commit()
	}
	go func() { _, _ = s.PutBlob(t.Context(), []byte("to have a transaction")) }()
	<-reached
	return func() { close(goOn) }
}

// waitQueued waits until so many requests wait for the committer.
func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	for s.queue.len() != n {
		if t.Context().Err() != nil {
			t.Fatal("they never came")
		}
	}
}

func TestARequestThatFailsItsCheckSpoilsNoOther(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", ""), poke("delivery/2", "")))
	claims := must[[]store.Claim](t)(s.Claim(ctx, 2))
	good, conflict := stepOf(claims[0]), stepOf(claims[1])
	conflict.Version = 9
	fenced := good
	fenced.Fence += 100

	release := hold(t, s)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i, do := range []func() error{
		func() error { return s.Commit(ctx, conflict) },
		func() error { return s.Commit(ctx, good) },
		func() error { return s.Commit(ctx, fenced) },
		func() error { _, err := s.Deliver(ctx, poke("delivery/3", "k")); return err },
	} {
		wg.Go(func() { errs[i] = do() })
		waitQueued(t, s, i+1)
	}
	release()
	wg.Wait()
	for i, want := range []error{store.ErrConflict, nil, store.ErrFenced, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("request %d: %v, want %v", i, errs[i], want)
		}
	}
	check(t, s)
}

func TestTwoStepsOfOneClaimInOneBatchAreOne(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
	step := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
	release := hold(t, s)
	var errs [2]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Commit(ctx, step) })
		waitQueued(t, s, i+1)
	}
	release()
	wg.Wait()
	if errs[0] != nil || !errors.Is(errs[1], store.ErrFenced) {
		t.Errorf("%v", errs)
	}
	check(t, s)
}

func TestTwoSettlementsOfOneAttemptInOneBatchAreOne(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	_, effect := underway(t, s)
	again := store.Settlement{Of: effect.Of, Key: effect.Key, Fence: effect.Fence, RetryAt: time.Now().Add(time.Hour)}
	over := store.Settlement{Of: effect.Of, Key: effect.Key, Fence: effect.Fence, Outcome: &store.Event{Kind: "done"}}
	release := hold(t, s)
	var errs [2]error
	var wg sync.WaitGroup
	for i, settlement := range []store.Settlement{again, over} {
		wg.Go(func() { errs[i] = s.Settle(ctx, settlement) })
		waitQueued(t, s, i+1)
	}
	release()
	wg.Wait()
	if errs[0] != nil || !errors.Is(errs[1], store.ErrFenced) {
		t.Errorf("%v", errs)
	}
	if list := must[[]store.EffectClaim](t)(s.Effects(ctx, "delivery/1")); len(list) != 2 {
		t.Errorf("%+v", list)
	}
	check(t, s)
}

func TestAKeyIsAcceptedOnceInOneBatch(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	release := hold(t, s)
	var accepted [5][]bool
	var wg sync.WaitGroup
	for i := range accepted {
		wg.Go(func() { accepted[i] = must[[]bool](t)(s.Deliver(t.Context(), poke("delivery/1", "k"))) })
		waitQueued(t, s, i+1)
	}
	release()
	wg.Wait()
	if got := fmt.Sprint(accepted); got != "[[true] [false] [false] [false] [false]]" {
		t.Error(got)
	}
	check(t, s)
}

func TestAnEffectThatIsWithdrawnWhileItStartsDoesNotRun(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
	first := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
	first.Effects = []store.Effect{{Key: "a", Kind: "deploy", Slot: "s"}, {Key: "b", Kind: "deploy", Slot: "s"}}
	if err := s.Commit(ctx, first); err != nil {
		t.Fatal(err)
	}
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
	withdraw := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
	withdraw.Withdraw = []string{"a"}

	for _, order := range []string{"the withdrawal first", "the start first"} {
		t.Run(order, func(t *testing.T) {
			release := hold(t, s)
			var got []store.EffectClaim
			var wg sync.WaitGroup
			jobs := []func(){
				func() {
					if err := s.Commit(ctx, withdraw); err != nil {
						t.Error(err)
					}
				},
				func() { got = must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "deploy", 1)) },
			}
			if order == "the start first" {
				jobs[0], jobs[1] = jobs[1], jobs[0]
			}
			for i, job := range jobs {
				wg.Go(job)
				waitQueued(t, s, i+1)
			}
			release()
			wg.Wait()
			if len(got) != 1 || got[0].Key != "b" {
				t.Fatalf("claimed %+v", got)
			}
			check(t, s)
			// Once more, with b instead of a.
			if err := s.Settle(ctx, store.Settlement{Of: got[0].Of, Key: "b", Fence: got[0].Fence}); err != nil {
				t.Fatal(err)
			}
			must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
			again := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
			again.Effects = first.Effects
			if err := s.Commit(ctx, again); err != nil {
				t.Fatal(err)
			}
			must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
			withdraw = stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
			withdraw.Withdraw = []string{"a"}
		})
	}
}

// badJob passes its check and fails to write.
type badJob struct{ err error }

func (j badJob) check(*batch) error { return nil }
func (j badJob) write(*batch) error { return j.err }
func (j badJob) applied(s *Store)   { panic("a job that failed was applied") }

func TestARequestThatCannotBeWrittenSpoilsNoOther(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	broken := errors.New("broken")
	release := hold(t, s)
	var wg sync.WaitGroup
	var errs [3]error
	for i, do := range []func() error{
		func() error { _, err := s.Deliver(ctx, poke("delivery/1", "k")); return err },
		func() error { return s.do(ctx, badJob{broken}) },
		func() error { _, err := s.Deliver(ctx, poke("delivery/2", "k2")); return err },
	} {
		wg.Go(func() { errs[i] = do() })
		waitQueued(t, s, i+1)
	}
	release()
	wg.Wait()
	if errs[0] != nil || !errors.Is(errs[1], broken) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if st := must[store.Stats](t)(s.Stats(ctx)); st.Inbox != 2 {
		t.Errorf("%+v", st)
	}
	check(t, s)
}

func TestAWriteThatFailsAfterItWasWrittenIsFollowed(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	claim, effect := underway(t, s)
	torn := errors.New("the sync failed")
	s.commit = func(tx *bolt.Tx) error { return errors.Join(tx.Commit(), torn) }
	settle := store.Settlement{Of: effect.Of, Key: effect.Key, Fence: effect.Fence, Outcome: &store.Event{Kind: "done"}}

	_, err := s.Deliver(ctx, poke("delivery/2", "third"))
	_, err2 := s.ClaimEffects(ctx, "note", 1)
	for _, err := range []error{err, err2, s.Commit(ctx, stepOf(claim)), s.Settle(ctx, settle)} {
		if !errors.Is(err, torn) {
			t.Errorf("the caller hears %v", err)
		}
	}
	s.commit = (*bolt.Tx).Commit
	check(t, s)
	if got := must[[]bool](t)(s.Deliver(ctx, poke("delivery/2", "third"))); got[0] {
		t.Error("the event is there twice")
	}
	if err := s.Commit(ctx, stepOf(claim)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the step again: %v", err)
	}
	if err := s.Settle(ctx, settle); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the settlement again: %v", err)
	}
	if c := must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "note", 1))[0]; !c.Unknown || c.Attempt != 2 {
		t.Errorf("an effect whose start may be on the disk: %+v", c)
	}
	check(t, s)
}
