package pipeline_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/pipelinetest"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

var update = flag.Bool("update", false, "write the golden files")

// TestScenarios plays testdata/*.txt. A file is a list of commands, each followed by
// "----" and what came of it; testdata/README.md says what the commands are.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(want))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
			}
		})
	}
}

// play runs a scenario and returns it with what came of each command.
func play(text string) (string, error) {
	s := newScript()
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		head, _, isCommand := strings.Cut(block+"\n", "\n----\n")
		if !isCommand && !strings.HasPrefix(strings.TrimSpace(lastLine(head)), "#") {
			isCommand = true // a command that was never played
			head = strings.TrimSuffix(head, "\n")
		}
		if !isCommand {
			out.WriteString(block + "\n\n")
			continue
		}
		s.out.Reset()
		if err := s.block(head); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", head, err, s.out.String())
		}
		out.WriteString(head + "\n----\n" + s.out.String() + "\n")
	}
	if err := s.world.Replay(); err != nil {
		return "", err
	}
	return strings.TrimRight(out.String(), "\n") + "\n", nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

const projectID = 7

// script is the state of one scenario.
type script struct {
	world  *pipelinetest.World
	out    strings.Builder
	quiet  bool
	hold   bool // inboxes are stepped by hand
	report bool // reports have outcomes
	plans  map[string]pipeline.Plan
	rules  map[string]pipeline.EnvironmentRules
	people map[string]policy.Person
	ids    map[string]string // name → id
	last   string            // the plan that was written last
	gone   int               // removals so far
}

func newScript() *script {
	s := &script{
		world: pipelinetest.New(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)), plans: map[string]pipeline.Plan{},
		rules: map[string]pipeline.EnvironmentRules{}, people: map[string]policy.Person{}, ids: map[string]string{},
	}
	for name, access := range map[string]policy.AccessLevel{
		"ada": policy.Maintainer, "bob": policy.Developer, "rae": policy.Reporter, "gus": policy.Guest,
	} {
		s.people[name] = pipelinetest.Person(name, access)
	}
	s.world.OnStep = func(t pipelinetest.Taken) {
		if strings.Contains(t.ID, "-gone-") && t.Before.Schema == 0 { // the removal of a review's environment
			s.gone++
			s.ids[fmt.Sprintf("gone%d", s.gone)] = t.ID
		}
		if !s.quiet {
			s.out.WriteString(pipelinetest.Print(t, s.name))
		}
	}
	return s
}

func (s *script) name(id string) string {
	for name, full := range s.ids {
		if rest, ok := strings.CutPrefix(id, full); ok && (rest == "" || rest[0] == '-') {
			return name + rest
		}
	}
	return strings.TrimPrefix(id, fmt.Sprintf("%d/", projectID))
}

func (s *script) id(name string) string {
	base, rest, _ := strings.Cut(name, "-")
	if rest != "" {
		rest = "-" + rest
	}
	if id, ok := s.ids[base]; ok {
		return id + rest
	}
	return pipeline.EnvironmentID(projectID, name)
}

// block runs the lines of one command block; comments go before it.
func (s *script) block(head string) error {
	var command string
	var body []string
	for _, line := range strings.Split(head, "\n") {
		switch {
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, " "):
			body = append(body, line)
		default:
			if command != "" {
				if err := s.run(command, body); err != nil {
					return err
				}
			}
			command, body = line, nil
		}
	}
	return s.run(command, body)
}

func (s *script) run(command string, body []string) error {
	words, options := parse(command)
	if words[0] == "quiet" {
		s.quiet = true
		defer func() { s.quiet = false }()
		words = words[1:]
	}
	if err := s.command(words, options, body); err != nil {
		return err
	}
	if s.hold {
		return nil
	}
	return s.settle()
}

// settle steps what waits, and lets reports succeed in silence.
func (s *script) settle() error {
	if err := s.world.Settle(); err != nil {
		return err
	}
	for !s.report {
		dropped := false
		for _, p := range s.world.Pending() {
			if pipelinetest.IsReport(p.Effect.Do) || p.Kind() == "answer" {
				dropped = true
				if err := s.world.Finish(p, nil); err != nil {
					return err
				}
			}
		}
		if !dropped {
			break
		}
	}
	return nil
}

