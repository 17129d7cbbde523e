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
	// What runs after a delivery that did not end well.
	Rollback *Aftermath `json:"rollback,omitempty" yaml:"rollback,omitempty"`
	// What is deployed for a merge request while it is open, to look at, and goes when it is closed or merged.
	Review *Review `json:"review,omitempty" yaml:"review,omitempty"`

	name      string
	spots     map[string]spot
	templates map[string]*template
	source    *source
}

// given tells that there is something at the path.
func (f *File) given(path string) bool {
	_, given := f.spots[path]
	return given
}

// keyOf is the first of the keys that is given, with its dot; "" if none is.
func (f *File) keyOf(path string, keys ...string) string {
	for _, key := range keys {
		if f.given(path + "." + key) {
			return "." + key
		}
	}
	return ""
}

// Aftermath is what runs after a delivery that did not end well, when everything that had to go back has gone back.
type Aftermath struct {
	// Which ends of the delivery it follows: failed, when a stage failed and what runs was left as it is, or rolled-back. Without it, both.
	On []string `json:"on,omitempty" yaml:"on,omitempty" jsonschema:"minItems=1,maxItems=2,enum=failed,enum=rolled-back"`
	// The stages that run then, one after the other: job, trigger, notify, wait, and validate with http checks.
	Then []Stage `json:"then" yaml:"then" jsonschema:"minItems=1,maxItems=10"`
}

