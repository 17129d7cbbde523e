package slack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// hostile is what somebody may write into a title, a reason or a name.
const hostile = "<!channel> <@U0ANNA> <https://evil.example|Merge request> *bold* _it_ ~no~ `code` a_b & \u202e@here\n> quoted\n\x07```x"

// scenes are the states that the golden files show.
func scenes() map[string]step {
	return map[string]step{
		"01-waiting-for-ci": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.Reason, d.Started = pipeline.StatusWaiting, pipeline.Reason{Code: pipeline.ReasonCIRunning}, time.Time{}
			d.Stages[0] = pipeline.StageState{Name: "staging", Status: pipeline.StagePending}
		},
		"02-deploying": func(*pipeline.Plan, *pipeline.Delivery) {},
		"03-queued": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Stages[0] = pipeline.StageState{Name: "staging", Status: pipeline.StageQueued, Attempt: 1, Reason: pipeline.Reason{Code: pipeline.ReasonQueued, What: "staging", Who: "!11 0badcafe"}}
		},
		"04-asking": asking,
		"05-asking-with-one-of-two": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			p.Stages[1].Judgement.Quorum, p.Stages[1].Judgement.Confirm = 2, false
			d.Decisions = []pipeline.Decision{decided(pipeline.VerbApprove, "cem", pipeline.ViaComment, "looks good")}
		},
		"06-recording": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			d.Requests = []pipeline.Request{{Key: "r1", What: pipeline.VerbApprove, Via: pipeline.ViaSlack, SlackID: "U0ANNA"}}
		},
		"07-approved":    approved,
		"08-delivered":   delivered,
		"09-rolled-back": rolledBack,
		"10-rejected": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			r := pipeline.Reason{Code: pipeline.ReasonRejected, Who: "@cem", Detail: "errors on staging"}
			d.Stages[1].Status, d.Stages[1].Reason = pipeline.StageRejected, r
			d.Decisions = []pipeline.Decision{decided(pipeline.VerbReject, "cem", pipeline.ViaSlack, "errors on staging")}
			ended(d, pipeline.StatusRejected, r)
		},
		"11-expired": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			d.Stages[1].Status, d.Stages[1].Reason = pipeline.StageExpired, pipeline.Reason{Code: pipeline.ReasonExpired}
			ended(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "go-live"})
		},
		"12-canceled": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			d.Stages[1].Status, d.Stages[2].Status = pipeline.StageCanceled, pipeline.StageCanceled
			r := pipeline.Reason{Code: pipeline.ReasonCanceled, Who: "@ada", Detail: "wrong branch"}
			d.Decisions = []pipeline.Decision{{What: pipeline.VerbCancel, By: decided("", "ada", "", "").By, Via: pipeline.ViaComment, At: noon, Reason: "wrong branch"}}
			ended(d, pipeline.StatusCanceled, r)
		},
		"13-superseded": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			d.Stages[1].Status, d.Stages[2].Status = pipeline.StageSuperseded, pipeline.StageSuperseded
			ended(d, pipeline.StatusSuperseded, pipeline.Reason{Code: pipeline.ReasonSuperseded, Who: "!13 77777777"})
		},
		"14-warnings": func(p *pipeline.Plan, d *pipeline.Delivery) {
			d.Warnings = []pipeline.Warning{
				{Effect: "write-note", Detail: "Slipway's GitLab user may not write the merge request note"},
				{Effect: "write-message", Detail: "not shown in the message that it is about"},
			}
		},
		"15-rollback": func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages = []pipeline.Stage{{Name: "rollback", Kind: pipeline.KindRollback, Rollback: &pipeline.Rollback{Environment: "production"}}}
			d.ID, d.RollbackOf = d.ID+"-r1", d.ID
			d.Stages = []pipeline.StageState{{Name: "rollback", Status: pipeline.StageRollingBack, Attempt: 1, Progress: "2 of 3 pods ready", Undo: true}}
		},
		"16-no-plan": func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.Stages, d.Reason = pipeline.StatusInvalid, nil, pipeline.Reason{Code: pipeline.ReasonInvalidFile}
			d.Problems = []pipeline.Problem{{File: ".slipway.yml", Line: 3, Column: 5, What: "unknown key \"stagess\"", Hint: "did you mean stages?"}}
		},
		"17-hostile": func(p *pipeline.Plan, d *pipeline.Delivery) {
			asking(p, d)
			d.MergeRequest.Title, d.MergeRequest.AuthorUsername, d.MergeRequest.URL = hostile, hostile, "javascript:alert(1)"
			p.Application, p.Stages[1].Judgement.Ask = hostile, hostile
			p.Stages[1].Judgement.Rule.Approvers = []string{hostile}
			p.Links = []pipeline.Link{{Title: hostile, URL: "https://logs.example.com/a|b>c"}, {Title: "bad", URL: "https://user:pw@x.example"}}
			d.Decisions = []pipeline.Decision{decided(pipeline.VerbApprove, hostile, pipeline.ViaComment, hostile)}
		},
		"18-huge": func(p *pipeline.Plan, d *pipeline.Delivery) {
			rolledBack(p, d)
			long := strings.Repeat("&<>*🚢 ", 1000)
			d.MergeRequest.Title, p.Application = long, long
			for i := range 60 {
				name := fmt.Sprintf("stage-%d-%s", i, strings.Repeat("x", 80))
				p.Stages = append(p.Stages, pipeline.Stage{Name: name, Kind: pipeline.KindJudgement, Judgement: &pipeline.Judgement{Ask: long, Confirm: true, Environment: long}})
				d.Stages = append(d.Stages, pipeline.StageState{Name: name, Status: pipeline.StageAsking, Attempt: 1, Deadline: noon})
				p.Stages = append(p.Stages, pipeline.Stage{Name: name + "f", Kind: pipeline.KindJob, Job: &pipeline.Job{}})
				d.Stages = append(d.Stages, pipeline.StageState{Name: name + "f", Status: pipeline.StageFailed, Attempt: 3, Reason: pipeline.Reason{Detail: long + "\n" + strings.Repeat(long+"\n", 20)}})
				d.Decisions = append(d.Decisions, decided(pipeline.VerbApprove, long, pipeline.ViaSlack, long))
				d.Warnings = append(d.Warnings, pipeline.Warning{Effect: "write-note", Detail: long})
				p.Links = append(p.Links, pipeline.Link{Title: long, URL: fmt.Sprintf("https://x.example/%d", i)})
			}
		},
		"19-on-standby":         onStandby,
		"20-ready-to-promote":   proven,
		"21-check-failed":       checkFailed,
		"22-roll-back-or-not":   deciding,
		"23-left-as-it-is":      leftAsItIs,
		"24-kubernetes-job":     runFailed,
		"25-aftermath":          aftermath,
		"26-rolled-back-anyhow": wentBack,
	}
}

