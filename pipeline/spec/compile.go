package spec

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// What holds where the file says nothing.
const (
	deployTimeout = 30 * time.Minute
	jobTimeout    = time.Hour
	askExpires    = 24 * time.Hour
	// Most of what goes wrong with a release shows in its first minutes, and until then it
	// costs nothing but the pods of the release before to be able to take it back at once.
	standbyDefault = 10 * time.Minute
	checkEvery     = 10 * time.Second
)

// Input is what a file is compiled for.
type Input struct {
	Project      pipeline.Project
	Commit       pipeline.Commit
	MergeRequest pipeline.MergeRequest
}

// Operator is what the server's own configuration says. It wins over the file.
type Operator interface {
	// Environment gives the rules of an environment, or an error that tells people
	// which environments the project may use.
	Environment(projectPath, name string) (pipeline.EnvironmentRules, error)
	// Knows tells whether the project may deploy anywhere.
	Knows(projectPath string) bool
	// Defaults gives what holds for the project besides environments.
	Defaults(projectPath string) Defaults
}

// Defaults are the operator's, for one project.
type Defaults struct {
	Channel string // Slack channel for files that name none, "" if none
	TurnRed bool   // a failed stage posts a failed commit status
	// Sources are the metrics sources that checks and canaries may ask, by the operator's names.
	Sources []string
	// Metrics are the operator's metrics that canaries use by name. Their queries are templates.
	Metrics map[string]pipeline.CanaryMetric
	// TriggerRefs are patterns of the branches and tags on which trigger stages may start CI
	// pipelines, besides the branch that was merged into.
	TriggerRefs []string
	// JobNames are patterns of the jobs that job stages may play; without one they may play any.
	JobNames []string
	// Channels are patterns of the Slack channels that files may name. Reviews may name no others, and if ChannelsHeld
	// nobody may.
	Channels     []string
	ChannelsHeld bool
}

// Delivers tells whether a merge into this branch starts a delivery. The reason is
// a sentence for people, for a no.
func (f *File) Delivers(project pipeline.Project, mr pipeline.MergeRequest) (yes bool, reason string) {
	into := cmp.Or(string(f.On.Merge.Into), project.DefaultBranch)
	if into == "" || into == mr.TargetBranch {
		return true, ""
	}
	if ok, err := path.Match(into, mr.TargetBranch); err == nil && ok {
		return true, ""
	}
	return false, fmt.Sprintf("merges into %s are delivered, this one went into %s", into, mr.TargetBranch)
}

// Compile makes the plan for a commit: what is asked for is filled in, spelled out
// and held against the operator's rules. The plan is nil if there are problems. Ask
// Delivers first whether the merge is meant at all.
func Compile(f *File, in Input, op Operator) (*pipeline.Plan, []pipeline.Problem) {
	return compile(f, in, op, f.mergeLane())
}

// CompileReview makes the plan of a review for a commit of an open merge request. The file
// has to have a review.
func CompileReview(f *File, in Input, op Operator) (*pipeline.Plan, []pipeline.Problem) {
	plan, problems := compile(f, in, op, f.reviewLane())
	if plan != nil {
		plan.After, plan.AftermathOn = cmp.Or(f.Review.After, pipeline.AfterPipeline), nil
		plan.Channel = "" // every push would ring there; people look at the merge request
	}
	return plan, problems
}

func compile(f *File, in Input, op Operator, l lane) (*pipeline.Plan, []pipeline.Problem) {
	c := &compiler{f: f, in: in, op: op, problems: &problems{file: f.name}, vars: variables(in, string(f.Application), nil), lane: l, graph: newGraph(l.stages)}
	defaults := op.Defaults(in.Project.Path)
	c.plan = &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: string(f.Application),
		Project: in.Project, Commit: in.Commit, MergeRequest: in.MergeRequest,
		After:        cmp.Or(f.On.Merge.After, pipeline.AfterPipeline),
		Concurrency:  cmp.Or(f.Concurrency, pipeline.Supersede),
		Channel:      cmp.Or(c.fill("slack", f.Slack), defaults.Channel),
		TurnRed:      defaults.TurnRed,
		Environments: map[string]pipeline.EnvironmentRules{},
	}
	if c.plan.ChannelsHeld = defaults.ChannelsHeld || l.review; c.plan.ChannelsHeld {
		c.plan.Channels = defaults.Channels
	}
	if c.f.given("slack") && !l.review {
		c.mayTell("slack", c.plan.Channel)
	}
	for i, l := range f.Links {
		at := fmt.Sprintf("links[%d]", i)
		c.plan.Links = append(c.plan.Links, pipeline.Link{Title: c.fill(at+".title", l.Title), URL: c.fill(at+".url", l.URL)})
	}
	c.defaults = defaults
	for i := range l.stages {
		st := c.stage(l.at(i), &l.stages[i])
		for _, n := range c.graph.needs[i] {
			st.Needs = append(st.Needs, string(l.stages[n].Name))
		}
		c.plan.Stages = append(c.plan.Stages, st)
	}
	c.aftermath()
	c.canaries()
	c.judgements()
	if !l.review { // whose environments are never judged
		c.judged()
	}
	if len(c.problems.list) > 0 {
		return nil, c.problems.told()
	}
	return c.plan, nil
}

type compiler struct {
	f        *File
	in       Input
	op       Operator
	problems *problems
	vars     map[string]any
	lane     lane
	graph    *graph
	plan     *pipeline.Plan
	defaults Defaults
	lang     *language // of queries of the operator's; nil until there is one
	// Of the stage at hand. skipped: it never runs, so its texts may stay as they are.
	// dynamic: its texts are read as templates once more, when its turn comes.
	skipped, dynamic bool
}