func (s *script) command(words []string, o map[string]string, body []string) error {
	switch words[0] {
	case "plan":
		return s.plan(words[1], o, body)
	case "environment":
		s.rules[words[1]] = pipeline.EnvironmentRules{Rule: policy.Rule{Approvers: list(o["approvers"]), Not: list(o["not"])}}
		return nil
	case "runs": // runs ENVIRONMENT SHA
		s.world.Seed(projectID, words[1], pipeline.Release{ID: words[1] + "/seed-" + words[2], Delivery: "before", SHA: words[2], Manifests: "blob"})
		return nil
	case "person":
		p := pipelinetest.Person(words[1], 0, list(o["groups"])...)
		p.Problem, p.Blocked = o["problem"], o["blocked"] == "true"
		p.Access, _ = policy.ParseAccessLevel(o["access"])
		if o["stranger"] == "true" {
			p.ID = 0
		}
		s.people[words[1]] = p
		return nil
	case "merge":
		return s.merge(words[1], o)
	case "propose": // propose NAME IID: a commit of an open merge request
		return s.propose(words[1], number(words[2]), o)
	case "close": // close NAME: the hook's word about its merge request
		return s.world.Send(s.id(words[1]), pipeline.Closed{})
	case "do":
		return s.do(s.id(words[1]), words[2], words[3:], o)
	case "good":
		return s.good(words[1:])
	case "ask":
		return s.ask(s.id(words[1]), pipeline.Verb(words[2]), o)
	case "send":
		return s.send(s.id(words[1]), words[2], words[3:], o)
	case "tick":
		d, err := time.ParseDuration(strings.TrimPrefix(words[1], "+"))
		if err != nil {
			return err
		}
		return s.world.Advance(d)
	case "clock": // nobody is woken
		d, err := time.ParseDuration(strings.TrimPrefix(words[1], "+"))
		s.world.Now = s.world.Now.Add(d)
		return err
	case "show":
		for _, name := range words[1:] {
			s.out.WriteString(s.world.Show(s.id(name), s.name))
		}
		return nil
	case "hold":
		s.hold = true
		return nil
	case "step": // step NAME: one event out of its inbox
		return s.world.StepOne(s.id(words[1]))
	case "release":
		s.hold = false
		return nil
	case "reports":
		s.report = words[1] == "on"
		return nil
	}
	return fmt.Errorf("unknown command %q", words[0])
}

func (s *script) merge(name string, o map[string]string) error {
	iid := int64(name[0]-'A') + 1
	sha := strings.Repeat(strings.ToLower(name[:1]), 40)
	id := pipeline.DeliveryID(projectID, iid, sha)
	if _, again := s.ids[name]; !again {
		s.ids[name] = id
		planName := s.last
		if o["plan"] != "" {
			planName = o["plan"]
		}
		p := s.plans[planName]
		p.MergeRequest = mergeRequest(iid, s.world.Now, o)
		p.Commit = pipeline.Commit{SHA: sha, ShortSHA: sha[:8], Ref: "main"}
		s.world.AddPlan(id, &p)
	}
	return s.world.Send(id, pipeline.Merged{
		Project: pipeline.Project{ID: projectID, Path: "shop/api"}, MergeRequest: mergeRequest(iid, s.world.Now, o), SHA: sha,
	})
}

// propose is a commit of an open merge request: that of the letter of its name.
func (s *script) propose(name string, iid int64, o map[string]string) error {
	sha := strings.Repeat(strings.ToLower(name[:1]), 40)
	id := pipeline.ReviewID(projectID, iid, sha, o["again"])
	mr := mergeRequest(iid, s.world.Now, o)
	mr.MergedBy, mr.MergedByID, mr.MergedAt = "", 0, time.Time{}
	if _, again := s.ids[name]; !again {
		s.ids[name] = id
		planName := s.last
		if o["plan"] != "" {
			planName = o["plan"]
		}
		p := s.plans[planName]
		p.MergeRequest, p.Channel = mr, ""
		p.Commit = pipeline.Commit{SHA: sha, ShortSHA: sha[:8], Ref: "topic"}
		s.world.AddPlan(id, &p)
	}
	return s.world.Send(id, pipeline.Proposed{Project: pipeline.Project{ID: projectID, Path: "shop/api"}, MergeRequest: mr, SHA: sha})
}

func mergeRequest(iid int64, at time.Time, o map[string]string) pipeline.MergeRequest {
	author := "eve"
	if o["author"] != "" {
		author = o["author"]
	}
	if d, err := time.ParseDuration(o["merged"]); err == nil {
		at = at.Add(d)
	}
	return pipeline.MergeRequest{
		IID: iid, Title: "Change", TargetBranch: "main", AuthorUsername: author, AuthorID: pipelinetest.Person(author, 0).ID,
		MergedBy: "mia", MergedByID: pipelinetest.Person("mia", 0).ID, MergedAt: at,
	}
}

// plan reads "NAME KIND what=… retry=… needs=…" lines.
func (s *script) plan(name string, o map[string]string, body []string) error {
	p := pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: "shop", Project: pipeline.Project{ID: projectID, Path: "shop/api"},
		After: pipeline.AfterMerge, Concurrency: pipeline.Supersede, Channel: "#shop", Environments: map[string]pipeline.EnvironmentRules{},
	}
	if o["after"] != "" {
		p.After = pipeline.After(o["after"])
	}
	if o["concurrency"] != "" {
		p.Concurrency = pipeline.Concurrency(o["concurrency"])
	}
	if o["channel"] == "none" {
		p.Channel = ""
	}
	for _, status := range list(o["aftermath"]) {
		p.AftermathOn = append(p.AftermathOn, pipeline.Status(strings.ReplaceAll(status, "-", " ")))
	}
	for _, line := range body {
		words, o := parse(line)
		st, err := newStage(words, o)
		if err != nil {
			return err
		}
		if _, ok := o["needs"]; !ok && len(p.Stages) > 0 && p.Stages[len(p.Stages)-1].Aftermath == st.Aftermath {
			st.Needs = []string{p.Stages[len(p.Stages)-1].Name}
		}
		if env := st.Environment(); env != "" {
			p.Environments[env] = s.rules[env]
		}
		p.Stages = append(p.Stages, st)
	}
	s.plans[name], s.last = p, name
	return nil
}

