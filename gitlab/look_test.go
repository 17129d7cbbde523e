package gitlab_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

func TestTheTokenAndTheVersionAreKnown(t *testing.T) {
	w := newWorld(t)
	day := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	w.g.SetTokenExpiry(token, day)
	got, err := w.c.Token(t.Context())
	must(t, err)
	if diff := cmp.Diff(gitlab.Token{Name: "slipway", Scopes: []string{"api"}, Expires: day}, got); diff != "" {
		t.Error(diff)
	}
	if v, err := w.c.Version(t.Context()); err != nil || v != "19.5.0-ee" {
		t.Errorf("version %q, %v", v, err)
	}
}

func TestAProjectIsFoundByItsPath(t *testing.T) {
	w := newWorld(t)
	p, level, err := w.c.ProjectAt(t.Context(), "shop/api")
	must(t, err)
	if p.ID != w.project.ID || p.Path != "shop/api" || level != policy.Developer {
		t.Errorf("got %+v as %s", p, level)
	}
	if p, _, err = w.c.ProjectAt(t.Context(), "Shop/API"); err != nil || p.Path != "shop/api" {
		t.Errorf("in other letters: %+v, %v", p, err)
	}
	for _, path := range []string{"shop/none", "other/api"} {
		if _, _, err := w.c.ProjectAt(t.Context(), path); !errors.Is(err, gitlab.ErrHidden) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestProjectsOfAGroup(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"shop/web", "shop/deep/ui", "shop-evil/x"} {
		p, err := w.g.AddProject(gitlabsim.Project{Path: path})
		must(t, err)
		must(t, w.g.AddMember(p.ID, w.bot, gitlabsim.Developer))
	}
	list := func(most int) (paths []string, more bool) {
		t.Helper()
		found, more, err := w.c.GroupProjects(t.Context(), "shop", most)
		must(t, err)
		for _, p := range found {
			paths = append(paths, p.Path)
		}
		return paths, more
	}
	if got, more := list(10); more || cmp.Diff([]string{"shop/api", "shop/web", "shop/deep/ui"}, got) != "" {
		t.Errorf("got %v, more %v", got, more)
	}
	if got, more := list(2); !more || len(got) != 2 {
		t.Errorf("of three, two at most: got %v, more %v", got, more)
	}
	if _, _, err := w.c.GroupProjects(t.Context(), "none", 10); !errors.Is(err, gitlab.ErrHidden) {
		t.Errorf("a group that is not there: %v", err)
	}
}

func TestHooksOfProjectsAndGroups(t *testing.T) {
	w := newWorld(t)
	if _, err := w.c.ProjectHooks(t.Context(), w.project.ID); !errors.Is(err, gitlab.ErrHidden) {
		t.Errorf("a Developer sees hooks: %v", err)
	}
	if _, err := w.c.GroupHooks(t.Context(), "shop"); !errors.Is(err, gitlab.ErrHidden) {
		t.Errorf("a Developer sees hooks of a group: %v", err)
	}
	must(t, w.g.AddGroupMember("shop", w.bot, gitlabsim.Owner))
	id, err := w.g.AddHook(w.project.ID, gitlabsim.Hook{URL: "https://slipway.example.com/hooks/gitlab", SkipVerification: true, Events: map[string]bool{"note_events": true, "merge_requests_events": true}})
	must(t, err)
	other, err := w.g.AddGroupHook("shop", gitlabsim.Hook{URL: "https://slipway.example.com/hooks/gitlab"})
	must(t, err)
	hooks, err := w.c.ProjectHooks(t.Context(), w.project.ID)
	must(t, err)
	want := gitlab.Hook{ID: id, URL: "https://slipway.example.com/hooks/gitlab", Events: []string{"merge_requests_events", "note_events"}}
	if diff := cmp.Diff([]gitlab.Hook{want}, hooks); diff != "" {
		t.Error(diff)
	}
	hooks, err = w.c.GroupHooks(t.Context(), "shop")
	must(t, err)
	want = gitlab.Hook{ID: other, URL: want.URL, Verifies: true, Events: []string{"deployment_events", "job_events", "merge_requests_events", "note_events", "pipeline_events"}}
	if diff := cmp.Diff([]gitlab.Hook{want}, hooks); diff != "" {
		t.Error(diff)
	}
}
