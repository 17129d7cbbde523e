package spec

import "gitlab.com/slipway-cd/slipway/pipeline"

// The comments of the types in this file become the descriptions of the JSON Schema,
// and their tags its constraints: jsonschema.org/draft/2020-12. The decoder holds the
// same tags against the file, so that an editor and Slipway refuse the same things. A
// key without omitempty is required.

// File is the pipeline file of a repository, read at the commit that is delivered.
type File struct {
	// The version of this format. It is 1.
	Version int `json:"version" yaml:"version" jsonschema:"minimum=1,maximum=1"`
	// The name of what is delivered, as people know it.
	Application Name `json:"application" yaml:"application"`
	// What starts a delivery. Without it, a merge into the default branch does when its CI pipeline has passed.
	On On `json:"on,omitzero" yaml:"on,omitempty"`
	// The Slack channel for the messages, "#name" or its id. Without it, the operator's default is used.
	Slack Channel `json:"slack,omitempty" yaml:"slack,omitempty"`
	// Links that are shown with every delivery.
	Links []Link `json:"links,omitempty" yaml:"links,omitempty" jsonschema:"maxItems=20"`
	// What a newer delivery does to an older one that has not started in the same environment: supersede ends the older one, queue lets everybody go in the order in which they ask.
	Concurrency pipeline.Concurrency `json:"concurrency,omitempty" yaml:"concurrency,omitempty" jsonschema:"enum=queue,enum=supersede,default=supersede"`
	// What happens, in order. A stage starts when the one before has succeeded, unless it says needs.
	Stages []Stage `json:"stages" yaml:"stages" jsonschema:"minItems=1,maxItems=50"`

	name      string
	spots     map[string]spot
	templates map[string]*template
	source    *source
}

// On says what starts a delivery.
type On struct {
	// Start when a merge request was merged.
	Merge Merge `json:"merge,omitzero" yaml:"merge,omitempty"`
}

// Merge says which merges start a delivery, and when.
type Merge struct {
	// The branch that was merged into, or a glob such as release/*. Without it, the project's default branch.
	Into Glob `json:"into,omitempty" yaml:"into,omitempty"`
	// Start when the CI pipeline of the merge commit has passed (pipeline), or at once (merge).
	After pipeline.After `json:"after,omitempty" yaml:"after,omitempty" jsonschema:"enum=pipeline,enum=merge,default=pipeline"`
}

// Link is shown with every delivery.
type Link struct {
	// What the link is called.
	Title Text `json:"title" yaml:"title" jsonschema:"minLength=1,maxLength=100"`
	// Where it leads: an http or https address.
	URL URL `json:"url" yaml:"url" jsonschema:"minLength=1,maxLength=2000"`
}

// Stage is one step of the pipeline. It has exactly one of deploy, judgement, wait and job.
type Stage struct {
	// The name of the stage, unique in the file.
	Name Name `json:"name" yaml:"name"`
	// The stages that have to succeed before this one starts. Without it, the one above; with [], none.
	Needs []Name `json:"needs,omitempty" yaml:"needs,omitempty" jsonschema:"maxItems=50"`
	// A CEL expression; the stage is skipped if it is false.
	If Condition `json:"if,omitempty" yaml:"if,omitempty"`
	// How long one attempt of a deploy (default 30m) or job (default 1h) may take.
	Timeout Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	// How often a deploy or job that failed is tried again.
	Retry int `json:"retry,omitempty" yaml:"retry,omitempty" jsonschema:"minimum=0,maximum=10,default=0"`
	// What follows when the stage fails: rollback returns what was deployed to the release before, stop leaves it, continue goes on. A deploy rolls back by default, anything else stops.
	OnFailure pipeline.OnFailure `json:"on_failure,omitempty" yaml:"on_failure,omitempty" jsonschema:"enum=rollback,enum=stop,enum=continue"`

	// Bring the manifests of the commit into an environment.
	Deploy *Deploy `json:"deploy,omitempty" yaml:"deploy,omitempty"`
	// Ask people whether to go on.
	Judgement *Judgement `json:"judgement,omitempty" yaml:"judgement,omitempty"`
	// Let time pass.
	Wait *Wait `json:"wait,omitempty" yaml:"wait,omitempty"`
	// Play a manual job of the commit's CI pipeline and wait for its end.
	Job *Job `json:"job,omitempty" yaml:"job,omitempty"`
}

// Deploy brings the manifests of the commit into an environment.
type Deploy struct {
	// The GitLab environment. The operator decides which cluster and namespace that is, and who may deploy there.
	Environment Environment `json:"environment" yaml:"environment" jsonschema:"minLength=1,maxLength=255"`
	// How the new release replaces the one before. rolling lets each workload roll its pods.
	Strategy pipeline.Strategy `json:"strategy,omitempty" yaml:"strategy,omitempty" jsonschema:"enum=rolling,default=rolling"`
	// Path in the repository: a file or a folder of plain YAML, or a kustomization.
	Manifests Path `json:"manifests" yaml:"manifests" jsonschema:"minLength=1,maxLength=1000"`
	// Which image is used for an image name in the manifests: a tag, a digest (sha256:…) or a full reference.
	Images map[string]Image `json:"images,omitempty" yaml:"images,omitempty" jsonschema:"maxProperties=50"`
	// How long the rollout may stand still before it counts as failed. Without it, the manifests decide.
	ProgressDeadline Duration `json:"progress_deadline,omitempty" yaml:"progress_deadline,omitempty"`
}

// Judgement asks people whether to go on. One rejection ends the delivery.
type Judgement struct {
	// The question.
	Ask Text `json:"ask" yaml:"ask" jsonschema:"minLength=1,maxLength=1000"`
	// Who may answer: user:NAME, group:PATH or role:ROLE, one match is enough. Without it, role:developer.
	Approvers []Approver `json:"approvers,omitempty" yaml:"approvers,omitempty" jsonschema:"maxItems=50"`
	// Who may not: author, merger or user:NAME.
	Not []Excluded `json:"not,omitempty" yaml:"not,omitempty" jsonschema:"maxItems=50"`
	// How many different people have to approve.
	Quorum int `json:"quorum,omitempty" yaml:"quorum,omitempty" jsonschema:"minimum=1,maximum=20,default=1"`
	// When the question ends without an answer.
	Expires Duration `json:"expires,omitempty" yaml:"expires,omitempty" jsonschema:"default=24h"`
}

// Wait lets time pass. The short form is wait: 10m.
type Wait struct {
	// For how long.
	For Duration `json:"for" yaml:"for"`
}

// Job plays a manual job of the commit's CI pipeline and waits for its end.
type Job struct {
	// The name of the job in .gitlab-ci.yml.
	Name Text `json:"name" yaml:"name" jsonschema:"minLength=1,maxLength=255"`
}
