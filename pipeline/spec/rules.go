package spec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// enter takes over the operator's rules for an environment in which a stage does something.
func (c *compiler) enter(path, environment string) {
	if environment == "" {
		return
	}
	rules, err := c.op.Environment(c.in.Project.Path, environment)
	if err != nil {
		c.add(path, err.Error(), "")
		return
	}
	c.plan.Environments[environment] = rules
	if what, hint := forReview(rules, c.lane.review); what != "" && !c.skipped {
		c.add(path, quote(environment)+" "+what, hint)
		return
	}
	if c.lane.review {
		return // the operator has said so: reviews come from any branch of the project
	}
	if branch := c.in.MergeRequest.TargetBranch; !c.skipped && !MayDeployFrom(rules, branch, c.in.Project.DefaultBranch) {
		allowed := "the default branch"
		if len(rules.Branches) > 0 {
			allowed = strings.Join(rules.Branches, ", ")
		}
		c.add(path, fmt.Sprintf("%s is not deployed to from %s", quote(environment), quote(branch)),
			fmt.Sprintf("only from %s; an operator can allow other branches", allowed))
	}
}

// forReview says why a review, or a merge, may not deploy to an environment at all, and what
// to do; "" if it may.
func forReview(rules pipeline.EnvironmentRules, review bool) (what, hint string) {
	switch {
	case review && !rules.Review:
		return "is no review environment", "an operator can make one with review: true"
	case !review && rules.Review:
		return "is a review environment, to which merges do not deploy", "name another"
	}
	return "", ""
}

// MayDeploy tells whether a delivery may deploy to an environment: a review to review
// environments, and what was merged into a branch to those that may be deployed from it.
func MayDeploy(rules pipeline.EnvironmentRules, review bool, branch, defaultBranch string) bool {
	if what, _ := forReview(rules, review); what != "" {
		return false
	}
	return review || MayDeployFrom(rules, branch, defaultBranch)
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

// entry is an environment in which a stage does something, and the key that names it.
type entry struct{ path, environment string }

// entries are where stage i of the plan does something: it deploys, or runs a Job, by itself
// or as a check.
func (c *compiler) entries(i int) []entry {
	st, at := &c.plan.Stages[i], c.lane.at(i)
	if st.Skip != "" {
		return nil
	}
	var found []entry
	add := func(path, environment string) {
		if !slices.ContainsFunc(found, func(e entry) bool { return e.environment == environment }) {
			found = append(found, entry{path, environment})
		}
	}
	if own := st.Environment(); own != "" {
		add(fmt.Sprintf("%s.%s.environment", at, st.Kind), own)
	}
	key := "check"
	if st.Kind == pipeline.KindValidate {
		key = "validate"
	}
	for n, check := range st.Checks {
		if check.Job != nil {
			add(fmt.Sprintf("%s.%s[%d].job.environment", at, key, n), check.Job.Environment)
		}
	}
	return found
}

// judgements tells each question which environment comes after it.
func (c *compiler) judgements() {
	order := c.graph.order()
	for i := range c.plan.Stages {
		if canary := c.plan.Stages[i].Canary; canary != nil && canary.Question != nil {
			rules := c.plan.Environments[canary.Environment]
			canary.Question.Confirm = rules.Tier == "production" || rules.Judged
		}
		j := c.plan.Stages[i].Judgement
		if j == nil {
			continue
		}
		for _, k := range order {
			entries := c.entries(k)
			if len(entries) == 0 || !c.graph.before(k)[i] {
				continue
			}
			j.Environment = entries[0].environment
			rules := c.plan.Environments[j.Environment]
			j.Confirm = rules.Tier == "production" || rules.Judged
			break
		}
	}
}

// judged refuses a stage that could do something in a judged environment without the
// approval that the operator's rules ask for.
func (c *compiler) judged() {
	for i := range c.lane.stages {
		for _, e := range c.entries(i) {
			if !c.plan.Environments[e.environment].Judged {
				continue
			}
			if why := c.notApproved(i, e.environment); why != "" {
				c.add(e.path, fmt.Sprintf("%s may only be deployed to after an approval", quote(e.environment)), why)
			}
		}
	}
}

// notApproved says why no judgement before stage i is an approval for the environment.
func (c *compiler) notApproved(i int, environment string) string {
	before, why := c.graph.before(i), "add a judgement stage before it"
	for k := range c.lane.stages {
		if !before[k] || c.plan.Stages[k].Judgement == nil {
			continue
		}
		if why = c.cannotJudge(&c.plan.Stages[k], environment); why == "" {
			return ""
		}
	}
	return why
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
