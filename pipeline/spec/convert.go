package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// How the types of the file become those of the plan, once their texts are filled in.

// onFailure is what follows a failure where the file says nothing.
func (s *Stage) onFailure() pipeline.OnFailure {
	switch {
	case s.Deploy != nil: // with rollback: never, people are asked
		return pipeline.FailRollback
	case s.Notify != nil: // a message that is lost stops nothing
		return pipeline.FailContinue
	}
	return pipeline.FailStop
}

// timeout is how long an attempt may take where the file says nothing.
func (s *Stage) timeout() time.Duration {
	switch {
	case s.Deploy != nil, s.Canary != nil, s.Run != nil:
		return deployTimeout
	case s.Job != nil, s.Trigger != nil:
		return jobTimeout
	}
	var longest time.Duration
	for i := range s.Validate {
		longest = max(longest, s.Validate[i].span(s))
	}
	if s.Validate != nil {
		return deployTimeout + longest
	}
	return 0
}

func (d *Deploy) plan() *pipeline.Deploy {
	return &pipeline.Deploy{
		Environment: string(d.Environment), Strategy: cmp.Or(d.Strategy, pipeline.StrategyRolling),
		Manifests: string(d.Manifests), Images: texts(d.Images), Helm: d.Helm.plan(),
		ProgressDeadline: d.ProgressDeadline.Span(), Prune: d.Prune,
		Hosts: texts(d.Hosts), Traffic: d.Traffic.plan(), Standby: d.standby(), KeepFailed: d.KeepFailed.Span(),
	}
}

func (h *Helm) plan() *pipeline.Helm {
	if h == nil {
		return nil
	}
	return &pipeline.Helm{Values: list(h.Values), Set: texts(h.Set), Release: string(h.Release)}
}

func (t *Traffic) plan() *pipeline.Traffic {
	if t == nil {
		return nil
	}
	out := &pipeline.Traffic{HTTPRoute: string(t.HTTPRoute)}
	if t.Preview != nil {
		out.PreviewHeader, out.PreviewValue = string(t.Preview.Header), string(t.Preview.Value)
	}
	return out
}

func (r *Run) plan() *pipeline.Run {
	return &pipeline.Run{
		Environment: string(r.Environment), Manifests: string(r.Manifests), Images: texts(r.Images), Helm: r.Helm.plan(),
		Job: string(r.Job), Image: string(r.Image), Command: list(r.Command), Args: list(r.Args), Env: texts(r.Env),
		ServiceAccount: string(r.ServiceAccount),
	}
}

func (j *Judgement) plan() *pipeline.Judgement {
	out := &pipeline.Judgement{Ask: string(j.Ask), Quorum: cmp.Or(j.Quorum, 1), Expires: cmp.Or(j.Expires.Span(), askExpires)}
	out.Rule.Approvers, out.Rule.Not = list(j.Approvers), list(j.Not)
	return out
}

// trigger holds the branch or tag against the operator's. One that earlier stages give is held against them when the CI
// pipeline is started.
func (c *compiler) trigger(at string, t *Trigger) *pipeline.Trigger {
	ref := string(t.Ref)
	c.plan.TriggerRefs = c.defaults.TriggerRefs
	if bad, _ := t.Ref.check(ref); bad == "" && !c.skipped && !strings.Contains(ref, opening) && !c.plan.MayTrigger(ref) {
		c.add(at+".ref", fmt.Sprintf("a stage may not start a CI pipeline on %s", quote(ref)),
			fmt.Sprintf("only on %s, which was merged into; an operator can allow others", quote(c.in.Commit.Ref)))
	}
	return &pipeline.Trigger{Ref: ref, Variables: texts(t.Variables)}
}

func (c *compiler) notify(at string, n *Notify) *pipeline.Notify {
	channel := string(n.Slack)
	if !c.f.given(at + ".slack") {
		channel = c.literal(c.plan.Channel)
		if channel == "" {
			c.add(at, "there is no channel to send this to", "add slack:")
		}
	}
	c.mayTell(at+".slack", channel)
	return &pipeline.Notify{Channel: channel, Text: string(n.Text)}
}

