package gitlabsim_test

import (
	"fmt"
	"net/http"
	"testing"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestFaults(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	iid := w.open("Change")
	notes := fmt.Sprintf("merge_requests/%d/notes", iid)
	post := func() (reply, error) { return w.try("bot", "POST", notes, m{"body": "hello"}) }
	tests := []struct {
		name   string
		fault  gitlabsim.Fault
		status int // zero for a dropped connection
		made   int // comments afterwards, on top of those before
	}{
		{"an error instead of the call", gitlabsim.Fault{Method: "POST", Path: "projects/*/merge_requests/*/notes", Times: 1, Status: 409}, 409, 0},
		{"an error after the call was carried out", gitlabsim.Fault{Path: "projects/**", Times: 1, Status: 502, Do: true}, 502, 1},
		{"a dropped connection", gitlabsim.Fault{Path: "projects/shop/backend/**", Times: 1, Match: func(r *http.Request) bool { return true }, Status: 500}, 201, 1},
		{"a connection dropped before", gitlabsim.Fault{Times: 1, Drop: true}, 0, 0},
		{"a connection dropped after", gitlabsim.Fault{Times: 1, Drop: true, Do: true}, 0, 1},
		{"too many requests without headers", gitlabsim.Fault{Times: 1, Status: 429}, 429, 0},
	}
	tests[2].name = "a fault for another path does nothing"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := w.g.CountNotes(w.project, iid, "", 0)
			hits, end, err := w.g.Fail(tt.fault)
			must(t, err)
			defer end()
			got, err := post()
			if (err != nil) != (tt.status == 0) || err == nil && got.status != tt.status {
				t.Errorf("got %d, %v", got.status, err)
			}
			if made := w.g.CountNotes(w.project, iid, "", 0) - before; made != tt.made {
				t.Errorf("%d comments were made, want %d", made, tt.made)
			}
			if tt.status == 201 {
				if hits() != 0 {
					t.Errorf("it applied %d times", hits())
				}
				return
			}
			if got, err := post(); err != nil || got.status != 201 || hits() != 1 {
				t.Errorf("afterwards: %d, %v, %d hits", got.status, err, hits())
			}
		})
	}
	if _, _, err := w.g.Fail(gitlabsim.Fault{Times: 1}); err == nil {
		t.Error("a fault that does nothing is accepted")
	}
}
