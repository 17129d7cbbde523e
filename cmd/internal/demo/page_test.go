package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// patience is for machines that are busy with other tests; alone, everything comes within seconds.
const patience = 3 * time.Minute

// rig is a demo that runs, and its page.
type rig struct {
	*stage
	changes
	url string
}

// newRig starts the demo; with open, the first release is delivered before it returns.
func newRig(t *testing.T, open bool) *rig {
	t.Helper()
	return newRigStandingBy(t, open, 0)
}

// newRigStandingBy starts it with as long a standby, for tests that do something meanwhile.
func newRigStandingBy(t *testing.T, open bool, standby time.Duration) *rig {
	t.Helper()
	return newRigAs(t, open, world.Options{Standby: standby})
}

// newRigAs starts it at full speed, but for the standby and the canary.
func newRigAs(t *testing.T, open bool, speed world.Options) *rig {
	t.Helper()
	speed.PodStart, speed.JobTime = 100*time.Millisecond, 100*time.Millisecond
	s, err := build(t.TempDir(), speed, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.app.Run(ctx) }()
	h, err := newPage(s)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.world.Close()
	})
	r := &rig{stage: s, url: srv.URL}
	if open {
		ctx, done := context.WithTimeout(ctx, patience)
		defer done()
		if r.changes, err = s.open(ctx); err != nil {
			t.Fatal(err)
		}
		close(s.ready)
	}
	return r
}

func (r *rig) post(t *testing.T, what string, a action) (int, string) {
	t.Helper()
	body, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return r.send(t, what, string(body), nil)
}

func (r *rig) send(t *testing.T, what, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/api/"+what, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

func (r *rig) look(t *testing.T) State {
	t.Helper()
	resp, err := http.Get(r.url + "/api/state") // of this test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s State
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// await looks again after every change that the page hears of.
func (r *rig) await(t *testing.T, what string, ok func(State) bool) State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 256)
	for {
		if _, err := resp.Body.Read(buf); err != nil {
			t.Fatalf("wait for %s: %v", what, err)
		}
		if s := r.look(t); ok(s) {
			return s
		}
	}
}

func TestNothingCanBeDoneBeforeTheFirstReleaseIsDelivered(t *testing.T) {
	r := newRig(t, false)
	for what, a := range map[string]action{"merge": {IID: 1, User: "ada"}, "open": {Kind: kindGood}} {
		if code, answer := r.post(t, what, a); code != http.StatusUnprocessableEntity || !strings.Contains(answer, "first release") {
			t.Errorf("%s: got %d %q, want a refusal in words", what, code, answer)
		}
	}
	if s := r.look(t); s.Ready || len(s.Places) != 2 {
		t.Errorf("got ready %v and %d places, want a page of a demo that begins", s.Ready, len(s.Places))
	}
}

func TestWhatPeopleMayNotDoIsRefusedInWords(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for name, c := range map[string]struct {
		what string
		body string
		code int
		says string
	}{
		"somebody unknown":               {"merge", `{"iid":3,"user":"eve"}`, 422, "nobody here"},
		"a reporter merges":              {"merge", `{"iid":3,"user":"mallory"}`, 422, "may only read"},
		"what was merged already":        {"merge", `{"iid":1,"user":"ada"}`, 422, "merged"},
		"a merge request that isn't":     {"merge", `{"iid":77,"user":"ada"}`, 422, "77"},
		"an unknown kind of change":      {"open", `{"kind":"first"}`, 422, "no such merge request"},
		"an empty comment":               {"comment", `{"iid":1,"user":"ben","body":"  "}`, 422, "comment"},
		"a button that is not there":     {"press", `{"user":"ada","ts":"1.2","button":"approve"}`, 422, "message is gone"},
		"a window that is not open":      {"submit", `{"user":"ada","view":"V1"}`, 422, "closed already"},
		"a body that is not JSON":        {"merge", `merge!`, 400, "not understood"},
		"a body that is far too long":    {"comment", `{"body":"` + strings.Repeat("x", maxAction) + `"}`, 400, "not understood"},
		"an action that does not exist":  {"deploy", `{}`, 405, ""},
		"a comment longer than a screen": {"comment", `{"iid":1,"user":"ben","body":"` + strings.Repeat("x", maxComment+1) + `"}`, 422, "characters"},
	} {
		t.Run(name, func(t *testing.T) {
			code, answer := r.send(t, c.what, c.body, nil)
			if code != c.code || !strings.Contains(answer, c.says) {
				t.Errorf("got %d %q, want %d and %q", code, answer, c.code, c.says)
			}
		})
	}
	t.Run("another site's request", func(t *testing.T) {
		code, _ := r.send(t, "merge", `{"iid":3,"user":"ada"}`, map[string]string{"Origin": "https://evil.example"})
		if code != http.StatusForbidden {
			t.Errorf("got %d, want 403", code)
		}
	})
	for _, m := range r.look(t).MergeRequests {
		if want := map[bool]string{true: "merged", false: "opened"}[m.Kind == kindFirst]; m.State != want {
			t.Errorf("!%d is %s, want %s: a refused request did something", m.IID, m.State, want)
		}
	}
}