// mayTell holds a channel against the operator's. One that earlier stages give is held against them when the message is sent.
func (c *compiler) mayTell(at, channel string) {
	if bad, _ := Channel("").check(channel); bad != "" || c.skipped || strings.Contains(channel, opening) || c.plan.MayTell(channel) {
		return
	}
	hint := "an operator can allow it with slack.channels"
	if len(c.plan.Channels) > 0 {
		hint = "only to " + strings.Join(c.plan.Channels, ", ") + "; " + hint
	}
	if !c.f.given(at) { // it is the file's own
		at = "slack"
	}
	c.add(at, "this project may send nothing to "+quote(channel), hint)
}

// job holds the name against the operator's. One that earlier stages give is held against them when the job is played.
func (c *compiler) job(at string, j *Job) *pipeline.Job {
	name := string(j.Name)
	c.plan.JobNames = c.defaults.JobNames
	if !c.skipped && name != "" && !strings.Contains(name, opening) && !c.plan.MayPlay(name) {
		c.add(at+".name", fmt.Sprintf("a stage may not play the job %s", quote(name)),
			"only "+strings.Join(c.plan.JobNames, ", ")+"; an operator can allow others with jobs")
	}
	return &pipeline.Job{Name: name}
}

func (c *compiler) checks(at string, checks Checks, s *Stage) []pipeline.Check {
	var out []pipeline.Check
	taken := map[string]bool{}
	for i := range checks {
		taken[string(checks[i].Name)] = true
	}
	for i := range checks {
		k := &checks[i]
		name := string(k.Name)
		for n := 1; name == ""; n++ {
			name = k.kinds()[0]
			if n > 1 {
				name = fmt.Sprintf("%s-%d", name, n)
			}
			if taken[name] {
				name = ""
			}
		}
		taken[name] = true
		out = append(out, c.check(fmt.Sprintf("%s[%d]", at, i), name, k, s))
	}
	return out
}

func (c *compiler) check(at, name string, k *Check, s *Stage) pipeline.Check {
	out := pipeline.Check{Name: name, Every: k.interval(), For: k.span(s), Failures: k.Failures, HTTP: k.HTTP.plan()}
	if r := k.Report; r != nil {
		out.Report = &pipeline.ReportCheck{Job: string(r.Job), Failed: r.Failed, MinTests: cmp.Or(r.MinTests, 1)}
	}
	if m := k.Metric; m != nil {
		if !slices.Contains(c.defaults.Sources, string(m.Source)) {
			c.add(at+".metric.source", fmt.Sprintf("there is no metrics source %s", quote(string(m.Source))), c.sourcesHint(string(m.Source)))
		}
		out.Metric = &pipeline.MetricCheck{Source: string(m.Source), Query: string(m.Query), Max: m.Max, Min: m.Min}
	}
	if k.Job != nil {
		out.Job = k.Job.plan()
		if own := s.environment(); own != "" {
			out.Job.Environment = string(own)
		} else {
			c.enter(at+".job.environment", out.Job.Environment)
		}
	}
	return out
}

func (c *compiler) sourcesHint(written string) string {
	if len(c.defaults.Sources) == 0 {
		return "an operator has to set one up"
	}
	return didYouMean(written, c.defaults.Sources)
}

func (h *HTTP) plan() *pipeline.HTTPCheck {
	if h == nil {
		return nil
	}
	out := &pipeline.HTTPCheck{
		URL: string(h.URL), Method: h.Method, Status: h.Status, Body: string(h.Body), Latency: h.Latency.Span(),
		Requests: cmp.Or(h.Requests, 1),
	}
	out.Pass = cmp.Or(h.Pass, out.Requests)
	return out
}

// texts are a mapping of the file as the plan has it; nil if it is empty.
func texts[K, V ~string](m map[K]V) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[string(k)] = string(v)
	}
	return out
}

// list is a list of the file as the plan has it; nil if it is empty.
func list[V ~string](values []V) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