// Review is what happens for every new commit of a merge request that is open. It deploys to review environments only, which an operator has to allow.
type Review struct {
	// Start when the CI pipeline of the commit has passed (pipeline), or when it was pushed (push).
	After pipeline.After `json:"after,omitempty" yaml:"after,omitempty" jsonschema:"enum=pipeline,enum=push,default=pipeline"`
	// What happens, in order: deploy, run, wait, notify and validate.
	Stages []Stage `json:"stages" yaml:"stages" jsonschema:"minItems=1,maxItems=50"`
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

// Stage is one step of the pipeline. It does exactly one thing: deploy, canary, run, judgement, wait, job, trigger, notify or validate.
type Stage struct {
	// The name of the stage, unique in the file.
	Name Name `json:"name" yaml:"name"`
	// The stages that have to succeed before this one starts. Without it, the one above; with [], none.
	Needs []Name `json:"needs,omitempty" yaml:"needs,omitempty" jsonschema:"maxItems=50"`
	// A CEL expression; the stage is skipped if it is false.
	If Condition `json:"if,omitempty" yaml:"if,omitempty"`
	// How long one attempt of a deploy, run or validate (default 30m), job or trigger (default 1h) may take. A validate has the time of its checks besides, and of a canary it is how long its pods may take to come up (default 30m).
	Timeout Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	// How often a deploy, run, validate, job or trigger that failed is tried again, and a canary whose pods did not come up.
	Retry int `json:"retry,omitempty" yaml:"retry,omitempty" jsonschema:"minimum=0,maximum=10,default=0"`
	// What follows when the stage fails: rollback returns what was deployed to the release before, stop leaves it, continue goes on. A deploy rolls back by default, a notify continues, anything else stops.
	OnFailure pipeline.OnFailure `json:"on_failure,omitempty" yaml:"on_failure,omitempty" jsonschema:"enum=rollback,enum=stop,enum=continue"`
	// never: what this deploy, run or job does, such as a migration, does not go back. So no release of its environment is rolled back without asking people.
	Rollback string `json:"rollback,omitempty" yaml:"rollback,omitempty" jsonschema:"enum=never"`
	// What has to hold after the stage has done its work, before it counts as succeeded: one check or a list.
	Check Checks `json:"check,omitempty" yaml:"check,omitempty" jsonschema:"minItems=1,maxItems=20"`

	// Bring the manifests of the commit into an environment.
	Deploy *Deploy `json:"deploy,omitempty" yaml:"deploy,omitempty"`
	// Compare the commit with what runs, before it is deployed.
	Canary *Canary `json:"canary,omitempty" yaml:"canary,omitempty"`
	// Run a Kubernetes Job in an environment and wait for its end.
	Run *Run `json:"run,omitempty" yaml:"run,omitempty"`
	// Ask people whether to go on.
	Judgement *Judgement `json:"judgement,omitempty" yaml:"judgement,omitempty"`
	// Let time pass.
	Wait *Wait `json:"wait,omitempty" yaml:"wait,omitempty"`
	// Play a manual job of the commit's CI pipeline and wait for its end.
	Job *Job `json:"job,omitempty" yaml:"job,omitempty"`
	// Start a new CI pipeline of the project and wait for its end.
	Trigger *Trigger `json:"trigger,omitempty" yaml:"trigger,omitempty"`
	// Send a message to a Slack channel.
	Notify *Notify `json:"notify,omitempty" yaml:"notify,omitempty"`
	// Look whether something holds: one check or a list.
	Validate Checks `json:"validate,omitempty" yaml:"validate,omitempty" jsonschema:"minItems=1,maxItems=20"`
}

// Deploy brings the manifests of the commit into an environment.
type Deploy struct {
	// The GitLab environment. The operator decides which cluster and namespace that is, and who may deploy there.
	Environment Environment `json:"environment" yaml:"environment" jsonschema:"minLength=1,maxLength=255"`
	// How the new release replaces the one before. rolling lets each workload roll its pods. blue-green brings it up at full size beside the one that serves, and then moves the traffic in one step.
	Strategy pipeline.Strategy `json:"strategy,omitempty" yaml:"strategy,omitempty" jsonschema:"enum=rolling,enum=blue-green,default=rolling"`
	// Path in the repository: a file or a folder of plain YAML, a kustomization, or a Helm chart.
	Manifests Path `json:"manifests" yaml:"manifests" jsonschema:"minLength=1,maxLength=1000"`
	// Which image is used for an image name in the manifests: a tag, a digest (sha256:…) or a full reference.
	Images map[ImageName]Image `json:"images,omitempty" yaml:"images,omitempty" jsonschema:"maxProperties=50"`
	// How the Helm chart is rendered.
	Helm *Helm `json:"helm,omitempty" yaml:"helm,omitempty"`
	// Host names of Ingresses and routes in the manifests, each with the one that replaces it: {shop.example.com: "mr-${{ merge_request.iid }}.review.example.com"}.
	Hosts map[HostName]Host `json:"hosts,omitempty" yaml:"hosts,omitempty" jsonschema:"maxProperties=50"`
	// How long the rollout may stand still before it counts as failed. Without it, the manifests decide.
	ProgressDeadline Duration `json:"progress_deadline,omitempty" yaml:"progress_deadline,omitempty"`
	// What becomes of what the release before had and this one has not: objects removes it but for volume claims, volumes removes those too, nothing leaves all of it.
	Prune pipeline.Prune `json:"prune,omitempty" yaml:"prune,omitempty" jsonschema:"enum=objects,enum=volumes,enum=nothing,default=objects"`
	// For blue-green: how long the release before stays ready to take the traffic back. With 0s it goes when the checks have passed.
	Standby Delay `json:"standby,omitempty" yaml:"standby,omitempty" jsonschema:"default=10m"`
	// For blue-green: how long a release that was rolled back stays for people to look at, without traffic.
	KeepFailed Delay `json:"keep_failed,omitempty" yaml:"keep_failed,omitempty" jsonschema:"default=0s"`
	// For blue-green: what moves the traffic. Without it, the selectors of the Services do.
	Traffic *Traffic `json:"traffic,omitempty" yaml:"traffic,omitempty"`
}

// Canary compares the commit with what runs: pods of both are created together, equal in number, and take part in the traffic while their metrics are judged. Both are removed at the end. What is compared is what the deploy after it brings to the same environment.
type Canary struct {
	// The GitLab environment. The same rules hold for it as for a deploy, and one deploy to it has to come after.
	Environment Environment `json:"environment" yaml:"environment" jsonschema:"minLength=1,maxLength=255"`
	// The Deployments of the manifests that are compared. Without it, all that a Service leads to.
	Workloads []ObjectName `json:"workloads,omitempty" yaml:"workloads,omitempty" jsonschema:"minItems=1,maxItems=20"`
	// How many pods the baseline and the canary have, each of every Deployment.
	Instances int `json:"instances,omitempty" yaml:"instances,omitempty" jsonschema:"minimum=1,maximum=50,default=3"`
	// How much of the traffic the baseline and the canary have, each, as in 5%. The deploy has to have traffic: httproute. Without it, the number of pods decides.
	Weight Percent `json:"weight,omitempty" yaml:"weight,omitempty"`
	// The same, raised step by step in equal parts of the lifetime: [5%, 10%, 25%].
	Weights []Percent `json:"weights,omitempty" yaml:"weights,omitempty" jsonschema:"minItems=1,maxItems=20"`
	// What the commit is compared with. Without it, what runs.
	Baseline *Baseline `json:"baseline,omitempty" yaml:"baseline,omitempty"`
	// How long the pods run before what they do counts.
	Warmup Delay `json:"warmup,omitempty" yaml:"warmup,omitempty" jsonschema:"default=0s"`
	// How often baseline and canary are compared. A canary that is worse is stopped at the first look that shows it.
	Interval Duration `json:"interval,omitempty" yaml:"interval,omitempty" jsonschema:"default=5m"`
	// From the end of the warm-up to the last look.
	Lifetime Duration `json:"lifetime,omitempty" yaml:"lifetime,omitempty" jsonschema:"default=1h"`
	// growing judges everything since the warm-up at each look, sliding what was since lookback.
	Window string `json:"window,omitempty" yaml:"window,omitempty" jsonschema:"enum=growing,enum=sliding,default=growing"`
	// For a sliding window: how far it goes back.
	Lookback Duration `json:"lookback,omitempty" yaml:"lookback,omitempty"`
	// Compare with what the baseline did so much earlier.
	Offset Delay `json:"offset,omitempty" yaml:"offset,omitempty" jsonschema:"default=0s"`
	// Judge a time that has been, without pods of its own: its beginning, as in 2026-03-01T10:00:00Z.
	From Moment `json:"from,omitempty" yaml:"from,omitempty"`
	// The end of that time.
	To Moment `json:"to,omitempty" yaml:"to,omitempty"`
	// Who judges: default, or kayenta for the labels and scores of Spinnaker's.
	Judge string `json:"judge,omitempty" yaml:"judge,omitempty" jsonschema:"enum=default,enum=kayenta,default=default"`
	// For default, from 0.5 to 0.999999: one minus the share of equal canaries that may be refused. For kayenta: of each metric's interval. Without it, 0.95 and 0.98.
	Confidence *float64 `json:"confidence,omitempty" yaml:"confidence,omitempty" jsonschema:"minimum=0,maximum=1"`
	// For kayenta: the part of the estimated change by which its interval must miss zero. Without it, 0.25.
	Tolerance *float64 `json:"tolerance,omitempty" yaml:"tolerance,omitempty" jsonschema:"minimum=0,maximum=1"`
	// Which scores are good, and which are bad.
	Score *Score `json:"score,omitempty" yaml:"score,omitempty"`
	// What becomes of a canary that is neither good nor bad at the last look: judgement asks people, pass and fail decide.
	Marginal *Marginal `json:"marginal,omitempty" yaml:"marginal,omitempty"`
	// How many looks in a row may fail to get samples.
	Misses *int `json:"misses,omitempty" yaml:"misses,omitempty" jsonschema:"minimum=0,maximum=1000,default=3"`
	// How much of the score each group of metrics is, in per cent. Groups that are not named share what is left.
	Groups map[Label]float64 `json:"groups,omitempty" yaml:"groups,omitempty" jsonschema:"maxProperties=50"`
	// What is compared.
	Metrics []CanaryMetric `json:"metrics" yaml:"metrics" jsonschema:"minItems=1,maxItems=50"`
}

// Baseline is what a canary is compared with. The short form is baseline: 3f2a91c.
type Baseline struct {
	// A release of the environment: its id, or the beginning of its commit.
	Version Version `json:"version" yaml:"version"`
}

// Score says which scores, from 0 to 100, are good, and which are bad.
type Score struct {
	// From here on a canary passes.
	Pass *float64 `json:"pass,omitempty" yaml:"pass,omitempty" jsonschema:"minimum=0,maximum=100,default=80"`
	// Below this a canary fails.
	Marginal *float64 `json:"marginal,omitempty" yaml:"marginal,omitempty" jsonschema:"minimum=0,maximum=100,default=50"`
}

// Marginal says what becomes of a canary that is neither good nor bad at the last look. The short form is marginal: fail.
type Marginal struct {
	// judgement asks people, pass and fail decide.
	Do string `json:"do,omitempty" yaml:"do,omitempty" jsonschema:"enum=judgement,enum=pass,enum=fail,default=judgement"`
	// The question, instead of one that says what was found.
	Ask Text `json:"ask,omitempty" yaml:"ask,omitempty" jsonschema:"minLength=1,maxLength=1000"`
	// Who may answer: user:NAME, group:PATH or role:ROLE, one match is enough. Without it, role:developer.
	Approvers []Approver `json:"approvers,omitempty" yaml:"approvers,omitempty" jsonschema:"maxItems=50"`
	// Who may not: author, merger or user:NAME.
	Not []Excluded `json:"not,omitempty" yaml:"not,omitempty" jsonschema:"maxItems=50"`
	// How many different people have to approve.
	Quorum int `json:"quorum,omitempty" yaml:"quorum,omitempty" jsonschema:"minimum=1,maximum=20,default=1"`
	// When the question ends without an answer. Until then baseline and canary stay.
	Expires Duration `json:"expires,omitempty" yaml:"expires,omitempty" jsonschema:"default=24h"`
}

// CanaryMetric is something that is measured of baseline and canary.
type CanaryMetric struct {
	// What it is called, unique in the canary.
	Name Label `json:"name,omitempty" yaml:"name,omitempty"`
	// The operator's metric of this name, of which the keys beside it change parts.
	Use Name `json:"use,omitempty" yaml:"use,omitempty"`
	// The operator's name of the metrics source.
	Source Name `json:"source,omitempty" yaml:"source,omitempty"`
	// What it is asked, in its own language. ${{ track }} is baseline or canary, and ${{ version }} the version of its pods.
	Query Query `json:"query,omitempty" yaml:"query,omitempty" jsonschema:"minLength=1,maxLength=4000"`
	// For a count: the query of what it is a part of, such as all requests.
	Total Query `json:"total,omitempty" yaml:"total,omitempty" jsonschema:"minLength=1,maxLength=4000"`
	// gauge is measured, such as a latency. count is how often something happened. With total it is a count, else a gauge.
	Kind string `json:"kind,omitempty" yaml:"kind,omitempty" jsonschema:"enum=gauge,enum=count"`
	// Which change is for the worse.
	Direction string `json:"direction,omitempty" yaml:"direction,omitempty" jsonschema:"enum=increase,enum=decrease,enum=either,default=either"`
	// A change for the worse fails the canary at once.
	Critical *bool `json:"critical,omitempty" yaml:"critical,omitempty"`
	// A change for the worse is shown, and stops nothing by itself.
	Advisory *bool `json:"advisory,omitempty" yaml:"advisory,omitempty"`
	// That there is no data is for the worse.
	MustHaveData *bool `json:"must_have_data,omitempty" yaml:"must_have_data,omitempty"`
	// The groups that it belongs to.
	Groups []Label `json:"groups,omitempty" yaml:"groups,omitempty" jsonschema:"maxItems=20"`
	// What is done with samples that are missing: remove, or replace by 0.
	NaN string `json:"nan,omitempty" yaml:"nan,omitempty" jsonschema:"enum=remove,enum=replace,default=remove"`
	// What is done with samples that are far from the others.
	Outliers *Outliers `json:"outliers,omitempty" yaml:"outliers,omitempty"`
	// How large a change must be before it counts.
	Effect *Effect `json:"effect,omitempty" yaml:"effect,omitempty"`
	// Between two samples. Without it, 60s; less if the interval is short, and more if the lifetime is long.
	Step Duration `json:"step,omitempty" yaml:"step,omitempty"`
}

// Outliers says what is done with samples that are far from the others of their side.
type Outliers struct {
	// keep or remove.
	Strategy string `json:"strategy,omitempty" yaml:"strategy,omitempty" jsonschema:"enum=keep,enum=remove,default=keep"`
	// How many interquartile ranges from the quartiles is far.
	Factor *float64 `json:"factor,omitempty" yaml:"factor,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1000,default=3"`
}

// Effect says how large a change must be before it counts.
type Effect struct {
	// meanRatio is the mean of the canary by that of the baseline. cles is the chance that a sample of the canary is above one of the baseline.
	Measure string `json:"measure,omitempty" yaml:"measure,omitempty" jsonschema:"enum=meanRatio,enum=cles,default=meanRatio"`
	// An increase below this does not count.
	AllowedIncrease *float64 `json:"allowed_increase,omitempty" yaml:"allowed_increase,omitempty" jsonschema:"minimum=0"`
	// A decrease above this does not count.
	AllowedDecrease *float64 `json:"allowed_decrease,omitempty" yaml:"allowed_decrease,omitempty" jsonschema:"minimum=0"`
	// For a critical metric: from this increase on the canary fails.
	CriticalIncrease *float64 `json:"critical_increase,omitempty" yaml:"critical_increase,omitempty" jsonschema:"minimum=0"`
	// For a critical metric: from this decrease on the canary fails.
	CriticalDecrease *float64 `json:"critical_decrease,omitempty" yaml:"critical_decrease,omitempty" jsonschema:"minimum=0"`
}

// Helm says how a chart is rendered.
type Helm struct {
	// Files of values in the repository; later ones win.
	Values []Path `json:"values,omitempty" yaml:"values,omitempty" jsonschema:"maxItems=20"`
	// Single values by their dotted key, as helm's --set; they win over the files.
	Set map[SetKey]Value `json:"set,omitempty" yaml:"set,omitempty" jsonschema:"maxProperties=100"`
	// The name of the Helm release. Without it, the application's.
	Release ReleaseName `json:"release,omitempty" yaml:"release,omitempty"`
}

// Traffic says what moves traffic between two releases.
type Traffic struct {
	// The Gateway API route in the environment's namespace whose backends are moved.
	HTTPRoute ObjectName `json:"httproute" yaml:"httproute"`
	// A header that leads a request to the release that does not serve yet.
	Preview *Preview `json:"preview,omitempty" yaml:"preview,omitempty"`
}

// Preview is a header that leads a request to the release that does not serve yet.
type Preview struct {
	// The name of the header.
	Header HeaderName `json:"header" yaml:"header"`
	// The value that it has to have.
	Value HeaderValue `json:"value" yaml:"value"`
}

// Run runs a Kubernetes Job in an environment and waits for its end. The Job is in the manifests, or is made of an image. As the job of a check it runs in the environment of its stage, and names one only where the stage has none.
type Run struct {
	// The GitLab environment. The same rules hold for it as for a deploy.
	Environment Environment `json:"environment,omitempty" yaml:"environment,omitempty" jsonschema:"minLength=1,maxLength=255"`
	// Path in the repository to manifests that hold the Job, as for a deploy.
	Manifests Path `json:"manifests,omitempty" yaml:"manifests,omitempty" jsonschema:"minLength=1,maxLength=1000"`
	// Which image is used for an image name in the manifests: a tag, a digest (sha256:…) or a full reference.
	Images map[ImageName]Image `json:"images,omitempty" yaml:"images,omitempty" jsonschema:"maxProperties=50"`
	// How the Helm chart is rendered.
	Helm *Helm `json:"helm,omitempty" yaml:"helm,omitempty"`
	// The name of the Job, where the manifests hold several.
	Job ObjectName `json:"job,omitempty" yaml:"job,omitempty"`
	// The image that is run, as a full reference, instead of manifests.
	Image Reference `json:"image,omitempty" yaml:"image,omitempty"`
	// The command, instead of the image's entrypoint.
	Command []Value `json:"command,omitempty" yaml:"command,omitempty" jsonschema:"minItems=1,maxItems=50"`
	// The arguments.
	Args []Value `json:"args,omitempty" yaml:"args,omitempty" jsonschema:"maxItems=100"`
	// Environment variables. Everybody who may read the project can read them: no place for secrets.
	Env map[Variable]Value `json:"env,omitempty" yaml:"env,omitempty" jsonschema:"maxProperties=100"`
	// The service account of the pod. Without it, the default of the namespace.
	ServiceAccount ObjectName `json:"service_account,omitempty" yaml:"service_account,omitempty"`
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

// Trigger starts a new CI pipeline of the project and waits for its end.
type Trigger struct {
	// The branch or tag. Without it, the branch that was merged into.
	Ref Ref `json:"ref,omitempty" yaml:"ref,omitempty"`
	// Variables of the CI pipeline.
	Variables map[Variable]Value `json:"variables,omitempty" yaml:"variables,omitempty" jsonschema:"maxProperties=50"`
}

// Notify sends a message to a Slack channel.
type Notify struct {
	// The channel, "#name" or its id. Without it, that of the delivery.
	Slack Channel `json:"slack,omitempty" yaml:"slack,omitempty"`
	// What it says.
	Text Text `json:"text" yaml:"text" jsonschema:"minLength=1,maxLength=2000"`
}

// Checks are one check or a list of them.
type Checks []Check

// Check is something that has to hold. It is exactly one of http, report, metric and job.
type Check struct {
	// The name of the check, unique in the stage. Without it, what it is: http, http-2.
	Name Name `json:"name,omitempty" yaml:"name,omitempty"`
	// How long after one run the next one comes.
	Every Duration `json:"every,omitempty" yaml:"every,omitempty" jsonschema:"default=10s"`
	// How long it has to hold. With 0s, until it has passed once. Without it, an http or metric check holds for the standby of its deploy.
	For Delay `json:"for,omitempty" yaml:"for,omitempty"`
	// How many runs may fail.
	Failures int `json:"failures,omitempty" yaml:"failures,omitempty" jsonschema:"minimum=0,maximum=1000,default=0"`

	// Ask an address.
	HTTP *HTTP `json:"http,omitempty" yaml:"http,omitempty"`
	// Read the test report of the commit's CI pipeline.
	Report *Report `json:"report,omitempty" yaml:"report,omitempty"`
	// Compare a number from a metrics source with bounds.
	Metric *Metric `json:"metric,omitempty" yaml:"metric,omitempty"`
	// Run a Kubernetes Job that has to end well.
	Job *Run `json:"job,omitempty" yaml:"job,omitempty"`
}

// HTTP asks an address. The short form is http: https://shop.example.com/healthz.
type HTTP struct {
	// The address: http or https, without a password.
	URL Address `json:"url" yaml:"url" jsonschema:"minLength=1,maxLength=2000"`
	// How it is asked.
	Method string `json:"method,omitempty" yaml:"method,omitempty" jsonschema:"enum=GET,enum=HEAD,enum=POST,enum=OPTIONS,default=GET"`
	// Which status the answer has to have: a number, a list of numbers, or "2xx".
	Status Statuses `json:"status,omitempty" yaml:"status,omitempty" jsonschema:"minItems=1,maxItems=20,minimum=100,maximum=599,default=2xx"`
	// A regular expression (RE2) that the body has to match.
	Body Pattern `json:"body,omitempty" yaml:"body,omitempty" jsonschema:"minLength=1,maxLength=1000"`
	// How long the answer may take, such as 500ms or 2s.
	Latency Latency `json:"latency,omitempty" yaml:"latency,omitempty"`
	// How many requests one run sends.
	Requests int `json:"requests,omitempty" yaml:"requests,omitempty" jsonschema:"minimum=1,maximum=50,default=1"`
	// How many of them have to be answered as wanted. Without it, all.
	Pass int `json:"pass,omitempty" yaml:"pass,omitempty" jsonschema:"minimum=1,maximum=50"`
}

// Statuses are the statuses of an answer that are wanted: a number, a list, or "2xx".
type Statuses []int

// Report reads the test report of the commit's CI pipeline. The short form, report: unit-test, names the job.
type Report struct {
	// The CI job whose tests count. Without it, all jobs.
	Job Text `json:"job,omitempty" yaml:"job,omitempty" jsonschema:"minLength=1,maxLength=255"`
	// How many tests may have failed.
	Failed int `json:"failed,omitempty" yaml:"failed,omitempty" jsonschema:"minimum=0,maximum=1000000,default=0"`
	// How many tests there have to be, so that a report of nothing is no success.
	MinTests int `json:"min_tests,omitempty" yaml:"min_tests,omitempty" jsonschema:"minimum=1,maximum=1000000,default=1"`
}

// Metric compares a number from a metrics source with bounds; at least one is needed.
type Metric struct {
	// The operator's name of the metrics source.
	Source Name `json:"source" yaml:"source"`
	// What it is asked, in its own language.
	Query Text `json:"query" yaml:"query" jsonschema:"minLength=1,maxLength=4000"`
	// The number may not be above this.
	Max *float64 `json:"max,omitempty" yaml:"max,omitempty"`
	// The number may not be below this.
	Min *float64 `json:"min,omitempty" yaml:"min,omitempty"`
}
