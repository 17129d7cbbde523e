package spec

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// What holds where the file says nothing.
const (
	deployTimeout = 30 * time.Minute
	jobTimeout    = time.Hour
	askExpires    = 24 * time.Hour
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
	c := &compiler{f: f, in: in, op: op, problems: &problems{file: f.name}, vars: variables(in, nil), graph: newGraph(f.Stages)}
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
	for i, l := range f.Links {
		at := fmt.Sprintf("links[%d]", i)
		c.plan.Links = append(c.plan.Links, pipeline.Link{Title: c.fill(at+".title", l.Title), URL: c.fill(at+".url", l.URL)})
	}
	for i := range f.Stages {
		c.plan.Stages = append(c.plan.Stages, c.stage(i, &f.Stages[i]))
	}
	c.judgements()
	c.judged()
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
	graph    *graph
	plan     *pipeline.Plan
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
	if c.dynamic {
		// What people wrote, such as a title, must never become an expression.
		s = strings.ReplaceAll(s, opening, opening+` "`+opening+`" `+closing)
	}
	return s
}

func raw(text scalar) string {
	switch x := text.(type) {
	case Channel:
		return string(x)
	case Text:
		return string(x)
	case URL:
		return string(x)
	case Environment:
		return string(x)
	case Path:
		return string(x)
	case Image:
		return string(x)
	}
	panic(fmt.Sprintf("spec: %T holds no expressions", text))
}

