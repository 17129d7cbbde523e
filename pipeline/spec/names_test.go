package spec_test

import (
	"fmt"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// held is an operator who says what pipeline files may name.
type held struct {
	operator
	defaults spec.Defaults
}

func (h held) Defaults(string) spec.Defaults { return h.defaults }

func TestFilesNameWhatTheOperatorAllows(t *testing.T) {
	some := spec.Defaults{Channel: "#deploys", Channels: []string{"#deploys", "#shop-*"}, ChannelsHeld: true, JobNames: []string{"smoke", "e2e-*"}}
	free := spec.Defaults{Channel: "#deploys", Channels: []string{"#deploys"}}
	const head = "version: 1\napplication: shop\n"
	for name, c := range map[string]struct {
		defaults spec.Defaults
		file     string
		want     string // of the problem, "" if there is none
	}{
		"a channel of the project":              {some, head + "slack: '#shop-live'\nstages: [{name: a, notify: {text: x, slack: '#shop-other'}}]\n", ""},
		"the operator's channel":                {some, head + "stages: [{name: a, notify: {text: x}}]\n", ""},
		"a notice to another channel":           {some, head + "stages: [{name: a, notify: {text: x, slack: '#board'}}]\n", `this project may send nothing to "#board" (only to #deploys, #shop-*; an operator can allow it with slack.channels)`},
		"the id of a channel":                   {some, head + "stages: [{name: a, notify: {text: x, slack: C0123ABCD}}]\n", `this project may send nothing to "C0123ABCD"`},
		"another channel for the file":          {some, head + "slack: '#board'\nstages: [{name: a, wait: 1m}]\n", `.slipway.yml:3:8: this project may send nothing to "#board"`},
		"any channel where none are named":      {free, head + "slack: '#board'\nstages: [{name: a, notify: {text: x, slack: '#others'}}]\n", ""},
		"no channel at all":                     {spec.Defaults{ChannelsHeld: true}, head + "stages: [{name: a, notify: {text: x, slack: '#board'}}]\n", `this project may send nothing to "#board" (an operator can allow it with slack.channels)`},
		"a job of the project":                  {some, head + "stages: [{name: a, job: {name: smoke}}, {name: b, job: {name: e2e-chrome}}]\n", ""},
		"another job":                           {some, head + "stages: [{name: a, job: {name: deploy-production}}]\n", `a stage may not play the job "deploy-production" (only smoke, e2e-*; an operator can allow others with jobs)`},
		"any job where none are named":          {free, head + "stages: [{name: a, job: {name: deploy-production}}]\n", ""},
		"a job that earlier stages give":        {some, head + "stages: [{name: s, wait: 1m}, {name: a, job: {name: \"${{ stages.s.status }}\"}}]\n", ""},
		"a review's notice to any channel":      {free, head + "stages: [{name: a, wait: 1m}]\nreview: {stages: [{name: a, notify: {text: x, slack: '#board'}}]}\n", `this project may send nothing to "#board" (only to #deploys; an operator`},
		"a review's notice to the file's":       {free, head + "slack: '#board'\nstages: [{name: a, wait: 1m}]\nreview: {stages: [{name: a, notify: {text: x}}]}\n", `:3:8: this project may send nothing to "#board"`},
		"a review's notice to the operator's":   {free, head + "stages: [{name: a, wait: 1m}]\nreview: {stages: [{name: a, notify: {text: x}}]}\n", ""},
		"a review beside a channel for merges":  {free, head + "slack: '#board'\nstages: [{name: a, wait: 1m}]\nreview: {stages: [{name: a, wait: 1m}]}\n", ""},
		"a review's notice to the project's":    {some, head + "stages: [{name: a, wait: 1m}]\nreview: {stages: [{name: a, notify: {text: x, slack: '#shop-live'}}]}\n", ""},
		"a source that is another project's":    {spec.Defaults{Sources: []string{"ours"}}, head + "stages: [{name: a, validate: [{metric: {source: theirs, query: up, min: 1}}]}]\n", "theirs"},
		"a channel's name that begins the same": {spec.Defaults{Channels: []string{"#shop"}, ChannelsHeld: true}, head + "stages: [{name: a, notify: {text: x, slack: '#shop-live'}}]\n", `"#shop-live"`},
	} {
		t.Run(name, func(t *testing.T) {
			file, problems := spec.Parse(".slipway.yml", []byte(c.file))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			compile := spec.Compile
			if file.Review != nil {
				compile = spec.CompileReview
			}
			_, problems = compile(file, input(), held{defaults: c.defaults})
			if text := fmt.Sprint(problems); len(problems) > 0 != (c.want != "") || !strings.Contains(text, c.want) {
				t.Errorf("got %s, want %q", text, c.want)
			}
		})
	}
}

func TestAPlanHoldsWhatEarlierStagesGive(t *testing.T) {
	p := &pipeline.Plan{Channels: []string{"#shop-*", `#a\*b`}, ChannelsHeld: true, JobNames: []string{"e2e-*"}}
	if p.MayTell("#board") || p.MayTell("C0123") || p.MayTell("") || !p.MayTell("#shop-live") || !p.MayTell("shop-live") || !p.MayTell("#a*b") || p.MayTell("#axb") {
		t.Error("channels are held otherwise")
	}
	if p.MayPlay("deploy") || !p.MayPlay("e2e-x") {
		t.Error("jobs are held otherwise")
	}
	if free := (&pipeline.Plan{}); !free.MayTell("#board") || !free.MayPlay("deploy") {
		t.Error("without an operator's word something is refused")
	}
}
