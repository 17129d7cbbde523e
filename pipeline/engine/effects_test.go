package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// failing fails as told, one try after the other, and notes when it was asked and how.
type failing struct {
	with  []error
	then  executor
	mu    sync.Mutex
	at    []time.Time
	tasks []pipeline.Task
}

func (f *failing) execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	f.mu.Lock()
	n := len(f.at)
	f.at, f.tasks = append(f.at, time.Now()), append(f.tasks, *t)
	f.mu.Unlock()
	if n < len(f.with) {
		return nil, f.with[n]
	}
	return f.then(ctx, t)
}

func TestAFailedEffectWaitsLongerEachTime(t *testing.T) {
	slow := &pipeline.Failure{Detail: "come back later", After: 10 * time.Minute}
	lost := &pipeline.Failure{Detail: "no answer", Unknown: true}
	bubble(t, stages(deploy("staging")), func(r *rig) {
		f := &failing{then: r.good}
		for range 10 {
			f.with = append(f.with, errors.New("no"))
		}
		f.with = append(f.with, slow, errors.New("no"))
		r.do["load-plan"] = f.execute
		lose := &failing{then: r.good, with: []error{lost}}
		r.do["write-note"] = lose.execute
		r.adjust = func(o *engine.Options) { o.LongestPause = 0 }
		r.start()
		r.until("the delivery ends", r.finished(r.merge()))
		for i := 1; i < len(f.at); i++ {
			most := min(500*time.Millisecond<<(i-1), 2*time.Minute)
			least := most * 3 / 4
			if i == 11 {
				most, least = slow.After, slow.After
			}
			if waited := f.at[i].Sub(f.at[i-1]); waited < least || waited > most {
				t.Errorf("try %d came after %s, want %s to %s", i+1, waited, least, most)
			}
		}
		if waited := lose.at[1].Sub(lose.at[0]); waited < 2*time.Second {
			t.Errorf("a call without an answer was looked for after %s, when it may still have been under way", waited)
		}
		r.end()
	})
}

func TestAFailureForGoodIsAnEventOfItsStage(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	r.do["apply"] = func(context.Context, *pipeline.Task) (pipeline.Event, error) {
		return nil, fmt.Errorf("apply: %w", &pipeline.Failure{Code: pipeline.ReasonQuota, Detail: "no room", Permanent: true, Unchanged: true})
	}
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	want := []pipeline.Event{pipeline.Failed{
		Effect: "apply", Key: "staging/1/apply", Stage: "staging", Attempt: 1, Code: pipeline.ReasonQuota, Detail: "no room", Unchanged: true,
	}}
	if d := cmp.Diff(want, r.history(id, "failed")); d != "" {
		t.Error(d)
	}
	if d := r.delivery(id); d.Status != pipeline.StatusFailed {
		t.Errorf("the delivery is %s", d.Status)
	}
	r.end()
}

func TestAnEffectIsGivenUpAfterAWhileInWhichTheEngineRan(t *testing.T) {
	bubble(t, stages(deploy("staging")), func(r *rig) {
		f := &failing{then: r.good}
		for range 1000 {
			f.with = append(f.with, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "away"})
		}
		r.do["load-plan"] = f.execute
		r.adjust = func(o *engine.Options) { o.LongestPause = 0; o.Pools[0].GiveUp = time.Hour }
		r.start()
		began := time.Now()
		id := r.merge()
		r.until("the first try fails", func() bool { return len(r.history(id, "delayed")) == 1 })
		r.end()

		time.Sleep(3 * time.Hour) // nobody runs
		r.start()
		tries := len(f.at)
		restarted := time.Now()
		r.until("the delivery ends", r.finished(id))
		if d := r.delivery(id); d.Status != pipeline.StatusFailed || d.Reason.Code != pipeline.ReasonUnreachable {
			t.Errorf("the delivery is %s: %s", d.Status, d.Reason)
		}
		if took := time.Since(restarted); took < time.Hour || took > time.Hour+5*time.Minute {
			t.Errorf("it was given up after %s, %s after the first try", took, time.Since(began))
		}
		if len(f.at)-tries < 20 {
			t.Errorf("after the restart it was tried %d times", len(f.at)-tries)
		}
		r.end()
	})
}

