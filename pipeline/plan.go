package pipeline

import (
	"path"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// PlanSchema is the version of the stored form of Plan.
const PlanSchema = 2

// Plan is a pipeline compiled for one commit and frozen when its delivery starts.
// Every template in it that does not depend on earlier stages is already filled in.
type Plan struct {
	Schema       int          `json:"schema"`
	Application  string       `json:"application"`
	Project      Project      `json:"project"`
	Commit       Commit       `json:"commit"`
	MergeRequest MergeRequest `json:"merge_request"`
	After        After        `json:"after"`
	Concurrency  Concurrency  `json:"concurrency"`
	Channel      string       `json:"channel,omitempty"` // Slack channel, "#name" or id
	Links        []Link       `json:"links,omitempty"`
	Stages       []Stage      `json:"stages"`
	// Environments holds the operator's rules for each environment that the stages name.
	Environments map[string]EnvironmentRules `json:"environments,omitempty"`
	// AftermathOn says which ends of the delivery make the stages run that are Aftermath.
	AftermathOn []Status `json:"aftermath_on,omitempty"`
	// TurnRed: a failed stage posts a failed commit status, which fails the CI pipeline.
	TurnRed bool `json:"turn_red,omitempty"`
	// TriggerRefs are the operator's patterns of the branches and tags on which trigger stages may start CI pipelines,
	// besides the branch that was merged into.
	TriggerRefs []string `json:"trigger_refs,omitempty"`
	// JobNames are the operator's patterns of the jobs that job stages may play; without one they may play any.
	JobNames []string `json:"job_names,omitempty"`
	// Channels are the operator's patterns of the Slack channels that the file may name, if ChannelsHeld.
	Channels     []string `json:"channels,omitempty"`
	ChannelsHeld bool     `json:"channels_held,omitempty"`
}

// MayTrigger tells whether a stage may start a CI pipeline on a branch or tag. Whoever could merge into one branch may not
// be allowed to start anything on others, and the CI pipeline is started by Slipway's user.
func (p *Plan) MayTrigger(ref string) bool {
	return ref == "" || ref == p.Commit.Ref || matches(p.TriggerRefs, ref)
}

// MayPlay tells whether a stage may play a job of the CI pipeline, which is played by Slipway's user.
func (p *Plan) MayPlay(job string) bool { return len(p.JobNames) == 0 || matches(p.JobNames, job) }

// MayTell tells whether the pipeline file may send something to a Slack channel: "#name", or its id.
func (p *Plan) MayTell(channel string) bool {
	return !p.ChannelsHeld || slices.ContainsFunc(p.Channels, func(pattern string) bool {
		return matches([]string{strings.TrimPrefix(pattern, "#")}, strings.TrimPrefix(channel, "#"))
	})
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	})
}

// Project is a GitLab project.
type Project struct {
	ID            int64  `json:"id"`
	Path          string `json:"path"` // with namespace: "shop/api"
	URL           string `json:"url"`
	DefaultBranch string `json:"default_branch,omitempty"`
}

// Commit is what is delivered.
type Commit struct {
	SHA      string `json:"sha"`
	ShortSHA string `json:"short_sha"` // the first 8 digits
	Ref      string `json:"ref"`       // the branch that was merged into
	Title    string `json:"title,omitempty"`
	Author   string `json:"author,omitempty"`
	// AuthorEmail and CommitterEmail identify the people that `not:` may exclude.
	AuthorEmail    string `json:"author_email,omitempty"`
	CommitterEmail string `json:"committer_email,omitempty"`
}

// MergeRequest is what was merged. Titles are text that people wrote.
type MergeRequest struct {
	IID            int64     `json:"iid"`
	Title          string    `json:"title"`
	URL            string    `json:"url"`
	SourceBranch   string    `json:"source_branch,omitempty"`
	TargetBranch   string    `json:"target_branch,omitempty"`
	Labels         []string  `json:"labels,omitempty"`
	AuthorID       int64     `json:"author_id,omitempty"`
	AuthorUsername string    `json:"author_username,omitempty"`
	MergedByID     int64     `json:"merged_by_id,omitempty"`
	MergedBy       string    `json:"merged_by,omitempty"` // username
	MergedAt       time.Time `json:"merged_at,omitzero"`
}

// Link is shown with a delivery.
type Link struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// After says what starts the stages.
type After string

const (
	AfterMerge    After = "merge"    // at once
	AfterPipeline After = "pipeline" // when the commit's CI pipeline has passed
	AfterPush     After = "push"     // at once, for a review
)

// Concurrency says what a newer delivery does to an older one that has not started
// in the same environment.
type Concurrency string

const (
	Queue     Concurrency = "queue"     // it waits for its turn
	Supersede Concurrency = "supersede" // the older one ends
)

// OnFailure says what follows when a stage fails for good.
type OnFailure string

const (
	FailStop     OnFailure = "stop"     // the delivery fails; what runs stays as it is
	FailRollback OnFailure = "rollback" // what was deployed goes back to the recorded release, then the delivery fails
	FailContinue OnFailure = "continue" // the failure is shown, and the stages after it go on
)

