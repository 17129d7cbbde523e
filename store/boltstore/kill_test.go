package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// victimFile names, in the environment of the child process, the file it works on.
const victimFile = "BOLTSTORE_VICTIM_FILE"

// TestVictim is the process that is killed: it delivers, steps and carries out
// effects, and says on its output what the store has acknowledged.
func TestVictim(t *testing.T) {
	path := os.Getenv(victimFile)
	if path == "" {
		t.Skip("only as a child of the test that kills it")
	}
	s, err := boltstore.Open(boltstore.Options{Path: path, UnknownGrace: -1})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nopen")
	v := &victim{store: s, name: fmt.Sprint(time.Now().UnixNano()), out: os.Stdout}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // if nobody kills it
	defer cancel()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() { v.send(ctx, n) })
		wg.Go(func() { v.step(ctx) })
		wg.Go(func() { v.carryOut(ctx) })
	}
	wg.Wait()
}

type victim struct {
	store *boltstore.Store
	name  string
	mu    sync.Mutex
	out   io.Writer
}

// say writes one whole line at once.
func (v *victim) say(what, key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, _ = fmt.Fprintf(v.out, "%s %s\n", what, key)
}

func (v *victim) send(ctx context.Context, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s-%d-%d", v.name, n, i)
		id := store.ID(fmt.Sprintf("delivery/%d", (n+i)%5))
		if _, err := v.store.Deliver(ctx, store.Event{To: id, Kind: "go", Key: key, Data: []byte(key)}); err == nil {
			v.say("accepted", key)
		}
	}
}

func (v *victim) step(ctx context.Context) {
	for ctx.Err() == nil {
		claims, err := v.store.Claim(ctx, 2)
		if err != nil {
			return
		}
		for _, c := range claims {
			if v.store.Commit(ctx, applyAll(c)) == nil {
				for _, e := range c.Events {
					v.say("applied", e.Key)
				}
			}
		}
	}
}

// applyAll consumes a claim's events, each with an entry, an effect and a message.
func applyAll(c store.Claim) store.Commit {
	s := store.Commit{ID: c.ID, Fence: c.Fence, Version: c.Version, Due: time.Now().Add(time.Hour), Data: []byte("x")}
	for _, e := range c.Events {
		s.Consumed = append(s.Consumed, e.Seq)
		s.History = append(s.History, store.Entry{Kind: e.Kind, Data: []byte(e.Key)})
		if e.Kind == "go" {
			s.Effects = append(s.Effects, store.Effect{Key: e.Key, Kind: "deploy", Slot: e.Key[len(e.Key)-1:]})
		}
	}
	return s
}

func (v *victim) carryOut(ctx context.Context) {
	for ctx.Err() == nil {
		claims, err := v.store.ClaimEffects(ctx, "deploy", 2)
		if err != nil {
			return
		}
		for _, c := range claims {
			if c.Unknown {
				v.say("unknown", c.Key)
			} else {
				v.say("started", c.Key)
			}
			if v.store.Settle(ctx, store.Settlement{
				Of: c.Of, Key: c.Key, Fence: c.Fence, Outcome: &store.Event{Kind: "done", Key: "done/" + c.Key},
			}) == nil {
				v.say("settled", c.Key)
			}
		}
	}
}

// ledger is what the killed processes were promised.
type ledger map[string]map[string]int // what → key → times

// kill runs a victim for a while, kills it, and enters what it has said.
func (l ledger) kill(t *testing.T, path string, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victimFile+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that was cut off counts for nothing
		}
		what, key, ok := strings.Cut(strings.TrimSpace(line), " ")
		if what == "open" {
			once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
		}
		if ok {
			if l[what] == nil {
				l[what] = map[string]int{}
			}
			l[what][key]++
		}
	}
	_ = cmd.Wait()
	if cmd.ProcessState.Success() {
		t.Fatal("nobody killed the process")
	}
}

func TestAKilledProcessLosesNothingThatWasAcknowledged(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	path := filepath.Join(t.TempDir(), "a.db")
	l := ledger{}
	for range kills {
		l.kill(t, path, time.Duration(5+rand.IntN(40))*time.Millisecond)
		problems, err := boltstore.CheckFile(t.Context(), path)
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
	}
	t.Logf("%d accepted, %d applied, %d settled, %d unknown", len(l["accepted"]), len(l["applied"]), len(l["settled"]), len(l["unknown"]))
	if len(l["settled"]) == 0 {
		t.Fatal("the victims did nothing")
	}
	s := open(t, boltstore.Options{Path: path, UnknownGrace: -1})
	defer closeStore(t, s)
	l.verify(t, s)
}

func (l ledger) verify(t *testing.T, s *boltstore.Store) {
	t.Helper()
	// A success for the caller is one for ever: no effect that was settled ran again.
	for key, n := range l["started"] {
		if n > 1 {
			t.Errorf("effect %s started %d times without being unknown", key, n)
		}
	}
	drain(t, s)
	entries := map[string]int{}
	for i := range 5 {
		list, err := s.History(t.Context(), store.ID(fmt.Sprintf("delivery/%d", i)))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		for _, e := range list {
			entries[string(e.Data)]++
		}
	}
	for key := range l["accepted"] {
		if n := entries[key]; n != 1 {
			t.Errorf("event %s was applied %d times", key, n)
		}
	}
	for key := range l["settled"] {
		if n := entries["done/"+key]; n != 1 {
			t.Errorf("the outcome of %s was applied %d times", key, n)
		}
	}
	for key, n := range entries {
		if n != 1 {
			t.Errorf("event %s was applied %d times", key, n)
		}
	}
}

// drain applies what is left in the inbox.
func drain(t *testing.T, s *boltstore.Store) {
	t.Helper()
	for {
		st, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Inbox == 0 {
			return
		}
		claims, err := s.Claim(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range claims {
			if err := s.Commit(t.Context(), applyAll(c)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