func TestPeopleHearOnceOfAReasonAndNothingOfInternals(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	one, two := errors.New("open /var/lib/slipway.db: token glpat-1"), &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "two"}
	late := fmt.Errorf("apply: %w", context.DeadlineExceeded)
	f := &failing{then: r.good, with: []error{one, one, one, two, two, late}}
	r.do["apply"] = f.execute
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	var heard []string
	for _, e := range r.history(id, "delayed") {
		if e := e.(pipeline.Delayed); e.Stage == "staging" && e.Attempt == 1 && e.Effect == "apply" {
			heard = append(heard, e.Detail)
		}
	}
	inside := "something went wrong inside Slipway, and its log says what"
	if d := cmp.Diff([]string{inside, "two", "it did not end in the time that one try has"}, heard); d != "" {
		t.Error(d)
	}
	r.end()
}

func TestAnEffectThatHadStartedComesBackAsUnknownAndStaysSo(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	f := &failing{then: r.good, with: []error{&pipeline.Failure{Detail: "could not look"}, errors.New("nor now")}}
	r.do["load-plan"] = f.execute
	r.wrap = func(s store.Store) store.Store { return noEffects{s} }
	r.start()
	id := r.merge()
	r.until("a step", func() bool { st, err := r.store.Stats(t.Context()); return err == nil && st.EffectsPending == 1 })
	r.stop()
	if effect, err := r.store.ClaimEffects(t.Context(), "work", 1); err != nil || len(effect) != 1 {
		t.Fatal(effect, err)
	}
	if err := r.store.Close(); err != nil { // as a kill would leave it
		t.Fatal(err)
	}
	r.wrap = nil
	r.start()
	r.until("the delivery ends", r.finished(id))
	for i, task := range f.tasks {
		if !task.Unknown || task.Attempt != i+2 {
			t.Errorf("try %d after the restart is attempt %d, unknown %t", i+1, task.Attempt, task.Unknown)
		}
	}
	r.end()
}

// noEffects lets no effect start.
type noEffects struct{ store.Store }

