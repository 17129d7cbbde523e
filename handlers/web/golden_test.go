package web

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = time.Date(2026, 3, 9, 14, 5, 0, 0, time.UTC)

func console(t *testing.T, m *memory) *Console {
	t.Helper()
	c, err := New(Options{Source: m, URL: "https://slipway.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update:\n%s", file, diff)
	}
}

// neutral takes the hashes out, so that a golden file changes only with its page.
func neutral(c *Console, f fragment) string {
	html := string(f.HTML)
	for plain, hashed := range c.assets.path {
		html = strings.ReplaceAll(html, hashed, plain)
		f.Icon = strings.ReplaceAll(f.Icon, hashed, plain)
	}
	var out []string
	for l := range strings.SplitSeq(html, "\n") {
		if strings.TrimSpace(l) != "" {
			out = append(out, l)
		}
	}
	return "title: " + f.Title + "\nannounce: " + f.Announce + "\nicon: " + f.Icon + "\n\n" + strings.Join(out, "\n") + "\n"
}

func TestDeliveryPages(t *testing.T) {
	for _, s := range states(noon) {
		t.Run(s.name, func(t *testing.T) {
			c := console(t, newMemory(s.view))
			f, err := c.deliveryFragment(t.Context(), s.view.ID)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "delivery-"+strings.ReplaceAll(s.name, " ", "-")+".html", neutral(c, f))
		})
	}
}

func TestListPage(t *testing.T) {
	var views []pipeline.View
	for _, s := range states(noon) {
		s.view.ID = strings.ReplaceAll(s.name, " ", "-")
		views = append(views, s.view)
	}
	c := console(t, newMemory(views...))
	f, err := c.listFragment(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "list.html", neutral(c, f))
}

func TestListWithoutDeliveries(t *testing.T) {
	c := console(t, newMemory())
	f, err := c.listFragment(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "list-empty.html", neutral(c, f))
}

// Equal states make equal pages, whatever time it is: streams rely on it.
func TestAPageDependsOnNothingButTheDelivery(t *testing.T) {
	for _, s := range states(noon) {
		c := console(t, newMemory(s.view))
		one, err := c.deliveryFragment(t.Context(), s.view.ID)
		if err != nil {
			t.Fatal(err)
		}
		two, err := c.deliveryFragment(t.Context(), s.view.ID)
		if err != nil {
			t.Fatal(err)
		}
		if one.Version != two.Version {
			t.Errorf("%s: two renders have versions %s and %s", s.name, one.Version, two.Version)
		}
	}
}

// Every status that there is has a look of its own: a tone that the style sheet knows
// and a glyph that the layout has.
func TestEveryStatusHasAColourAGlyphAndAWord(t *testing.T) {
	style, err := assetFiles.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	layout, err := templateFiles.ReadFile("templates/layout.html")
	if err != nil {
		t.Fatal(err)
	}
	looks := map[string]look{}
	for _, s := range []pipeline.Status{
		pipeline.StatusLoading, pipeline.StatusWaiting, pipeline.StatusRunning, pipeline.StatusSucceeded, pipeline.StatusFailed,
		pipeline.StatusRolledBack, pipeline.StatusRejected, pipeline.StatusCanceled, pipeline.StatusSuperseded, pipeline.StatusInvalid, pipeline.StatusNone,
	} {
		looks["delivery "+string(s)] = deliveryLook(pipeline.View{Status: s})
	}
	for _, s := range []pipeline.StageStatus{
		pipeline.StagePending, pipeline.StageQueued, pipeline.StageRunning, pipeline.StageAsking, pipeline.StageRollingBack, pipeline.StageSucceeded, pipeline.StageFailed,
		pipeline.StageRolledBack, pipeline.StageRejected, pipeline.StageExpired, pipeline.StageCanceled, pipeline.StageSkipped, pipeline.StageSuperseded,
	} {
		looks["stage "+string(s)] = stageLook(pipeline.StageView{Status: s})
	}
	for _, v := range []pipeline.Verb{pipeline.VerbApprove, pipeline.VerbReject, pipeline.VerbCancel, pipeline.VerbRetry, pipeline.VerbRollback, pipeline.VerbPromote} {
		looks["decision "+string(v)] = decisionLook(v, false)
	}
	for _, word := range []string{"passed", "failed", "stopped", "running"} {
		looks["check "+word] = checkLook(pipeline.CheckView{Word: word})
	}
	looks["stage checking"] = stageLook(pipeline.StageView{Status: pipeline.StageRunning, Checks: []pipeline.CheckView{{Word: "running"}}})
	looks["stage standby"] = stageLook(pipeline.StageView{Status: pipeline.StageRunning, Standby: noon})
	words := map[string]string{}
	for name, l := range looks {
		if !strings.Contains(string(style), "."+l.Tone+" {") && !strings.Contains(string(style), "."+l.Tone+",") {
			t.Errorf("%s: the style sheet has no tone %q", name, l.Tone)
		}
		if !strings.Contains(string(layout), `<symbol id="`+l.Glyph+`"`) {
			t.Errorf("%s: the layout has no glyph %q", name, l.Glyph)
		}
		kind, _, _ := strings.Cut(name, " ")
		if other, taken := words[kind+l.Word]; taken || l.Word == "" {
			t.Errorf("%s: the word %q is empty or that of %s", name, l.Word, other)
		}
		words[kind+l.Word] = name
	}
}