func newStage(words []string, o map[string]string) (pipeline.Stage, error) {
	st := pipeline.Stage{
		Name: words[0], Kind: pipeline.StageKind(words[1]), Needs: list(o["needs"]), OnFailure: pipeline.FailStop,
		Skip: o["skip"], Dynamic: o["if"] != "", If: o["if"],
	}
	if o["on_failure"] != "" {
		st.OnFailure = pipeline.OnFailure(o["on_failure"])
	}
	st.NoWayBack, st.Aftermath = o["rollback"] == "never", o["aftermath"] == "true"
	for _, name := range list(o["check"]) {
		c := pipeline.Check{Name: name, Every: 10 * time.Second, HTTP: &pipeline.HTTPCheck{URL: "https://shop.example.com"}}
		c.For, _ = time.ParseDuration(o["for"])
		c.Failures, _ = strconv.Atoi(o["failures"])
		st.Checks = append(st.Checks, c)
	}
	st.Retry, _ = strconv.Atoi(o["retry"])
	st.Timeout, _ = time.ParseDuration(o["timeout"])
	switch st.Kind {
	case pipeline.KindDeploy:
		st.Deploy = &pipeline.Deploy{Environment: words[2], Strategy: pipeline.StrategyRolling, Manifests: "deploy"}
		if o["on_failure"] == "" {
			st.OnFailure = pipeline.FailRollback
		}
		if o["strategy"] != "" {
			st.Deploy.Strategy = pipeline.Strategy(o["strategy"])
			st.Deploy.Standby, _ = time.ParseDuration(o["standby"])
			st.Deploy.KeepFailed, _ = time.ParseDuration(o["keep_failed"])
		}
	case pipeline.KindRun:
		st.Run = &pipeline.Run{Environment: words[2], Image: "shop:1"}
	case pipeline.KindCanary:
		st.Canary = newCanary(words[2], o)
	case pipeline.KindValidate:
	case pipeline.KindTrigger:
		st.Trigger = &pipeline.Trigger{}
	case pipeline.KindNotify:
		st.Notify = &pipeline.Notify{Channel: "#oncall", Text: "look"}
	case pipeline.KindJudgement:
		q, _ := strconv.Atoi(o["quorum"])
		expires, _ := time.ParseDuration(o["expires"])
		st.Judgement = &pipeline.Judgement{
			Ask: "Go?", Quorum: max(q, 1), Expires: expires, Environment: o["environment"],
			Rule: policy.Rule{Approvers: list(o["approvers"]), Not: list(o["not"])},
		}
	case pipeline.KindWait:
		d, err := time.ParseDuration(words[2])
		if err != nil {
			return st, err
		}
		st.Wait = &pipeline.Wait{For: d}
	case pipeline.KindJob:
		st.Job = &pipeline.Job{Name: words[2]}
	case pipeline.KindRollback:
		return st, fmt.Errorf("no file has a rollback stage")
	default:
		return st, fmt.Errorf("stage kind %q", st.Kind)
	}
	return st, nil
}

// good lets every effect go well until only people and time can go on. With names, it
// does so for these deliveries; "until KEY,KEY" leaves these effects.
func (s *script) good(words []string) error {
	only := map[string]bool{}
	var stop []string
	for i := range words {
		if words[i] == "until" {
			stop = list(words[i+1])
			break
		}
		only[s.id(words[i])] = true
	}
	for range 1000 {
		p, found := s.next(only, stop)
		if !found {
			return nil
		}
		e, err := s.outcome(p)
		if err != nil {
			return err
		}
		if err := s.world.Finish(p, e); err != nil {
			return err
		}
		if err := s.settle(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the good world never ends")
}

func (s *script) next(only map[string]bool, stop []string) (pipelinetest.Pending, bool) {
	for _, p := range s.world.Pending() {
		held := slices.Contains(stop, p.Effect.Key) || pipelinetest.Endless(p.Effect.Do) || s.report && pipelinetest.IsReport(p.Effect.Do)
		if (len(only) == 0 || only[p.Of]) && !held {
			return p, true
		}
	}
	return pipelinetest.Pending{}, false
}

func (s *script) outcome(p pipelinetest.Pending) (pipeline.Event, error) {
	if do, ok := p.Effect.Do.(pipeline.Identify); ok {
		return pipeline.Identified{Request: do.Request.Key, Person: s.people[do.Request.Username]}, nil
	}
	return s.world.Good(p)
}