func (noEffects) ClaimEffects(ctx context.Context, _ string, _ int) ([]store.EffectClaim, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAStoppedEngineSettlesAndTheNextRunGoesOn(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	started := make(chan struct{}, 1)
	f := &failing{then: func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		if t.Attempt == 1 {
			started <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return r.good(ctx, t)
	}}
	r.do["observe"] = f.execute
	r.start()
	id := r.merge()
	<-started
	r.stop()
	effects, err := r.store.Effects(t.Context(), engine.Delivery(id))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(effects, func(e store.EffectClaim) bool { return e.Key == "staging/1/observe" })
	if i < 0 || !effects[i].Unknown || effects[i].Fence != 0 {
		t.Fatalf("the stopped engine left %+v", effects)
	}
	r.run() // the same engine again
	r.until("the delivery ends", r.finished(id))
	if last := f.tasks[len(f.tasks)-1]; !last.Unknown || last.Attempt != 2 {
		t.Errorf("it went on as attempt %d, unknown %t", last.Attempt, last.Unknown)
	}
	if n := len(r.history(id, "delayed")); n != 0 {
		t.Errorf("people heard %d times that something is tried again", n)
	}
	r.end()
}

// untilCanceled is an executor that ends only when its context does.
func untilCanceled(started chan<- struct{}) executor {
	return func(ctx context.Context, _ *pipeline.Task) (pipeline.Event, error) {
		select {
		case started <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func (r *rig) cancel(id string) {
	r.deliver(id, "", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbCancel, Via: pipeline.ViaDeployment}})
}

func TestAWithdrawnEffectIsCanceledWhileItRuns(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	started := make(chan struct{}, 1)
	r.do["observe"] = untilCanceled(started)
	r.start()
	id := r.merge()
	<-started
	r.cancel(id)
	r.until("the delivery ends", r.finished(id))
	if d := r.delivery(id); d.Status != pipeline.StatusCanceled {
		t.Errorf("the delivery is %s", d.Status)
	}
	r.end()
}

// late gives a claim out only when its withdrawal was told already.
type late struct {
	store.Store
	heard, held chan struct{}
}

func (l *late) Withdrawn(ctx context.Context) (<-chan store.EffectID, error) {
	in, err := l.Store.Withdrawn(ctx)
	out := make(chan store.EffectID)
	go func() {
		defer close(out)
		for id := range in {
			select {
			case out <- id:
				close(l.heard)
			case <-ctx.Done():
			}
		}
	}()
	return out, err
}

func (l *late) ClaimEffects(ctx context.Context, kind string, limit int) ([]store.EffectClaim, error) {
	claims, err := l.Store.ClaimEffects(ctx, kind, 1)
	if len(claims) > 0 && claims[0].Key == "staging/1/observe" {
		close(l.held)
		<-l.heard
	}
	return claims, err
}

func TestAWithdrawalIsKeptForAnEffectThatIsAboutToStart(t *testing.T) {
	bubble(t, stages(deploy("staging")), func(r *rig) {
		l := &late{heard: make(chan struct{}), held: make(chan struct{})}
		r.wrap = func(s store.Store) store.Store { l.Store = s; return l }
		r.do["observe"] = untilCanceled(nil)
		r.adjust = func(o *engine.Options) { // so that others go on while one claim is held
			for _, a := range []pipeline.Action{pipeline.Identify{}} {
				o.Pools = append(o.Pools, engine.Pool{Name: "people", Size: 1, Executor: acting{r}, Actions: []pipeline.Action{a}})
				o.Pools[0].Actions = slices.DeleteFunc(slices.Clone(o.Pools[0].Actions), func(b pipeline.Action) bool { return a == b })
			}
		}
		r.start()
		id := r.merge()
		<-l.held
		r.cancel(id)
		r.until("the delivery ends", r.finished(id))
		if d := r.delivery(id); d.Status != pipeline.StatusCanceled {
			t.Errorf("the delivery is %s", d.Status)
		}
		r.end()
	})
}

func TestReportsRunOneAtATimeAndOnlyTheNewest(t *testing.T) {
	r := newRig(t, stages(deploy("staging"), deploy("production")))
	started, goOn := make(chan struct{}, 100), make(chan struct{})
	var busy, most atomic.Int32
	var seen []pipeline.Status
	r.do["write-note"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		most.Store(max(most.Load(), busy.Add(1)))
		defer busy.Add(-1)
		seen = append(seen, t.Delivery.Status)
		started <- struct{}{}
		<-goOn
		return r.good(ctx, t)
	}
	r.start()
	id := r.merge()
	<-started
	r.until("everything else is done", func() bool { return r.delivery(id).Status.Finished() && r.delivery(id).Schema != 0 })
	close(goOn)
	r.until("the delivery ends", r.finished(id))
	if most.Load() != 1 || len(seen) != 2 || seen[1] != pipeline.StatusSucceeded {
		t.Errorf("the note was written with %v, %d at a time", seen, most.Load())
	}
	r.end()
}

func TestTheNextEffectOfASlotKnowsWhatTheOneBeforeHasMade(t *testing.T) {
	r := newRig(t, stages(deploy("staging"), deploy("production")))
	made := 0
	r.do["write-note"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		if t.Delivery.Handles.NoteID == 0 && t.Attempt == 1 && !t.Unknown {
			made++
		}
		return r.good(ctx, t)
	}
	r.wrap = func(s store.Store) store.Store { return &slowSteps{Store: s} }
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	if made != 1 {
		t.Errorf("the note was made %d times", made)
	}
	r.end()
}

// slowSteps holds every step up until some other writes have passed.
type slowSteps struct{ store.Store }

func (s *slowSteps) Commit(ctx context.Context, c store.Commit) error {
	for range 5 {
		if _, err := s.PutBlob(ctx, []byte("another write")); err != nil {
			return err
		}
	}
	return s.Store.Commit(ctx, c)
}

func TestProgressIsThinnedAndNeverComesAfterTheOutcome(t *testing.T) {
	const told = 2000
	r := newRig(t, stages(deploy("staging")))
	r.do["observe"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		for i := range told {
			t.Progress(pipeline.Progressed{Stage: "staging", Attempt: 1, Words: fmt.Sprint(i + 1)})
		}
		return r.good(ctx, t)
	}
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	var words []string
	over := false
	for _, e := range r.history(id, "") {
		switch e := e.(type) {
		case pipeline.Progressed:
			words = append(words, e.Words)
			if over {
				t.Errorf("%s was told after the outcome", e.Words)
			}
		case pipeline.RolledOut:
			over = true
		}
	}
	if len(words) == 0 || len(words) > told/4 || words[len(words)-1] != fmt.Sprint(told) {
		t.Errorf("of %d words these arrived: %v", told, words)
	}
	r.end()
}

func TestAPanicOfAnExecutorIsAFailureWithAnUnknownOutcome(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	f := &failing{then: func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		if t.Attempt == 1 {
			panic("nobody thought of this")
		}
		return r.good(ctx, t)
	}}
	r.do["apply"] = f.execute
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	if len(f.tasks) != 2 || !f.tasks[1].Unknown || r.delivery(id).Status != pipeline.StatusSucceeded {
		t.Errorf("the delivery is %s after %d tries", r.delivery(id).Status, len(f.tasks))
	}
	r.end()
}

func TestAStopWaitsForExecutorsAndLeavesNobodyBehind(t *testing.T) {
	// The bubble itself fails the test if a goroutine is left.
	bubble(t, stages(deploy("staging")), func(r *rig) {
		started := make(chan struct{}, 1)
		var over atomic.Bool
		r.do["apply"] = func(ctx context.Context, _ *pipeline.Task) (pipeline.Event, error) {
			started <- struct{}{}
			<-ctx.Done()
			time.Sleep(7 * time.Second) // it does not hear at once
			over.Store(true)
			return nil, ctx.Err()
		}
		r.start()
		r.merge()
		<-started
		r.stop()
		if !over.Load() {
			t.Error("the engine ended before its executor")
		}
		r.end()
	})
}

func TestAThousandDeliveriesAtOnce(t *testing.T) {
	const n = 1000
	r := newRig(t, stages(deploy("staging")))
	var busy, most, goroutines atomic.Int64
	count := func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		for now := busy.Add(1); ; {
			if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		defer busy.Add(-1)
		goroutines.Store(max(goroutines.Load(), int64(runtime.NumGoroutine())))
		return r.good(ctx, t)
	}
	for _, kind := range []string{"load-plan", "apply", "observe", "write-note", "write-deployment", "write-status"} {
		r.do[kind] = count
	}
	r.open()
	before := runtime.NumGoroutine()
	var ids []string
	var events []store.Event
	for i := range n {
		id, e := merged(int64(i + 1))
		e.Project.ID += int64(i) // so that nobody waits for another
		kind, data, err := pipeline.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		events = append(events, store.Event{To: engine.Delivery(id), Kind: kind, At: time.Now(), Data: data})
	}
	if _, err := r.store.Deliver(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.until("all are done", r.rests)
	for _, id := range ids {
		if d := r.delivery(id); d.Status != pipeline.StatusSucceeded {
			t.Fatalf("delivery %s is %s: %s", id, d.Status, d.Reason)
		}
	}
	if most.Load() > 12 {
		t.Errorf("%d effects ran at a time, and the pools hold 12", most.Load())
	}
	if grown := goroutines.Load() - int64(before); grown > 100 {
		t.Errorf("%d goroutines more for %d deliveries", grown, n)
	}
	r.end()
}

func TestAQuestionDoesNotKeepItsOwnMessageFromBeingSent(t *testing.T) {
	plan := stages(judgement("go-live"), deploy("production"))
	plan.Channel = "#shop"
	bubble(t, plan, func(r *rig) {
		r.adjust = func(o *engine.Options) { // as many messages at a time as it takes to keep one waiting
			o.LongestPause = 0
			for _, a := range []pipeline.Action{pipeline.WriteMessage{}, pipeline.Ask{}} {
				o.Pools[1].Actions = slices.DeleteFunc(slices.Clone(o.Pools[1].Actions), func(b pipeline.Action) bool { return a == b })
			}
			o.Pools = append(o.Pools, engine.Pool{Name: "slack", Size: 1, Executor: acting{r}, Actions: []pipeline.Action{pipeline.WriteMessage{}, pipeline.Ask{}}})
		}
		goOn, asked := make(chan struct{}), make(chan string, 9)
		busy, waits := merged(1)
		id, merge := merged(2)
		r.do["write-message"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
			if t.Delivery.ID == busy {
				<-goOn
			}
			return r.good(ctx, t)
		}
		r.do["ask"] = func(_ context.Context, t *pipeline.Task) (pipeline.Event, error) { // as in chatops/slack
			if t.Delivery.Handles.TS == "" {
				return nil, &pipeline.Failure{Detail: "the message that has the buttons is not sent yet", After: 2 * time.Second}
			}
			asked <- t.Delivery.ID
			return nil, nil
		}
		r.do["identify"] = untilCanceled(nil) // the question stays open, and shows that somebody answers
		r.start()
		r.deliver(busy, "", waits)
		time.Sleep(time.Second)
		r.deliver(id, "", merge)
		time.Sleep(time.Second)
		r.deliver(id, "", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbApprove, Via: pipeline.ViaDeployment}})
		time.Sleep(time.Second)
		close(goOn)
		time.Sleep(10 * time.Second)
		if r.delivery(id).Handles.TS == "" || len(asked) != 2 {
			t.Errorf("ten seconds later the message %q was sent and %d questions were asked", r.delivery(id).Handles.TS, len(asked))
		}
		r.end()
	})
}