func TestTheStateShowsADeliveryFromTheMergeToProduction(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	if code, answer := r.post(t, "merge", action{IID: r.good, User: "ada"}); code != http.StatusOK {
		t.Fatalf("merge: %d %s", code, answer)
	}
	asked := r.await(t, "the buttons", func(s State) bool { return button(s, r.good) != "" })
	if d := asked.Deliveries[0]; !d.Asking || d.IID != r.good {
		t.Errorf("got %+v, want the delivery that asks", d)
	}
	ts := messageOf(asked, r.good).TS
	press := action{User: "ben", TS: ts, Button: button(asked, r.good)}
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press as Ben: %d %s", code, answer)
	}
	refused := r.await(t, "the refusal", func(s State) bool { return len(s.Slack.Ephemerals) > 0 })
	if e := refused.Slack.Ephemerals[0]; e.EphemeralTo != world.SlackBen || !strings.Contains(e.Text, "wrote this change") {
		t.Errorf("got %q to %s, want a refusal for Ben alone", e.Text, e.EphemeralTo)
	}
	again := r.await(t, "the buttons again", func(s State) bool { return button(s, r.good) != "" })
	press.User, press.Button = "ada", button(again, r.good)
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press as Ada: %d %s", code, answer)
	}
	end := r.await(t, "the end", func(s State) bool {
		return s.Deliveries[0].Finished && len(s.mr(r.good).Deployments) == 2 && strings.Contains(s.mr(r.good).Notes[0].HTML, "Delivered")
	})
	if d := end.Deliveries[0]; d.Status != "succeeded" || len(d.Stages) != 4 || d.Stages[3].Now == "" {
		t.Errorf("got %+v, want four stages that ended well", d)
	}
	for _, p := range end.Places {
		if len(p.Workloads) != 1 || !strings.HasSuffix(p.Workloads[0].Images[0], end.mr(r.good).SHA[:8]) {
			t.Errorf("%s runs %+v, want the merged commit", p.Environment, p.Workloads)
		}
	}
	rollsBack(t, r)
}

// rollsBack presses the button of what was delivered, as somebody who may not, and as somebody who may.
func rollsBack(t *testing.T, r *rig) {
	t.Helper()
	delivered := r.await(t, "the button to roll back", func(s State) bool { return named(s, r.good, "rollback") != "" })
	back := named(delivered, r.good, "rollback")
	press := action{User: "mallory", TS: messageOf(delivered, r.good).TS, Button: back}
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press %q as Mallory: %d %s", back, code, answer)
	}
	r.await(t, "the refusal", func(s State) bool {
		return slices.ContainsFunc(s.Slack.Ephemerals, func(m slacksim.Message) bool { return m.EphemeralTo == world.SlackMallory })
	})
	press.User = "ada"
	if code, answer := r.post(t, "press", press); code != http.StatusOK {
		t.Fatalf("press %q as Ada: %d %s", back, code, answer)
	}
	old := delivered.mr(1).SHA[:8]
	r.await(t, "the release before", func(s State) bool {
		return s.Deliveries[0].Rollback && s.Deliveries[0].Finished && slices.ContainsFunc(s.Places, func(p Place) bool {
			return p.Environment == "production" && len(p.Workloads) == 1 && strings.HasSuffix(p.Workloads[0].Images[0], old)
		})
	})
}

func TestABrokenMainBranchTakesTheRepairOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.repair(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if code, answer := r.post(t, "merge", action{IID: r.bad, User: "ada"}); code != http.StatusOK {
		t.Fatalf("merge: %d %s", code, answer)
	}
	if code, answer := r.post(t, "merge", action{IID: r.good, User: "ada"}); code != http.StatusUnprocessableEntity || !strings.Contains(answer, repairTitle) {
		t.Errorf("got %d %q, want a hint at the repair", code, answer)
	}
	s := r.await(t, "the repair", func(s State) bool { return s.MergeRequests[0].Kind == kindRepair })
	if d := s.Deliveries[0]; d.Status != "rolled back" || !s.Broken {
		t.Errorf("got a delivery that is %s and broken %v, want it rolled back and the branch broken", d.Status, s.Broken)
	}
	for _, m := range s.MergeRequests {
		if want := m.Kind == kindGood || m.Kind == kindWorse || m.Kind == kindSlower; m.Blocked != want {
			t.Errorf("!%d, which is %s, is blocked: %v, want %v", m.IID, m.Kind, m.Blocked, want)
		}
	}
	if code, answer := r.post(t, "merge", action{IID: s.MergeRequests[0].IID, User: "ada"}); code != http.StatusOK {
		t.Fatalf("merge the repair: %d %s", code, answer)
	}
	if code, answer := r.post(t, "open", action{Kind: kindBad}); code != http.StatusOK {
		t.Errorf("open another: %d %s", code, answer)
	}
}

func (s State) mr(iid int64) MergeRequest {
	for _, m := range s.MergeRequests {
		if m.IID == iid {
			return m
		}
	}
	return MergeRequest{}
}

// button is the one that approves a merge request's delivery, "" while there is none.
func button(s State, iid int64) string { return named(s, iid, "approve") }

func named(s State, iid int64, actionID string) string {
	for _, b := range messageOf(s, iid).Blocks {
		for _, e := range b.Elements {
			if e.ActionID == actionID {
				return b.ID + "/" + e.ActionID
			}
		}
	}
	return ""
}

// messageOf is the message about a merge request, not a reply to it.
func messageOf(s State, iid int64) slacksim.Message {
	for _, m := range s.Slack.Messages {
		if m.ThreadTS == "" && strings.Contains(m.Text, fmt.Sprintf("!%d ", iid)) {
			return m
		}
	}
	return slacksim.Message{}
}

func TestPeopleReadWhatRunsWhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for path, want := range map[string][]string{
		"/environments": {"staging", "production", "Healthy", firstTitle},
		fmt.Sprintf("/environments/%d/production", r.world.Project): {"3 of 3 pods ready", "ReplicaSet", "3 ready endpoints", "Everything is as the release recorded it."},
	} {
		resp, err := http.Get("http://" + r.app.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %d %v", path, resp.StatusCode, err)
		}
		for _, words := range want {
			if !strings.Contains(string(body), words) {
				t.Errorf("%s does not say %q", path, words)
			}
		}
	}
}
