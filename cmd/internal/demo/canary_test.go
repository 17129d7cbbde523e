package demo

import (
	"context"
	"net/http"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

func TestAGreyCanaryIsShippedWhereAMaintainerApproves(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a whole canary")
	}
	t.Parallel()
	r := newRigAs(t, true, world.Options{Canary: 12 * time.Second})
	r.ship(t, r.slower)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.awaitCanaryQuestion(ctx, r.slower); err != nil {
		t.Fatal(err)
	}
	asked := r.look(t)
	slower, older := asked.mr(r.slower).SHA, asked.mr(1).SHA
	if p := asked.production(); !p.tracks("canary", slower) || !p.tracks("baseline", older) {
		t.Errorf("got %+v while it is asked, want the pair to stay", p.Workloads)
	}
	for _, who := range []string{"ben", "ada"} { // Ben wrote it
		s := r.await(t, "the button for "+who, func(s State) bool { return button(s, r.slower) != "" })
		press := action{User: who, TS: messageOf(s, r.slower).TS, Button: button(s, r.slower)}
		if code, answer := r.post(t, "press", press); code != http.StatusOK {
			t.Fatalf("press as %s: %d %s", who, code, answer)
		}
		if who == "ben" {
			if err := r.awaitEphemeral(ctx, world.SlackBen, "wrote this change"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.world.AwaitNote(ctx, r.slower, delivered); err != nil {
		t.Fatal(err)
	}
	end := r.await(t, "the end", func(s State) bool { return s.Deliveries[0].Finished && len(s.production().Workloads) == 1 })
	if d := end.Deliveries[0]; d.Status != "succeeded" || !end.production().serves(slower, true) {
		t.Errorf("got %+v and %+v, want what was approved to serve", d, end.production())
	}
}
