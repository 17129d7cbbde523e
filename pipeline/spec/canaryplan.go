package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// canary makes the canary of the plan, but for the deploy that comes after it.
func (c *compiler) canary(at string, k *Canary) *pipeline.Canary {
	pass, marginal := k.Score.thresholds()
	out := &pipeline.Canary{
		Environment: string(k.Environment), Workloads: list(k.Workloads), Instances: cmp.Or(k.Instances, canaryInstances),
		Judge: cmp.Or(k.Judge, canary.Default), Confidence: k.Confidence, Tolerance: k.Tolerance, Score: canary.Thresholds{Pass: pass, Marginal: marginal},
		Grey: pipeline.GreyAsks, Misses: canaryMisses, Offset: k.Offset.Span(), Warmup: k.Warmup.Span(),
	}
	if k.Baseline != nil {
		out.Baseline = string(k.Baseline.Version)
	}
	if k.Misses != nil {
		out.Misses = *k.Misses
	}
	if k.past() {
		out.From, out.To, out.Instances = k.From.Time(), k.To.Time(), 0
	} else {
		out.Interval, out.Lifetime, out.Lookback = k.interval(), k.Span(), k.Lookback.Span()
	}
	for _, w := range k.Weights {
		out.Weights = append(out.Weights, w.Number())
	}
	if k.Weight != "" {
		out.Weights = []int{k.Weight.Number()}
	}
	for name, weight := range k.Groups {
		if out.GroupWeights == nil {
			out.GroupWeights = map[string]float64{}
		}
		out.GroupWeights[string(name)] = weight
	}
	out.Grey, out.Question = k.Marginal.plan()
	if out.Question != nil {
		out.Question.Environment = out.Environment
	}
	for i := range k.Metrics {
		out.Metrics = append(out.Metrics, c.metric(fmt.Sprintf("%s.metrics[%d]", at, i), k, &k.Metrics[i]))
	}
	c.checkPoints(at, k, out)
	c.checkGroups(at, k, out)
	if len(c.problems.list) == 0 {
		c.checkRequest(at, out)
	}
	return out
}

func (m *Marginal) plan() (pipeline.Grey, *pipeline.Judgement) {
	if m == nil {
		m = &Marginal{}
	}
	grey := pipeline.Grey(cmp.Or(m.Do, string(pipeline.GreyAsks)))
	if grey != pipeline.GreyAsks {
		return grey, nil
	}
	q := &pipeline.Judgement{Ask: string(m.Ask), Quorum: cmp.Or(m.Quorum, 1), Expires: cmp.Or(m.Expires.Span(), askExpires)}
	q.Rule.Approvers, q.Rule.Not = list(m.Approvers), list(m.Not)
	return grey, q
}

// metric is one metric: the operator's that it uses, with what the file says besides.
func (c *compiler) metric(at string, k *Canary, m *CanaryMetric) pipeline.CanaryMetric {
	var out pipeline.CanaryMetric
	if m.Use != "" {
		template, ok := c.defaults.Metrics[string(m.Use)]
		if !ok {
			c.add(at+".use", fmt.Sprintf("the operator has no metric %s", quote(string(m.Use))), c.metricsHint(string(m.Use)))
			return out
		}
		out = template
		out.Query, out.Total = c.operatorsQuery(at, out.Query), c.operatorsQuery(at, out.Total)
	}
	m.override(&out)
	out.Step = cmp.Or(out.Step, k.step())
	if out.Rule.Kind == "" {
		out.Rule.Kind = canary.Gauge
		if out.Total != "" {
			out.Rule.Kind = canary.Count
		}
	}
	out.Rule.Direction = cmp.Or(out.Rule.Direction, canary.Either)
	c.checkSources(at, m, out)
	c.checkTrack(at, k, out)
	switch {
	case out.Total != "" && out.Rule.Kind != canary.Count:
		c.add(at+c.f.keyOf(at, "total", "kind", "use"), "only a count has a total", "write kind: count, or remove total")
	case out.Rule.Critical && out.Rule.Advisory:
		c.add(at+c.f.keyOf(at, "advisory", "critical", "use"), "a metric cannot be critical and advisory", "remove one of them")
	case out.Step > k.longestStep():
		c.add(at+c.f.keyOf(at, "step", "use"), fmt.Sprintf("the first look would have no samples: they are %s apart", out.Step), fmt.Sprintf("%s is the most", k.longestStep().Truncate(time.Second)))
	}
	return out
}

