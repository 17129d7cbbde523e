package canary

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

var defaultThresholds = Thresholds{Pass: 75, Marginal: 50}

// Effect measures.
const (
	meanRatio = "meanRatio"
	cles      = "cles" // common language effect size
)

// complete is the request with what it does not say filled in, or an error that says what is wrong with it. The lists of
// samples are shared, not copied.
func (r Request) complete() (Request, error) {
	if r.Judge == "" {
		r.Judge = Default
	}
	if r.Score == (Thresholds{}) {
		r.Score = defaultThresholds
	}
	if r.Looks == 0 {
		r.Looks = 1
	}
	if r.Look == 0 {
		r.Look = r.Looks
	}
	if err := r.check(); err != nil {
		return Request{}, err
	}
	r.Metrics = slices.Clone(r.Metrics)
	for i := range r.Metrics {
		m, err := r.Metrics[i].complete()
		if err != nil {
			return Request{}, fmt.Errorf("metrics[%d] %q: %w", i, shorten(m.Name, 60), err)
		}
		r.Metrics[i] = m
	}
	if err := r.checkWeights(); err != nil {
		return Request{}, err
	}
	return r, nil
}

func (r Request) check() error {
	switch {
	case r.Judge != Default && r.Judge != Kayenta:
		return fmt.Errorf("judge: %q is none of default and kayenta", shorten(r.Judge, 60))
	case r.Confidence != nil && !(*r.Confidence > 0 && *r.Confidence < 1):
		return fmt.Errorf("confidence: %v is not between 0 and 1", *r.Confidence)
	case r.Tolerance != nil && !upTo(1, *r.Tolerance):
		return fmt.Errorf("tolerance: %v is not from 0 to 1", *r.Tolerance)
	case !upTo(100, r.Score.Pass):
		return fmt.Errorf("score: pass: %v is not from 0 to 100", r.Score.Pass)
	case !upTo(100, r.Score.Marginal):
		return fmt.Errorf("score: marginal: %v is not from 0 to 100", r.Score.Marginal)
	case r.Score.Marginal > r.Score.Pass:
		return fmt.Errorf("score: marginal: %v is above pass, which is %v", r.Score.Marginal, r.Score.Pass)
	case r.Score.Pass == 0:
		return errors.New("score: pass: at 0 every canary would pass")
	case r.Looks < 1 || r.Looks > MaxLooks:
		return fmt.Errorf("looks: %d is not from 1 to %d", r.Looks, MaxLooks)
	case r.Look < 1 || r.Look > r.Looks:
		return fmt.Errorf("look: %d is not from 1 to looks, which is %d", r.Look, r.Looks)
	case len(r.Metrics) == 0:
		return errors.New("metrics: there are none, and so nothing to judge")
	case len(r.Metrics) > MaxMetrics:
		return fmt.Errorf("metrics: there are more than %d", MaxMetrics)
	}
	return nil
}

// upTo is whether f is from 0 to most; NaN is not.
func upTo(most, f float64) bool { return f >= 0 && f <= most }

// checkWeights refuses weights of groups that no metric is in: with a name that is misspelt, a part of the score could
// not be reached by any canary.
func (r Request) checkWeights() error {
	known := map[string]bool{}
	for _, m := range r.Metrics {
		for _, g := range m.Groups {
			known[g] = true
		}
		known[ungrouped] = known[ungrouped] || len(m.Groups) == 0
	}
	sum := 0.0
	for _, name := range sortedKeys(r.GroupWeights) {
		weight := r.GroupWeights[name]
		switch {
		case !upTo(100, weight):
			return fmt.Errorf("group_weights: %q: %v is not from 0 to 100", shorten(name, 60), weight)
		case !known[name]:
			return fmt.Errorf("group_weights: no metric is in the group %q", shorten(name, 60))
		}
		sum += weight
	}
	if sum > 100+1e-6 {
		return fmt.Errorf("group_weights: they add up to %v, and 100 is the whole", sum)
	}
	return nil
}

func (m Metric) complete() (Metric, error) {
	m.Kind = or(m.Kind, Gauge)
	m.Direction = or(m.Direction, Either)
	m.NaN = or(m.NaN, RemoveNaN)
	m.Outliers.Strategy = or(m.Outliers.Strategy, keepOutliers)
	if m.Outliers.Factor == nil {
		factor := defaultFactor
		m.Outliers.Factor = &factor
	}
	m.EffectSize.Measure = or(m.EffectSize.Measure, meanRatio)
	for _, check := range []func() error{m.checkOptions, m.EffectSize.check, m.checkGroups, m.checkSamples} {
		if err := check(); err != nil {
			return m, err
		}
	}
	return m, nil
}