func (c *compiler) stage(i int, s *Stage) pipeline.Stage {
	at := fmt.Sprintf("stages[%d]", i)
	st := pipeline.Stage{
		Name: string(s.Name), Kind: pipeline.StageKind(s.kinds()[0]), Retry: s.Retry, Timeout: s.Timeout.Span(), OnFailure: s.OnFailure,
	}
	for _, n := range c.graph.needs[i] {
		st.Needs = append(st.Needs, string(c.f.Stages[n].Name))
	}
	c.condition(&st, at+".if")
	c.skipped, c.dynamic = st.Skip != "", false
	for key, t := range c.f.templates {
		if t.dynamic && strings.HasPrefix(key, at+".") && !c.skipped {
			c.dynamic = true
		}
	}
	st.Dynamic = c.dynamic
	onFailure, timeout := pipeline.FailStop, time.Duration(0)
	switch {
	case s.Deploy != nil:
		onFailure, timeout = pipeline.FailRollback, deployTimeout
		st.Deploy = c.deploy(at+".deploy", s.Deploy)
	case s.Judgement != nil:
		st.Judgement = c.judgement(at+".judgement", s.Judgement)
	case s.Wait != nil:
		st.Wait = &pipeline.Wait{For: s.Wait.For.Span()}
	case s.Job != nil:
		timeout = jobTimeout
		st.Job = &pipeline.Job{Name: c.fill(at+".job.name", s.Job.Name)}
	}
	st.OnFailure, st.Timeout = cmp.Or(st.OnFailure, onFailure), cmp.Or(st.Timeout, timeout)
	return st
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

func (c *compiler) deploy(at string, d *Deploy) *pipeline.Deploy {
	out := &pipeline.Deploy{
		Environment: c.fill(at+".environment", d.Environment), Strategy: cmp.Or(d.Strategy, pipeline.StrategyRolling),
		Manifests: c.fill(at+".manifests", d.Manifests), ProgressDeadline: d.ProgressDeadline.Span(),
	}
	for _, name := range slices.Sorted(keys(d.Images)) {
		if out.Images == nil {
			out.Images = map[string]string{}
		}
		out.Images[name] = c.fill(join(at+".images", name), d.Images[name])
	}
	if out.Environment == "" {
		return out
	}
	rules, err := c.op.Environment(c.in.Project.Path, out.Environment)
	if err != nil {
		c.add(at+".environment", err.Error(), "")
		return out
	}
	c.plan.Environments[out.Environment] = rules
	if branch := c.in.MergeRequest.TargetBranch; !c.skipped && !MayDeployFrom(rules, branch, c.in.Project.DefaultBranch) {
		allowed := "the default branch"
		if len(rules.Branches) > 0 {
			allowed = strings.Join(rules.Branches, ", ")
		}
		c.add(at+".environment", fmt.Sprintf("%s is not deployed to from %s", quote(out.Environment), quote(branch)),
			fmt.Sprintf("only from %s; an operator can allow other branches", allowed))
	}
	return out
}

// MayDeployFrom tells whether what was merged into a branch may be deployed to an environment.
// Whoever can make a branch can merge into it what nobody has reviewed, with a pipeline file
// that allows it: so the operator says which branches count.
func MayDeployFrom(rules pipeline.EnvironmentRules, branch, defaultBranch string) bool {
	if len(rules.Branches) == 0 {
		return branch != "" && branch == defaultBranch
	}
	return slices.ContainsFunc(rules.Branches, func(pattern string) bool {
		ok, err := path.Match(pattern, branch)
		return err == nil && ok
	})
}

func (c *compiler) judgement(at string, j *Judgement) *pipeline.Judgement {
	out := &pipeline.Judgement{
		Ask: c.fill(at+".ask", j.Ask), Quorum: cmp.Or(j.Quorum, 1), Expires: cmp.Or(j.Expires.Span(), askExpires),
	}
	for _, a := range j.Approvers {
		out.Rule.Approvers = append(out.Rule.Approvers, string(a))
	}
	for _, n := range j.Not {
		out.Rule.Not = append(out.Rule.Not, string(n))
	}
	return out
}

// judgements tells each question which environment comes after it.
func (c *compiler) judgements() {
	order := c.graph.order()
	for i := range c.plan.Stages {
		j := c.plan.Stages[i].Judgement
		if j == nil {
			continue
		}
		for _, k := range order {
			st := &c.plan.Stages[k]
			if st.Deploy == nil || st.Skip != "" || !c.graph.before(k)[i] {
				continue
			}
			rules := c.plan.Environments[st.Deploy.Environment]
			j.Environment, j.Confirm = st.Deploy.Environment, rules.Tier == "production" || rules.Judged
			break
		}
	}
}

// judged refuses a deploy that could reach a judged environment without the approval
// that the operator's rules ask for.
func (c *compiler) judged() {
	for i := range c.plan.Stages {
		st := &c.plan.Stages[i]
		if st.Deploy == nil || st.Skip != "" || !c.plan.Environments[st.Deploy.Environment].Judged {
			continue
		}
		before, why := c.graph.before(i), "add a judgement stage before it"
		ok := false
		for k := range c.plan.Stages {
			if !before[k] || c.plan.Stages[k].Judgement == nil {
				continue
			}
			no := c.cannotJudge(&c.plan.Stages[k], st.Deploy.Environment)
			if no == "" {
				ok = true
				break
			}
			why = no
		}
		if !ok {
			c.add(fmt.Sprintf("stages[%d].deploy.environment", i),
				fmt.Sprintf("%s may only be deployed to after an approval", quote(st.Deploy.Environment)), why)
		}
	}
}

// cannotJudge says why an earlier judgement is no approval for the environment.
func (c *compiler) cannotJudge(st *pipeline.Stage, environment string) string {
	asked := st.Judgement.Environment
	own, its := c.plan.Environments[environment].Rule, c.plan.Environments[asked].Rule
	switch {
	case st.Skip != "" || st.If != "":
		return fmt.Sprintf("judgement %s does not count, because its condition can leave it out", st.Name)
	case st.OnFailure == pipeline.FailContinue:
		return fmt.Sprintf("judgement %s does not count, because the delivery goes on when it is rejected", st.Name)
	case asked != environment && !own.IsZero() && !sameRule(own, its):
		return fmt.Sprintf("judgement %s asks about %s, whose approvers are others, so add one after that", st.Name, asked)
	}
	return ""
}

func sameRule(a, b policy.Rule) bool {
	return slices.Equal(a.Approvers, b.Approvers) && slices.Equal(a.Not, b.Not)
}
