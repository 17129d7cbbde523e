package spec

import (
	"fmt"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// What holds for a canary where the file says nothing, and what is the most that it may ask for.
const (
	canaryLifetime  = time.Hour
	canaryInterval  = 5 * time.Minute
	canaryInstances = 3
	canaryMisses    = 3
	canaryPass      = 80.0
	canaryMarginal  = 50.0
	canaryStep      = time.Minute

	maxCanaryLifetime = 30 * 24 * time.Hour
	maxLooks          = 1000
	// maxPoints is how many samples one look may ask for, of all metrics and both tracks: they are one event.
	maxPoints = 200_000
	// maxSteps is how many samples of one metric and track a look may have: what sources give to one question, so that a
	// look asks each thing once.
	maxSteps = 10_000
	// maxKept is how many samples all looks may have together: the history of a delivery keeps each of them.
	maxKept = 20_000_000
)

// past tells that a time that has been is judged, without pods.
func (k *Canary) past() bool { return k.From != "" || k.To != "" }

// Span is how long the canary is judged, or how long the time is that has been.
func (k *Canary) Span() time.Duration {
	switch {
	case k.past():
		return k.To.Time().Sub(k.From.Time())
	case k.Lifetime == "":
		return canaryLifetime
	}
	return k.Lifetime.Span()
}

// interval is the time between two looks.
func (k *Canary) interval() time.Duration {
	if k.Interval == "" {
		return min(canaryInterval, k.Span())
	}
	return k.Interval.Span()
}

// window is the longest time of which one look judges the samples.
func (k *Canary) window() time.Duration {
	if k.Lookback != "" && !k.past() {
		return min(k.Lookback.Span(), k.Span())
	}
	return k.Span()
}

// longestStep is the longest time between two samples with which the first look has one.
func (k *Canary) longestStep() time.Duration {
	if k.past() {
		return k.Span() / 2
	}
	return min(k.interval(), k.window()) / 2
}

// step is the time between two samples where the file says nothing: a minute, less for a short interval, and more
// for a long time, of which nobody needs so many.
func (k *Canary) step() time.Duration {
	const enough = 1500 // samples of a metric
	fits := time.Second
	for _, step := range []time.Duration{5 * time.Second, 10 * time.Second, 30 * time.Second, canaryStep, 5 * time.Minute, 15 * time.Minute, time.Hour} {
		if step <= k.longestStep() && (step <= canaryStep || k.window()/fits > enough) {
			fits = step
		}
	}
	return fits
}

// looks is how many looks are planned.
func (k *Canary) looks() int {
	if k.past() || k.interval() <= 0 {
		return 1
	}
	return int((k.Span() + k.interval() - 1) / k.interval())
}

// checkCanary refuses what does not go together in a canary.
func (c *checker) checkCanary(path string, s *Stage) {
	k := s.Canary
	c.checkCanaryTimes(path, k)
	c.checkWeights(path, k)
	c.checkJudge(path, k)
	if m := k.Marginal; m != nil && m.Do != "" && m.Do != "judgement" {
		for _, key := range []string{"ask", "approvers", "not", "quorum", "expires"} {
			if c.f.given(path + ".marginal." + key) {
				c.add(path+".marginal."+key, key+" is for a question, and nobody is asked", "remove it, or write do: judgement")
			}
		}
	}
	names := map[string]bool{}
	for i := range k.Metrics {
		m, path := &k.Metrics[i], fmt.Sprintf("%s.metrics[%d]", path, i)
		if name := m.name(); name != "" && names[name] {
			c.add(path+c.f.keyOf(path, "name", "use"), fmt.Sprintf("there are two metrics with the name %s", quote(name)), "give each a name of its own")
		}
		names[m.name()] = true
		c.checkMetric(path, m)
	}
}

func (c *checker) checkCanaryTimes(path string, k *Canary) {
	if k.past() {
		c.checkPast(path, k)
		return
	}
	lifetime, interval := k.Span(), k.interval()
	switch {
	case lifetime <= 0 || interval <= 0: // was said
	case lifetime > maxCanaryLifetime:
		c.add(path+".lifetime", "a canary lives 30d at most", "")
	case interval > lifetime:
		c.add(path+".interval", "the interval is longer than the lifetime", "")
	case k.looks() > maxLooks:
		c.add(path+".interval", fmt.Sprintf("there would be more than %d looks", maxLooks), "look less often")
	}
	switch sliding := k.Window == "sliding"; {
	case sliding && k.Lookback == "" && !c.f.given(path+".lookback"):
		c.add(path+".window", "it is not said how far a sliding window goes back", "add lookback")
	case !sliding && k.Lookback != "":
		c.add(path+".lookback", "lookback is for window: sliding", "add window: sliding, or remove it")
	case k.Lookback != "" && k.Lookback.Span() > lifetime:
		c.add(path+".lookback", "lookback is longer than the lifetime", "")
	}
}

// checkPast is for a time that has been.
func (c *checker) checkPast(path string, k *Canary) {
	for _, key := range []string{"workloads", "instances", "weight", "weights", "warmup", "interval", "lifetime", "window", "lookback"} {
		if c.f.given(join(path, key)) {
			c.add(join(path, key), key+" means nothing for a time that has been", "remove it, or from and to")
		}
	}
	from, to := k.From.Time(), k.To.Time()
	switch {
	case k.From == "" && !c.f.given(path+".from"):
		c.add(path+".to", "it is not said when that time began", "add from")
	case k.To == "" && !c.f.given(path+".to"):
		c.add(path+".from", "it is not said when that time ended", "add to")
	case from.IsZero() || to.IsZero(): // was said
	case !from.Before(to):
		c.add(path+".to", "to is not after from", "")
	case to.Sub(from) < 2*time.Second:
		c.add(path+".to", "the time is too short to have samples", "")
	case to.Sub(from) > maxCanaryLifetime:
		c.add(path+".to", "the time is longer than 30d", "")
	}
}

func (c *checker) checkWeights(path string, k *Canary) {
	if k.Weight != "" && k.Weights != nil {
		c.add(path+".weight", "weight is the same as weights with one step", "remove one of them")
	}
	for i := 1; i < len(k.Weights); i++ {
		if before, here := k.Weights[i-1].Number(), k.Weights[i].Number(); here > 0 && here <= before {
			c.add(fmt.Sprintf("%s.weights[%d]", path, i), "the traffic is only ever raised", "write the weights from the smallest on")
		}
	}
}

func (c *checker) checkJudge(path string, k *Canary) {
	switch f := k.Confidence; {
	case f == nil:
	case !(*f > 0 && *f < 1):
		c.add(path+".confidence", "confidence must be between 0 and 1", "write for example 0.95")
	case k.Judge != canary.Kayenta && (*f < canary.LeastConfidence || *f > canary.MostConfidence):
		c.add(path+".confidence", fmt.Sprintf("the default judge takes a confidence from %v to %v", canary.LeastConfidence, canary.MostConfidence), "write for example 0.95")
	}
	if k.Tolerance != nil && k.Judge != "kayenta" {
		c.add(path+".tolerance", "tolerance is for judge: kayenta", "remove it")
	}
	c.within(path+".tolerance", k.Tolerance, 1)
	pass, marginal := k.Score.thresholds()
	if k.Score != nil {
		c.within(path+".score.pass", k.Score.Pass, 100)
		c.within(path+".score.marginal", k.Score.Marginal, 100)
		switch {
		case pass == 0 && k.Score.Pass != nil:
			c.add(path+".score.pass", "with 0 every canary would pass", "")
		case marginal > pass:
			at := path + c.scoreKey(path)
			c.add(at, fmt.Sprintf("marginal is above pass: %v and %v", marginal, pass), "below marginal a canary fails, and from pass on it passes")
		}
	}
	sum := 0.0
	for name, weight := range k.Groups {
		if weight < 0 || weight > 100 {
			c.add(join(path+".groups", string(name)), "the weight of a group must be between 0 and 100", "")
		}
		sum += weight
	}
	if sum > 100+1e-6 {
		c.add(path+".groups", fmt.Sprintf("the weights add up to %v, and 100 is the whole", sum), "")
	}
}

func (c *checker) scoreKey(path string) string {
	return ".score" + c.f.keyOf(path+".score", "marginal", "pass")
}

// within refuses a number that is not from 0 to most.
func (c *checker) within(path string, f *float64, most float64) {
	if f != nil && (*f < 0 || *f > most) {
		c.add(path, fmt.Sprintf("%s must be between 0 and %v", lastKey(path), most), "")
	}
}

func (c *checker) checkMetric(path string, m *CanaryMetric) {
	if c.readable(path) && !c.f.given(path+".use") {
		for _, key := range []string{"name", "source", "query"} {
			if !c.f.given(join(path, key)) {
				c.add(path, "this metric has no "+key, "add "+key+":, or use: with the name of an operator's metric")
				break
			}
		}
	}
	if d := m.Step.Span(); d%time.Second != 0 {
		c.add(path+".step", "step must be whole seconds", "")
	}
	for i, group := range m.Groups {
		for _, before := range m.Groups[:i] {
			if before == group && group != "" {
				c.add(fmt.Sprintf("%s.groups[%d]", path, i), quote(string(group))+" is given twice", "remove one of them")
			}
		}
	}
	if o := m.Outliers; o != nil && o.Factor != nil && (*o.Factor <= 0 || *o.Factor > 1000) {
		c.add(path+".outliers.factor", "factor must be above 0, and 1000 at most", "")
	}
	if e := m.Effect; e != nil {
		for key, f := range map[string]*float64{
			"allowed_increase": e.AllowedIncrease, "allowed_decrease": e.AllowedDecrease,
			"critical_increase": e.CriticalIncrease, "critical_decrease": e.CriticalDecrease,
		} {
			switch {
			case f == nil:
			case e.Measure == "cles":
				c.within(path+".effect."+key, f, 1)
			case *f < 0:
				c.add(path+".effect."+key, key+" must be 0 or more", "")
			}
		}
	}
}

// name is what the metric is called.
func (m *CanaryMetric) name() string {
	if m.Name != "" {
		return string(m.Name)
	}
	return string(m.Use)
}

// thresholds are the scores from which on a canary passes, and below which it fails.
func (s *Score) thresholds() (pass, marginal float64) {
	pass, marginal = canaryPass, canaryMarginal
	if s != nil && s.Pass != nil {
		pass = *s.Pass
		marginal = min(marginal, pass)
	}
	if s != nil && s.Marginal != nil {
		marginal = *s.Marginal
	}
	return pass, marginal
}