func or[T ~string](given, otherwise T) T {
	if given == "" {
		return otherwise
	}
	return given
}

// among refuses a word that is none of those there are.
func among[T ~string](key string, given T, words ...T) error {
	if slices.Contains(words, given) {
		return nil
	}
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return fmt.Errorf("%s: %q is none of %s", key, shorten(string(given), 60), strings.Join(names, ", "))
}

func (m Metric) checkOptions() error {
	for _, err := range []error{
		among("kind", m.Kind, Gauge, Count),
		among("direction", m.Direction, Either, Increase, Decrease),
		among("nan", m.NaN, RemoveNaN, ReplaceNaN),
		among("outliers: strategy", m.Outliers.Strategy, keepOutliers, removeOutliers),
	} {
		if err != nil {
			return err
		}
	}
	switch {
	case m.Name == "":
		return errors.New("name: it is empty")
	case len(m.Name) > MaxName:
		return fmt.Errorf("name: it is longer than %d bytes", MaxName)
	case !(*m.Outliers.Factor > 0) || math.IsInf(*m.Outliers.Factor, 0):
		return fmt.Errorf("outliers: factor: %v is not above 0", *m.Outliers.Factor)
	case m.Critical && m.Advisory:
		return errors.New("advisory: a metric can't be critical and advisory")
	}
	return nil
}

func (e EffectSize) check() error {
	if err := among("effect_size: measure", e.Measure, meanRatio, cles); err != nil {
		return err
	}
	for i, limit := range []*float64{e.AllowedIncrease, e.AllowedDecrease, e.CriticalIncrease, e.CriticalDecrease} {
		key := effectKeys[1+i]
		switch {
		case limit == nil:
		case !(*limit >= 0) || math.IsInf(*limit, 0):
			return fmt.Errorf("effect_size: %s: %v is not 0 or above", key, *limit)
		case e.Measure == cles && *limit > 1:
			return fmt.Errorf("effect_size: %s: %v is not from 0 to 1, as a chance is", key, *limit)
		}
	}
	return nil
}

func (m Metric) checkGroups() error {
	if len(m.Groups) > MaxGroups {
		return fmt.Errorf("groups: there are more than %d", MaxGroups)
	}
	for i, g := range m.Groups {
		switch {
		case g == "":
			return fmt.Errorf("groups[%d]: the name is empty", i)
		case len(g) > MaxName:
			return fmt.Errorf("groups[%d]: the name is longer than %d bytes", i, MaxName)
		case slices.Contains(m.Groups[:i], g):
			return fmt.Errorf("groups[%d]: %q stands there twice", i, shorten(g, 60))
		}
	}
	return nil
}

func (m Metric) checkSamples() error {
	totals := len(m.BaselineTotal) + len(m.CanaryTotal)
	for _, side := range []struct {
		name           string
		samples, total []Number
	}{{"baseline", m.Baseline, m.BaselineTotal}, {"canary", m.Canary, m.CanaryTotal}} {
		switch {
		case len(side.samples) > MaxSamples:
			return fmt.Errorf("%s: there are more than %d", side.name, MaxSamples)
		case side.total != nil && m.Kind != Count:
			return fmt.Errorf("%s_total: only a metric of kind count has a total", side.name)
		case side.total == nil && totals > 0 && len(side.samples) > 0:
			return fmt.Errorf("%s_total: there is none, and the other side has one", side.name)
		case side.total != nil && len(side.total) != len(side.samples):
			return fmt.Errorf("%s_total: there are %d, and %d samples", side.name, len(side.total), len(side.samples))
		}
		if m.Kind != Count {
			continue
		}
		if i := slices.IndexFunc(side.samples, negative); i >= 0 {
			return fmt.Errorf("%s[%d]: a count can't be %v", side.name, i, float64(side.samples[i]))
		}
		if i := slices.IndexFunc(side.total, negative); i >= 0 {
			return fmt.Errorf("%s_total[%d]: a count can't be %v", side.name, i, float64(side.total[i]))
		}
	}
	return nil
}

func negative(n Number) bool { return n < 0 }
