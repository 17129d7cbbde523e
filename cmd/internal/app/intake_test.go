package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"gitlab.com/slipway-cd/slipway/gitlab"
)

// TestAProjectThatSlipwayCannotSeeIsNothing: GitLab switches a hook off that is answered with
// failures, and a group's hook is for all of its projects.
func TestAProjectThatSlipwayCannotSeeIsNothing(t *testing.T) {
	for status, wantErr := range map[int]bool{http.StatusNotFound: false, http.StatusForbidden: false, http.StatusTooManyRequests: true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer server.Close()
		client, err := gitlab.New(gitlab.Options{URL: server.URL, Token: "token"})
		if err != nil {
			t.Fatal(err)
		}
		i := &intake{gitlab: client}
		ids, err := i.find(t.Context(), gitlab.Routed{Find: gitlab.Find{Project: 7, ShortSHA: "3f2a91c0"}})
		if len(ids) != 0 || (err != nil) != wantErr {
			t.Errorf("%d: got %v, %v", status, ids, err)
		}
	}
}