// override puts what the file says in the place of what the operator's metric says.
func (m *CanaryMetric) override(out *pipeline.CanaryMetric) {
	r := &out.Rule
	r.Name = m.name()
	out.Source, out.Query, out.Total = cmp.Or(string(m.Source), out.Source), cmp.Or(string(m.Query), out.Query), cmp.Or(string(m.Total), out.Total)
	out.Step = cmp.Or(m.Step.Span(), out.Step)
	r.Kind, r.Direction = cmp.Or(canary.Kind(m.Kind), r.Kind), cmp.Or(canary.Direction(m.Direction), r.Direction)
	r.NaN = cmp.Or(canary.NaN(m.NaN), r.NaN)
	for _, flag := range []struct {
		given *bool
		to    *bool
	}{{m.Critical, &r.Critical}, {m.Advisory, &r.Advisory}, {m.MustHaveData, &r.MustHaveData}} {
		if flag.given != nil {
			*flag.to = *flag.given
		}
	}
	if m.Groups != nil {
		r.Groups = list(m.Groups)
	}
	if o := m.Outliers; o != nil {
		r.Outliers.Strategy = cmp.Or(o.Strategy, r.Outliers.Strategy)
		r.Outliers.Factor = orPointer(o.Factor, r.Outliers.Factor)
	}
	if e := m.Effect; e != nil {
		own := &r.EffectSize
		own.Measure = cmp.Or(e.Measure, own.Measure)
		own.AllowedIncrease, own.AllowedDecrease = orPointer(e.AllowedIncrease, own.AllowedIncrease), orPointer(e.AllowedDecrease, own.AllowedDecrease)
		own.CriticalIncrease, own.CriticalDecrease = orPointer(e.CriticalIncrease, own.CriticalIncrease), orPointer(e.CriticalDecrease, own.CriticalDecrease)
	}
}

func orPointer(given, otherwise *float64) *float64 {
	if given != nil {
		return given
	}
	return otherwise
}

func (c *compiler) metricsHint(written string) string {
	if len(c.defaults.Metrics) == 0 {
		return "there are none; write source and query"
	}
	return didYouMean(written, slices.Sorted(maps.Keys(c.defaults.Metrics)))
}

func (c *compiler) checkSources(at string, m *CanaryMetric, out pipeline.CanaryMetric) {
	if !slices.Contains(c.defaults.Sources, out.Source) {
		c.add(at+c.f.keyOf(at, "source", "use"), fmt.Sprintf("there is no metrics source %s", quote(out.Source)), c.sourcesHint(string(m.Source)))
	}
}

// checkTrack refuses a query that says the same of baseline and canary: they would never differ.
func (c *compiler) checkTrack(at string, k *Canary, out pipeline.CanaryMetric) {
	for _, q := range []struct{ key, text string }{{"query", out.Query}, {"total", out.Total}} {
		if q.text == "" || k.Offset.Span() > 0 {
			continue
		}
		lang, err := c.language()
		if err != nil {
			return
		}
		if t, flaws := lang.template(q.text); len(flaws) == 0 && !knowsTracks(t) {
			c.add(at+c.f.keyOf(at, q.key, "use"), q.key+" asks the same for baseline and canary", "put ${{ track }} or ${{ version }} in it where their labels belong")
		}
	}
}

// operatorsQuery fills in what is known of a query of the operator's.
func (c *compiler) operatorsQuery(at, text string) string {
	if text == "" {
		return ""
	}
	lang, err := c.language()
	if err != nil {
		c.add(at+".use", "expressions cannot be read here: "+err.Error(), "")
		return text
	}
	t, flaws := lang.template(text)
	if len(flaws) == 0 {
		out, f := t.fillQuery(c.vars, true)
		if f == nil && !t.dynamic {
			return out
		}
		flaws = append(flaws, flaw{what: "it asks for stages"})
		if f != nil {
			flaws[0] = *f
		}
	}
	if !c.skipped {
		hint := "an operator has to mend it"
		if c.op == nil { // nobody delivers, and not everything is known
			hint = ""
		}
		c.add(at+".use", "the operator's metric cannot be used: "+flaws[0].what, hint)
	}
	return text
}

// language is made once, if it is needed.
func (c *compiler) language() (*language, error) {
	if c.lang == nil {
		lang, err := newLanguage()
		if err != nil {
			return nil, err
		}
		c.lang = lang
	}
	return c.lang, nil
}