// StageKind tells what a stage does; exactly that field of Stage is set.
type StageKind string

const (
	KindDeploy    StageKind = "deploy"
	KindCanary    StageKind = "canary"
	KindJudgement StageKind = "judgement"
	KindWait      StageKind = "wait"
	KindJob       StageKind = "job"
	KindValidate  StageKind = "validate"
	KindRun       StageKind = "run"
	KindTrigger   StageKind = "trigger"
	KindNotify    StageKind = "notify"
	KindRollback  StageKind = "rollback" // made by a rollback command, not written in files
	KindTearDown  StageKind = "teardown" // made when a merge request ends, not written in files
)

// Stage is one node of the plan's graph.
type Stage struct {
	Name  string    `json:"name"`
	Kind  StageKind `json:"kind"`
	Needs []string  `json:"needs,omitempty"` // always spelled out in a compiled plan
	// Skip is the reason why a condition that needs no earlier stage said no; "" runs.
	Skip string `json:"skip,omitempty"`
	// Dynamic: If or a template asks for earlier stages, so an Evaluate effect
	// resolves the stage when its turn comes.
	Dynamic   bool          `json:"dynamic,omitempty"`
	If        string        `json:"if,omitempty"`
	Timeout   time.Duration `json:"timeout,omitempty"` // of one attempt, in nanoseconds; 0 is the default of its kind
	Retry     int           `json:"retry,omitempty"`   // further attempts after the first
	OnFailure OnFailure     `json:"on_failure"`
	// NoWayBack: what this stage did to its environment, such as a migration, does not go
	// back, so that no release of it is rolled back without asking people.
	NoWayBack bool `json:"no_way_back,omitempty"`
	// Aftermath: the stage runs only after the delivery has failed or rolled back. See Plan.AftermathOn.
	Aftermath bool `json:"aftermath,omitempty"`
	// Checks have to pass after the stage has done its work, before it counts as succeeded.
	Checks []Check `json:"checks,omitempty"`

	Deploy    *Deploy    `json:"deploy,omitempty"`
	Canary    *Canary    `json:"canary,omitempty"`
	Judgement *Judgement `json:"judgement,omitempty"`
	Wait      *Wait      `json:"wait,omitempty"`
	Job       *Job       `json:"job,omitempty"`
	Run       *Run       `json:"run,omitempty"`
	Trigger   *Trigger   `json:"trigger,omitempty"`
	Notify    *Notify    `json:"notify,omitempty"`
	Rollback  *Rollback  `json:"rollback,omitempty"`
	TearDown  *Removal   `json:"tear_down,omitempty"`
}

// Environment is the environment that the stage takes, "" if none.
func (s Stage) Environment() string {
	switch {
	case s.Deploy != nil:
		return s.Deploy.Environment
	case s.Canary != nil:
		return s.Canary.Environment
	case s.Rollback != nil:
		return s.Rollback.Environment
	case s.Run != nil:
		return s.Run.Environment
	case s.TearDown != nil:
		return s.TearDown.Environment
	}
	return ""
}

// Deploys tells that the stage changes which release runs in its environment.
func (s Stage) Deploys() bool { return s.Deploy != nil || s.Rollback != nil }

// Strategy is how a release replaces the one before.
type Strategy string

const (
	// StrategyRolling lets each workload's own controller roll its pods.
	StrategyRolling Strategy = "rolling"
	// StrategyBlueGreen brings the release up at full size beside the one that serves, and
	// then moves the traffic in one step. The one before stays on hot standby for a while.
	StrategyBlueGreen Strategy = "blue-green"
)

// Prune says what becomes of objects that the release before had and this one hasn't.
type Prune string

const (
	PruneObjects Prune = "objects" // they are removed, but not volume claims
	PruneVolumes Prune = "volumes" // volume claims are removed, too
	PruneNothing Prune = "nothing"
)

// Traffic says what moves traffic between two releases; without it Service selectors do.
type Traffic struct {
	// HTTPRoute is the name of a Gateway API route in the environment's namespace.
	HTTPRoute string `json:"httproute"`
	// PreviewHeader with PreviewValue leads a request to the release that does not serve yet.
	PreviewHeader string `json:"preview_header,omitempty"`
	PreviewValue  string `json:"preview_value,omitempty"`
}

// Helm says how a chart is rendered.
type Helm struct {
	Values  []string          `json:"values,omitempty"`  // files in the repository; later ones win
	Set     map[string]string `json:"set,omitempty"`     // dotted keys, as helm's --set; they win over files
	Release string            `json:"release,omitempty"` // name; "" is the application's
}