func (c *compiler) add(path, what, hint string) { c.problems.add(c.f.spots[path].at, what, hint) }

// fill gives the text of a key with its expressions filled in, unless they ask for
// earlier stages.
func (c *compiler) fill(path string, text scalar) string {
	raw := raw(text)
	t := c.f.templates[path]
	if t == nil || t.dynamic {
		return raw
	}
	if _, ok := text.(Query); ok {
		return c.query(path, raw, t)
	}
	s, err := t.fill(c.vars)
	switch {
	case err != nil && c.skipped:
		return raw
	case err != nil:
		c.add(path, err.Error(), "")
		return ""
	}
	if what, hint := text.check(s); what != "" && !c.skipped {
		c.add(path, what, hint)
	}
	return c.literal(s)
}

func raw(text scalar) string { return reflect.ValueOf(text).String() }

// literal keeps a text that is filled in already from being read as a template once more:
// what people wrote, such as a title, must never become an expression.
func (c *compiler) literal(s string) string {
	if !c.dynamic {
		return s
	}
	return strings.ReplaceAll(s, opening, literalOpening)
}

// literalOpening stands for ${{ in a text that is read as a template once more.
const literalOpening = opening + ` "` + opening + `" ` + closing

// filled is a copy of a value of the file, at its path, with its texts filled in.
func (c *compiler) filled(path string, v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(c.filled(path, v.Elem()))
		}
	case reflect.Struct:
		fields, _ := fieldsOf(v.Type())
		for key, f := range fields {
			out.FieldByIndex(f.index).Set(c.filled(join(path, key), v.FieldByIndex(f.index)))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		}
		for i := range v.Len() {
			out.Index(i).Set(c.filled(fmt.Sprintf("%s[%d]", path, i), v.Index(i)))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
		}
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), c.filled(join(path, it.Key().String()), it.Value()))
		}
	default:
		out.Set(v)
		if text, ok := v.Interface().(scalar); ok && text.templated() {
			out.SetString(c.fill(path, text))
		}
	}
	return out
}

// stage compiles a stage, without its needs.
func (c *compiler) stage(at string, s *Stage) pipeline.Stage {
	st := pipeline.Stage{
		Name: string(s.Name), Kind: s.kinds()[0], Retry: s.Retry, NoWayBack: s.Rollback != "",
		OnFailure: cmp.Or(s.OnFailure, s.onFailure()), Timeout: cmp.Or(s.Timeout.Span(), s.timeout()),
	}
	c.condition(&st, at+".if")
	c.skipped, c.dynamic = st.Skip != "", false
	for key, t := range c.f.templates {
		if t.dynamic && strings.HasPrefix(key, at+".") && !c.skipped {
			c.dynamic = true
		}
	}
	st.Dynamic = c.dynamic
	filled, ok := c.filled(at, reflect.ValueOf(*s)).Interface().(Stage)
	if !ok {
		panic("spec: the copy of a stage is no stage")
	}
	s = &filled
	switch {
	case s.Deploy != nil:
		st.Deploy = s.Deploy.plan()
		if c.lane.review && s.OnFailure == "" {
			st.OnFailure = pipeline.FailStop // people look at what went wrong
		}
		c.enter(at+".deploy.environment", st.Deploy.Environment)
	case s.Canary != nil:
		st.Canary = c.canary(at+".canary", s.Canary)
		c.enter(at+".canary.environment", st.Canary.Environment)
	case s.Run != nil:
		st.Run = s.Run.plan()
		c.enter(at+".run.environment", st.Run.Environment)
	case s.Judgement != nil:
		st.Judgement = s.Judgement.plan()
	case s.Wait != nil:
		st.Wait = &pipeline.Wait{For: s.Wait.For.Span()}
	case s.Job != nil:
		st.Job = c.job(at+".job", s.Job)
	case s.Trigger != nil:
		st.Trigger = c.trigger(at+".trigger", s.Trigger)
	case s.Notify != nil:
		st.Notify = c.notify(at+".notify", s.Notify)
	}
	st.Checks = append(c.checks(at+".check", s.Check, s), c.checks(at+".validate", s.Validate, s)...)
	return st
}

// aftermath compiles the stages of rollback; each needs the one before.
func (c *compiler) aftermath() {
	if len(c.lane.then) == 0 {
		return
	}
	var before []string
	for i := range c.lane.then {
		st := c.stage(thenPath(i), &c.lane.then[i])
		st.Aftermath, st.Needs = true, before
		if c.lane.then[i].OnFailure == "" {
			st.OnFailure = pipeline.FailContinue // that one message is lost must not keep the others
		}
		c.plan.Stages, before = append(c.plan.Stages, st), []string{st.Name}
	}
	ends := map[string]pipeline.Status{"failed": pipeline.StatusFailed, "rolled-back": pipeline.StatusRolledBack}
	for _, name := range []string{"failed", "rolled-back"} {
		if on := c.f.Rollback.On; len(on) == 0 || slices.Contains(on, name) {
			c.plan.AftermathOn = append(c.plan.AftermathOn, ends[name])
		}
	}
}

// condition decides what can be decided now.
func (c *compiler) condition(st *pipeline.Stage, at string) {
	t := c.f.templates[at]
	if t == nil {
		return
	}
	text := t.parts[0].expr.text
	if t.dynamic {
		st.If = text
		return
	}
	yes, err := t.test(c.vars)
	switch {
	case err != nil:
		c.add(at, err.Error(), "")
	case !yes:
		st.Skip = clip(oneLine(text), 200)
	}
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