func TestTheDeploymentsOfAStageAreWrittenOneAfterTheOther(t *testing.T) {
	again := deploy("staging")
	again.Retry = 1
	r := newRig(t, stages(again))
	var mu sync.Mutex
	var order []int
	busy, most := 0, 0
	second := make(chan struct{})
	r.do["apply"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		if t.Effect.Do.(pipeline.Apply).Attempt == 1 {
			return nil, &pipeline.Failure{Code: pipeline.ReasonQuota, Permanent: true, Unchanged: true}
		}
		close(second)
		return r.good(ctx, t)
	}
	r.do["write-deployment"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		attempt := t.Effect.Do.(pipeline.WriteDeployment).Attempt
		mu.Lock()
		busy++
		most = max(most, busy)
		order = append(order, attempt)
		mu.Unlock()
		defer func() { mu.Lock(); busy--; mu.Unlock() }()
		<-second // the other side is slow, and the second attempt has begun before it answers
		return r.good(ctx, t)
	}
	r.start()
	id := r.merge()
	r.until("the delivery ends", r.finished(id))
	// A write that looks for its deployment while another one makes it would take it for its own.
	if most != 1 || !slices.IsSorted(order) {
		t.Errorf("%d at a time, of the attempts %v", most, order)
	}
	r.end()
}