// Deploy brings the commit's manifests into an environment.
type Deploy struct {
	Environment string            `json:"environment"`
	Strategy    Strategy          `json:"strategy"`
	Manifests   string            `json:"manifests"`        // path in the repository: a file, a folder, or a kustomization
	Images      map[string]string `json:"images,omitempty"` // image name → tag, digest ("sha256:…") or full reference
	// ProgressDeadline is how long the rollout may stand still; 0 leaves it to the manifests.
	ProgressDeadline time.Duration `json:"progress_deadline,omitempty"`
	Helm             *Helm         `json:"helm,omitempty"`
	Prune            Prune         `json:"prune,omitempty"` // "" is PruneObjects
	Traffic          *Traffic      `json:"traffic,omitempty"`
	// Standby is how long the release before stays ready to take the traffic back.
	Standby time.Duration `json:"standby,omitempty"`
	// KeepFailed is how long a blue-green release that was rolled back stays for people to
	// look at, without traffic.
	KeepFailed time.Duration `json:"keep_failed,omitempty"`
	// Hosts replaces host names in Ingresses and routes: what the manifests say → what it shall be.
	Hosts map[string]string `json:"hosts,omitempty"`
}

// Judgement is a question to people.
type Judgement struct {
	Ask     string        `json:"ask"`
	Rule    policy.Rule   `json:"rule"`
	Quorum  int           `json:"quorum"` // approvals by different people; at least 1
	Expires time.Duration `json:"expires"`
	// Confirm: the button asks once more, because production comes next.
	Confirm bool `json:"confirm,omitempty"`
	// Environment is the first one that is deployed after the question, "" if none.
	Environment string `json:"environment,omitempty"`
}

// Wait lets time pass.
type Wait struct {
	For time.Duration `json:"for"`
}

// Job plays a manual job of the commit's CI pipeline and waits for its end.
type Job struct {
	Name string `json:"name"`
}

// Run runs a Kubernetes Job to its end. The Job comes from the manifests, or is made of
// Image and what follows it.
type Run struct {
	Environment string            `json:"environment"`
	Manifests   string            `json:"manifests,omitempty"` // path in the repository, as Deploy's
	Images      map[string]string `json:"images,omitempty"`
	Helm        *Helm             `json:"helm,omitempty"`
	Job         string            `json:"job,omitempty"` // which one of the manifests; "" is the only one
	Image       string            `json:"image,omitempty"`
	Command     []string          `json:"command,omitempty"`
	Args        []string          `json:"args,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	// ServiceAccount of the pod; "" is the namespace's default.
	ServiceAccount string `json:"service_account,omitempty"`
}

// Trigger starts a new GitLab CI pipeline and waits for its end.
type Trigger struct {
	Ref       string            `json:"ref,omitempty"` // a branch or tag; "" is the branch that was merged into
	Variables map[string]string `json:"variables,omitempty"`
}

// Notify sends a message to a Slack channel.
type Notify struct {
	Channel string `json:"channel"`
	Text    string `json:"text"`
}

// Rollback brings back a recorded release.
type Rollback struct {
	Environment string `json:"environment"`
	To          string `json:"to,omitempty"` // a release id; "" is the one before Of's
	// Of is the delivery that is undone: if something else runs there by now, nothing is done.
	Of string `json:"of,omitempty"`
}

// Removal takes away everything that reviews of one merge request brought to an environment.
type Removal struct {
	Environment string `json:"environment"`
}

// EnvironmentRules are the operator's, for one environment of one project.
type EnvironmentRules struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	URL       string `json:"url,omitempty"`  // of the live app
	Tier      string `json:"tier,omitempty"` // GitLab's word: production, staging, testing, development, other
	// Judged: a deploy must come after an approved judgement, and Rule holds for that
	// judgement together with the file's own rule.
	Judged bool        `json:"judged,omitempty"`
	Rule   policy.Rule `json:"rule,omitzero"`
	// Branches that may be deployed from, as globs; without one only the project's default branch.
	Branches []string `json:"branches,omitempty"`
	// Review: only reviews of open merge requests deploy here. Several such environments
	// may share the namespace, where Slug keeps their objects apart: a part of a DNS name.
	Review bool   `json:"review,omitempty"`
	Slug   string `json:"slug,omitempty"`
}

// Stage finds a stage by name.
func (p *Plan) Stage(name string) (Stage, bool) {
	if p == nil {
		return Stage{}, false
	}
	for _, s := range p.Stages {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}

// EnvironmentNames lists the environments that the stages change, each once, in order;
// none if there is no plan.
func (p *Plan) EnvironmentNames() []string {
	if p == nil {
		return nil
	}
	var names []string
	seen := map[string]bool{}
	for _, s := range p.Stages {
		if e := s.Environment(); e != "" && !seen[e] {
			seen[e] = true
			names = append(names, e)
		}
	}
	return names
}

// Question is what the stage asks people, if it does: a canary does when it is neither good nor bad.
func (s Stage) Question() *Judgement {
	switch {
	case s.Judgement != nil:
		return s.Judgement
	case s.Canary != nil:
		var q Judgement
		if s.Canary.Question != nil {
			q = *s.Canary.Question
		}
		q.Environment = s.Canary.Environment // whose rules hold, whatever the file says
		return &q
	}
	return &Judgement{}
}

// judgementRules are the rules that must all agree to an answer.
func judgementRules(plan *Plan, def Stage) []policy.Rule {
	q := def.Question()
	rules := []policy.Rule{q.Rule}
	if env, ok := plan.Environments[q.Environment]; ok && (env.Judged || !env.Rule.IsZero()) {
		rules = append(rules, env.Rule)
	}
	return rules
}