func rendered(change step) message {
	plan, d := scene()
	change(plan, &d)
	if d.Status == pipeline.StatusInvalid {
		plan = nil
	}
	return render(chatops.NewCard(pipeline.NewView(plan, &d), "https://slipway.example.com", "write-message"))
}

func encoded(t *testing.T, m message) []byte {
	t.Helper()
	raw, err := json.Marshal(m.blocks)
	if err != nil {
		t.Fatal(err)
	}
	var blocks any // once more, because the client's types encode some texts as HTML would want them
	if err := json.Unmarshal(raw, &blocks); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"text": m.text, "blocks": blocks}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestMessagesLookAsIntended(t *testing.T) {
	for name, change := range scenes() {
		t.Run(name, func(t *testing.T) {
			got := encoded(t, rendered(change))
			path := filepath.Join("testdata", "messages", name+".json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got; run with -update if that is meant:\n%s", diff)
			}
		})
	}
}

func TestSlackTakesEveryMessage(t *testing.T) {
	sim, client := workspace(t, nil, nil)
	for name, change := range scenes() {
		t.Run(name, func(t *testing.T) {
			m := rendered(change)
			if m.left < 0 {
				t.Errorf("%d characters too many", -m.left)
			}
			_, ts, err := client.api.PostMessageContext(t.Context(), "C0DEPLOYS", m.options("d")...)
			var said api.SlackErrorResponse
			if errorsAs(err, &said) {
				t.Fatalf("%s %v", said.Err, said.ResponseMetadata.Messages)
			}
			if err != nil || ts == "" {
				t.Fatal(ts, err)
			}
		})
	}
	if got := len(sim.Messages("C0DEPLOYS")); got != len(scenes()) {
		t.Errorf("the channel shows %d messages", got)
	}
}

func TestButtonsAreThereOnlyWhereTheyDoSomething(t *testing.T) {
	with := map[string]bool{"04-asking": true, "05-asking-with-one-of-two": true, "17-hostile": true, "18-huge": true,
		"08-delivered": true, "19-on-standby": true, "20-ready-to-promote": true, "22-roll-back-or-not": true}
	for name, change := range scenes() {
		t.Run(name, func(t *testing.T) {
			if got := strings.Contains(string(encoded(t, rendered(change))), `"type": "button"`); got != with[name] {
				t.Errorf("buttons: %t", got)
			}
		})
	}
}

func TestWhatPeopleWroteStaysText(t *testing.T) {
	got := string(encoded(t, rendered(scenes()["17-hostile"])))
	for _, bad := range []string{"<!channel", "<@U0", "<https://evil", "*bold*", "_it_", "~no~", "`code`", "@here", "\\n> ", "\\n&gt;", "javascript:", "user:pw", "\u202e", "```"} {
		// The one confirm text and labels of buttons are plain text, where nothing is special.
		for line := range strings.SplitSeq(got, "\n") {
			if strings.Contains(line, bad) && !strings.Contains(line, "goes on to") {
				t.Errorf("%q got through in %s", bad, line)
			}
		}
	}
	if !strings.Contains(got, "a_b") {
		t.Error("an underscore within a word was changed")
	}
}

func TestEscapeKeepsWithinItsLimit(t *testing.T) {
	for _, c := range []struct {
		name, in string
		most     int
		want     string
	}{
		{"nothing special", "Add a_cart", 50, "Add a_cart"},
		{"entities", "a<b>&c", 50, "a&lt;b&gt;&amp;c"},
		{"an entity is never cut", "aaaa&", 8, "aaaa…"},
		{"exactly as long as allowed", "abcd", 4, "abcd"},
		{"formatting", "*a* _b_ ~c~ `d`", 50, "∗a∗ ˍbˍ ∼c∼ ˋdˋ"},
		{"everybody", "@channel @Here @ada", 50, "@\u2060channel @\u2060Here @ada"},
		{"one line", "a\n> b\tc", 50, "a &gt; b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := escape(c.in, c.most); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(hostile, 40)
	f.Add("&&&&", 6)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 5000 {
			return
		}
		got := escape(s, most)
		if n := len([]rune(got)); n > most {
			t.Errorf("%d characters, at most %d are allowed: %q", n, most, got)
		}
		if strings.ContainsAny(got, "<>*~`\n\r") {
			t.Errorf("got %q", got)
		}
		for _, part := range strings.Split(got, "&")[1:] {
			if !strings.HasPrefix(part, "amp;") && !strings.HasPrefix(part, "lt;") && !strings.HasPrefix(part, "gt;") {
				t.Errorf("a bare ampersand in %q", got)
			}
		}
	})
}