// checkPoints bounds how many samples one look has.
func (c *compiler) checkPoints(at string, k *Canary, out *pipeline.Canary) {
	points := 0
	for _, m := range out.Metrics {
		if m.Step <= 0 {
			return // was said
		}
		sides := 2
		if m.Total != "" {
			sides = 4
		}
		points += sides * int(k.window()/m.Step)
	}
	if points > maxPoints {
		c.add(at+c.f.keyOf(at, "lifetime", "to", "metrics"), fmt.Sprintf("a look would have %d samples, and %d are the most", points, maxPoints),
			"take a longer step, a sliding window or fewer metrics")
		return
	}
	kept := points * k.looks()
	if k.Lookback == "" {
		kept /= 2 // of a growing window the first looks have few
	}
	if kept > maxKept {
		c.add(at+c.f.keyOf(at, "interval", "lifetime", "metrics"), fmt.Sprintf("all looks together would have %d samples, and %d are the most", kept, maxKept),
			"look less often, or take a longer step")
		return
	}
	for _, m := range out.Metrics {
		c.checkSteps(at, k, m)
	}
}

// checkSteps refuses what the sources would refuse, and an offset that would be another than what is written.
func (c *compiler) checkSteps(at string, k *Canary, m pipeline.CanaryMetric) {
	if n := int(k.window() / m.Step); n > maxSteps {
		c.add(at+c.f.keyOf(at, "lifetime", "to", "metrics"), fmt.Sprintf("a look would have %d samples of %s, and %d are the most that sources give",
			n, quote(m.Rule.Name), maxSteps), "take a longer step, or a sliding window")
	}
	if k.Offset.Span()%m.Step != 0 {
		c.add(at+".offset", fmt.Sprintf("it is not made of whole steps of %s", quote(m.Rule.Name)), fmt.Sprintf("a step is %s", m.Step))
	}
}

// checkGroups refuses weights of groups that no metric is in.
func (c *compiler) checkGroups(at string, k *Canary, out *pipeline.Canary) {
	var known []string
	for _, m := range out.Metrics {
		known = append(known, m.Rule.Groups...)
	}
	for _, name := range slices.Sorted(maps.Keys(k.Groups)) {
		if !slices.Contains(known, string(name)) {
			c.add(join(at+".groups", string(name)), "no metric is in the group "+quote(string(name)), didYouMean(string(name), known))
		}
	}
}

// checkRequest asks the judge whether it would judge this, so that nobody learns of it after an hour.
func (c *compiler) checkRequest(at string, out *pipeline.Canary) {
	samples := make([]canary.Metric, len(out.Metrics))
	for i, m := range out.Metrics {
		samples[i] = canary.Metric{Name: m.Rule.Name, Baseline: []canary.Number{}, Canary: []canary.Number{}}
	}
	request, ok := out.Request(samples)
	if !ok {
		return
	}
	data, err := json.Marshal(request)
	if err == nil {
		_, err = canary.Decode(data)
	}
	if err != nil {
		c.add(at, "the judge refuses this: "+clip(oneLine(err.Error()), 300), "")
	}
}

// canaries gives each canary the deploy that comes after it in the same environment: what is compared is what that brings.
func (c *compiler) canaries() {
	for i := range c.lane.stages {
		k := c.plan.Stages[i].Canary
		if k == nil || !k.From.IsZero() {
			continue
		}
		at := c.lane.at(i) + ".canary"
		var after []int
		for j := range c.lane.stages {
			if d := c.plan.Stages[j].Deploy; d != nil && d.Environment == k.Environment && c.graph.before(j)[i] {
				after = append(after, j)
			}
		}
		switch len(after) {
		case 1:
			c.follow(at, k, after[0])
		case 0:
			c.add(at+".environment", fmt.Sprintf("no deploy to %s comes after this canary", quote(k.Environment)), "add one; what it brings is what is compared")
		default:
			var names []string
			for _, j := range after {
				names = append(names, string(c.lane.stages[j].Name))
			}
			c.add(at+".environment", fmt.Sprintf("several deploys to %s come after this canary: %s", quote(k.Environment), strings.Join(names, ", ")), "only one can be meant")
		}
	}
}

// follow makes a canary of what the deploy stage j brings.
func (c *compiler) follow(at string, k *pipeline.Canary, j int) {
	deploy := c.lane.at(j) + ".deploy"
	own, err := copyOf(c.plan.Stages[j])
	if err != nil {
		c.add(at, err.Error(), "")
		return
	}
	if own.Dynamic { // its texts were to be read once more
		eachText(own, func(_, text string, _ scalar) string { return strings.ReplaceAll(text, literalOpening, opening) })
	}
	k.Deploy = *own.Deploy
	for key, t := range c.f.templates {
		if t.dynamic && strings.HasPrefix(key, deploy+".") {
			c.add(key, "this asks for earlier stages, which the canary of this deploy cannot know", "use what is known of the commit")
		}
	}
	if len(k.Weights) > 0 && k.Deploy.Traffic == nil {
		c.add(at+c.f.keyOf(at, "weights", "weight"), "weights need an HTTPRoute that moves the traffic", fmt.Sprintf("add traffic: {httproute: NAME} to deploy %s", c.lane.stages[j].Name))
	}
}
