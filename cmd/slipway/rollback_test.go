package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

// asPerson makes a file with an access token of somebody.
func (r *rig) asPerson(user int64, value string, scopes ...string) string {
	r.Helper()
	r.ok(r.world.GitLab.AddToken(value, user, gitlabsim.PersonalToken, scopes...))
	file := filepath.Join(r.dir, value)
	r.ok(os.WriteFile(file, []byte(value+"\n"), 0o600))
	return file
}

func TestPeopleRollBackByTheCommandLine(t *testing.T) {
	eachCluster(t, func(r *rig) {
		r.start()
		_, first := r.deliver("Open the shop", "open")
		_, second := r.deliver("Sell umbrellas", "umbrellas")
		ada, mallory := r.asPerson(r.world.Ada, "glpat-ada", "api"), r.asPerson(r.world.Mallory, "glpat-mallory", "api")
		rollback := func(token string, args ...string) (string, int) {
			return slipway(r.TB, "", append([]string{"rollback", "production", "--server", "http://" + r.addr, "--project", "shop/web", "--token-file", token}, args...)...)
		}
		if out, code := rollback(mallory); code != 1 || !strings.Contains(out, "@mallory is Reporter") {
			r.Errorf("a Reporter gets %d: %s", code, out)
		}
		r.runs(r.prod, second)
		if out, code := rollback(ada, "--reason", "orders fail"); code != 0 || !strings.Contains(out, "has begun") {
			r.Fatalf("a Maintainer gets %d: %s", code, out)
		}
		r.ok(r.world.AwaitGitLab(r.within(), "the rollback's note", func(p gitlabsim.ProjectSnapshot) bool {
			for _, mr := range p.MergeRequests {
				for _, n := range mr.Notes {
					if strings.Contains(n.Body, "**Rolled back**") && strings.Contains(n.Body, "orders fail") {
						return true
					}
				}
			}
			return false
		}))
		r.runs(r.prod, first)
		// The one that was taken back is never gone back to.
		if out, code := rollback(ada, "--to", second[:8]); code != 0 {
			r.Errorf("got %d: %s", code, out)
		}
		r.ok(r.world.AwaitGitLab(r.within(), "the refusal", func(p gitlabsim.ProjectSnapshot) bool {
			for _, mr := range p.MergeRequests {
				for _, n := range mr.Notes {
					if strings.Contains(n.Body, "is never gone back to") {
						return true
					}
				}
			}
			return false
		}))
		r.runs(r.prod, first)
		if strings.Contains(r.log.String(), "glpat-ada") {
			r.Error("the log has the person's token")
		}
		r.checkDatabase()
	})
}

func TestStrangersCannotAskByTheAPI(t *testing.T) {
	r := newRig(t, "sim")
	r.start()
	r.deliver("Open the shop", "open")
	r.asPerson(r.world.Ada, "glpat-ada", "api")
	r.asPerson(r.world.Ada, "glpat-ada-reads", "read_api")
	r.asPerson(r.world.Ada, "glpat-ada-is", "read_user")
	body := `{"project":"shop/web","environment":"production","key":"0123456789"}`
	for name, c := range map[string]struct {
		token, body string
		want        int
	}{
		"no token":                       {"", body, 401},
		"a token that GitLab refuses":    {"glpat-nobody", body, 401},
		"Slipway's own name is no token": {"slipway", body, 401},
		"a token to read with":           {"glpat-ada-reads", body, 403},
		"a token that only says who":     {"glpat-ada-is", body, 403},
		"another project":                {"glpat-ada", strings.Replace(body, "shop/web", "bank/vault", 1), 404},
		"another environment":            {"glpat-ada", strings.Replace(body, "production", "mars", 1), 404},
		"no key":                         {"glpat-ada", strings.Replace(body, "0123456789", "", 1), 400},
		"a key that is not known":        {"glpat-ada", `{"as":"ben"}`, 400},
		"no JSON":                        {"glpat-ada", `project=shop/web`, 400},
		"a body that is too large":       {"glpat-ada", `"` + strings.Repeat("x", 17<<10) + `"`, 413},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.addr+"/api/rollback", bytes.NewReader([]byte(c.body)))
		r.ok(err)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := http.DefaultClient.Do(req)
		r.ok(err)
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	for name, args := range map[string][]string{
		"no server":  {"rollback", "production", "--project", "shop/web", "--token-file", filepath.Join(r.dir, "glpat-ada")},
		"no token":   {"rollback", "production", "--project", "shop/web", "--server", "http://" + r.addr},
		"no project": {"rollback", "production", "--server", "http://" + r.addr},
	} {
		if out, code := slipway(t, "", args...); code != 1 || !strings.HasPrefix(out, "slipway: ") {
			t.Errorf("%s: %d %s", name, code, out)
		}
	}
}
