package demo

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// shortly is far less than sideBySide: what ends in it did not wait for the standby.
const shortly = sideBySide / 2

// ship merges as Ada and approves as Ada.
func (r *rig) ship(t *testing.T, iid int64) {
	t.Helper()
	if code, answer := r.post(t, "merge", action{IID: iid, User: "ada"}); code != http.StatusOK {
		t.Fatalf("merge: %d %s", code, answer)
	}
	if err := r.world.PressWhenAsked(t.Context(), iid, world.SlackAda, "Approve"); err != nil {
		t.Fatal(err)
	}
}

func (s State) production() Place { return s.Places[len(s.Places)-1] }

// stage is one of the newest delivery's.
func (s State) stage(name string) Stage {
	for _, st := range s.Deliveries[0].Stages {
		if st.Name == name {
			return st
		}
	}
	return Stage{}
}

func TestBothVersionsStandSideBySideUntilSomebodyPromotes(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a whole delivery")
	}
	r := newRigStandingBy(t, true, sideBySide)
	r.ship(t, r.good)
	s := r.await(t, "the button to promote", func(s State) bool { return named(s, r.good, "promote") != "" })
	ends := time.UnixMilli(s.stage("production").Standby)
	if left := time.Until(ends); left <= 0 || left > sideBySide {
		t.Errorf("the standby ends in %v, want at most %v", left, sideBySide)
	}
	newer, older := s.mr(r.good).SHA, s.mr(1).SHA
	if p := s.production(); !p.serves(newer, true) || !p.serves(older, false) {
		t.Errorf("got traffic to %v of %+v, want all of it to %s, and %s ready", p.Traffic, p.Workloads, newer[:8], older[:8])
	}
	if s.Shop.Status != http.StatusOK || !strings.Contains(s.Shop.Text, newer[:8]) {
		t.Errorf("customers see %+v, want version %s", s.Shop, newer[:8])
	}
	press := action{User: "ada", TS: messageOf(s, r.good).TS, Button: named(s, r.good, "promote")}
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press: %d %s", code, answer)
	}
	end := r.await(t, "the end of the standby", func(s State) bool { return s.Deliveries[0].Finished && len(s.production().Workloads) == 1 })
	if d := end.Deliveries[0]; d.Status != "succeeded" || !end.production().serves(newer, true) || end.stage("production").Standby != 0 {
		t.Errorf("got %+v and %+v, want the new version alone", d, end.production())
	}
	if !time.Now().Before(ends) {
		t.Error("the standby ended by itself")
	}
}

func TestSomebodyRollsBackFromStandby(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a whole delivery")
	}
	r := newRigStandingBy(t, true, sideBySide)
	r.ship(t, r.good)
	s := r.await(t, "the standby and its button", func(s State) bool {
		return s.stage("production").Standby > 0 && named(s, r.good, "rollback") != ""
	})
	press := action{User: "ada", TS: messageOf(s, r.good).TS, Button: named(s, r.good, "rollback")}
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press: %d %s", code, answer)
	}
	end := r.await(t, "the end", func(s State) bool { return s.Deliveries[0].Finished && len(s.production().Workloads) == 1 })
	if older := s.mr(1).SHA; !end.production().serves(older, true) || !strings.Contains(end.Shop.Text, older[:8]) {
		t.Errorf("got %+v and customers see %q, want %s again", end.production(), end.Shop.Text, older[:8])
	}
}

func TestALimpingChangeGoesBackFromStandbyByItself(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a whole delivery")
	}
	r := newRigStandingBy(t, true, sideBySide)
	r.ship(t, r.limping)
	began := time.Now()
	limps := r.await(t, "the errors", func(s State) bool {
		return s.Shop.Status == http.StatusInternalServerError && s.stage("production").Saw != ""
	})
	if saw := limps.stage("production").Saw; !strings.Contains(saw, "answered 500") || !strings.Contains(limps.Shop.Text, "certificate expired") {
		t.Errorf("the check saw %q and customers %q, want what the shop answers", saw, limps.Shop.Text)
	}
	older, limping := limps.mr(1).SHA, limps.mr(r.limping).SHA
	if p := limps.production(); !p.serves(limping, true) || !p.serves(older, false) {
		t.Errorf("got traffic to %v of %+v, want all of it to %s, and %s ready", p.Traffic, p.Workloads, limping[:8], older[:8])
	}
	end := r.await(t, "the end", func(s State) bool {
		return s.Deliveries[0].Finished && strings.Contains(s.mr(r.limping).Notes[0].HTML, "Rolled back")
	})
	if d := end.Deliveries[0]; d.Status != "rolled back" || !end.production().serves(older, true) || !strings.Contains(end.Shop.Text, older[:8]) {
		t.Errorf("got %+v and customers see %q, want %s again", d, end.Shop.Text, older[:8])
	}
	if took := time.Since(began); took > shortly {
		t.Errorf("it took %v, as if it had waited for the standby", took)
	}
	for _, words := range []string{"answered 500", "certificate expired"} {
		if note := end.mr(r.limping).Notes[0].HTML; !strings.Contains(note, words) {
			t.Errorf("the note does not say %q:\n%s", words, note)
		}
	}
	if !end.Broken || !end.mr(r.good).Blocked || !end.mr(r.bad).Blocked {
		t.Error("another change may be merged before the repair")
	}
}

func TestAShopThatIsAwayIsShownAsSuch(t *testing.T) {
	s := &stage{world: &world.World{ShopURL: "http://127.0.0.1:1"}}
	if got := s.shop(t.Context()); got.Status != 0 || got.Text != "the shop does not answer" {
		t.Errorf("got %+v", got)
	}
}
