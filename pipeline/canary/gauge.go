package canary

import (
	"fmt"
	"math"
	"slices"
)

// clipAt is how many standard deviations a sample may be from its side's median before it is taken to be that far only,
// so that a few wild samples can't hide a shift or make one.
const clipAt = 5

// gauge holds the two sides of a metric as they are compared: in a unit in which they vary by about one, as logarithms
// if that makes them more even, and clipped.
type gauge struct {
	baseline, canary []float64 // in the order of time
	sortedB, sortedC []float64 // in the metric's own unit
	log              bool
	scale, offset    float64 // own unit, or its logarithm = offset + scale · unit
	medianB, medianC float64
	middle           float64 // half of the samples are within so much of their median, if it were even; 0 if most are equal
}

func gaugeOf(baseline, canary []float64) gauge {
	g := gauge{sortedB: slices.Clone(baseline), sortedC: slices.Clone(canary)}
	slices.Sort(g.sortedB)
	slices.Sort(g.sortedC)
	g.log = evenAsLogs(g.sortedB, g.sortedC)
	own := func(x float64) float64 {
		if g.log {
			return math.Log(x)
		}
		return x
	}
	unit := scaleOf(own(g.sortedB[0]), own(g.sortedB[len(g.sortedB)-1]), own(g.sortedC[0]), own(g.sortedC[len(g.sortedC)-1]))
	g.offset, g.scale = own(percentile(g.sortedB, 50)), unit
	in := func(x float64) float64 { return own(x)/unit - g.offset/unit }
	quarter := func(s []float64, p float64) float64 { return in(percentile(s, p)) }
	g.medianB, g.medianC = quarter(g.sortedB, 50), quarter(g.sortedC, 50)
	g.middle = (quarter(g.sortedB, 75) - quarter(g.sortedB, 25) + quarter(g.sortedC, 75) - quarter(g.sortedC, 25)) / 4
	g.baseline, g.canary = make([]float64, len(baseline)), make([]float64, len(canary))
	for i, x := range baseline {
		g.baseline[i] = in(x)
	}
	for i, x := range canary {
		g.canary[i] = in(x)
	}
	return g
}

// scaleOf is a power of two near the range of the values, so that no sample overflows and none is rounded.
func scaleOf(values ...float64) float64 {
	most := slices.Max(values)/2 - slices.Min(values)/2
	if most == 0 {
		return 1
	}
	_, exponent := math.Frexp(most)
	return math.Ldexp(1, min(1023, max(exponent, -1000)))
}

// evenAsLogs is whether the logarithms of the samples are spread more evenly about their median than the samples.
func evenAsLogs(a, b []float64) bool {
	if a[0] <= 0 || b[0] <= 0 {
		return false
	}
	same := func(x float64) float64 { return x }
	raw := skew(a, same) + skew(b, same)
	logs := skew(a, math.Log) + skew(b, math.Log)
	return math.Abs(logs) < math.Abs(raw)+0.4
}

// skew is how much more room the upper samples take than the lower, from −1 to 1 (Kelly's measure, by deciles).
func skew(sorted []float64, of func(float64) float64) float64 {
	low, middle, high := of(percentile(sorted, 10)), of(percentile(sorted, 50)), of(percentile(sorted, 90))
	if !(high > low) {
		return 0
	}
	return (high/2 - middle + low/2) / (high/2 - low/2)
}

// clipped are the samples of a side, none farther from its median than clipAt standard deviations.
func (g gauge) clipped(samples []float64, median float64) []float64 {
	if g.middle == 0 {
		return samples
	}
	const deviation = 0.6745 // of a normal distribution, half is within so many standard deviations
	most := clipAt * g.middle / deviation
	out := make([]float64, len(samples))
	for i, x := range samples {
		out[i] = min(median+most, max(median-most, x))
	}
	return out
}

// pairs are the comparisons of the two sides: of their samples, and if these follow one another, of means of batches of
// them too. What wanders slowly under noise of its own looks less like its neighbours than it does over some steps.
func (g gauge) pairs() []pair {
	b, c := g.clipped(g.baseline, g.medianB), g.clipped(g.canary, g.medianC)
	out := []pair{compare(momentsOf(b), momentsOf(c))}
	if closeness[out[0].likely] < follows {
		return out
	}
	for _, size := range batches[1:] {
		if min(len(b), len(c)) >= size*leastMeans {
			out = append(out, compare(batchesOf(batchMeans(b, size), size), batchesOf(batchMeans(c, size), size)))
		}
	}
	return out
}

const (
	follows    = 0.2 // rho from which on samples are taken to follow one another
	leastMeans = 15  // batches of each side that are needed
)

func batchMeans(samples []float64, size int) []float64 {
	out := make([]float64, len(samples)/size)
	for i := range out {
		out[i] = mean(samples[i*size : (i+1)*size])
	}
	return out
}

// change is the shift in the metric's own unit.
func (g gauge) change(pairs []pair, level float64) shiftFound {
	p := pairs[0]
	shift, c := p.shift[p.best], shiftFound{sure: true, drifts: p.drifts()}
	lower, upper := shift, shift
	for _, p := range pairs {
		low, high := p.interval(level)
		lower, upper = min(lower, low), max(upper, high)
		c.sure = c.sure && p.chance() <= level
	}
	if c.sure && p.jump.plain() {
		j := g.sized(p.jump)
		reach := j.reach(p.n, level)
		shift, lower, upper, c.jump = j.size, j.size-reach, j.size+reach, &j
	}
	base := p.level[p.best]
	if g.log {
		c.from = math.Exp(g.offset + g.scale*base)
		in := func(shift float64) float64 { return c.from * math.Expm1(g.scale*shift) }
		c.estimate, c.lower, c.upper = in(shift), in(lower), in(upper)
	} else {
		c.from = g.offset + g.scale*base
		c.estimate, c.lower, c.upper = g.scale*shift, g.scale*lower, g.scale*upper
	}
	c.to = c.from + c.estimate
	return c.agree()
}

// sized is a jump of the size that it has without the clipping of what comes after it by what was before.
func (g gauge) sized(j jump) jump {
	around := func(samples []float64) []float64 {
		sorted := slices.Clone(samples)
		slices.Sort(sorted)
		return g.clipped(samples, percentile(sorted, 50))
	}
	parts := slices.Concat(around(g.canary[:j.at]), around(g.canary[j.at:]))
	if again := compare(momentsOf(g.clipped(g.baseline, g.medianB)), momentsOf(parts)).jump; again.plain() {
		return again
	}
	return j
}

// without is the gauge of a canary that has not made a jump.
func (g gauge) without(j jump, baseline, canary []float64) gauge {
	level := slices.Clone(canary)
	for i := range level[j.at:] {
		if g.log {
			level[j.at+i] /= math.Exp(g.scale * j.size)
		} else {
			level[j.at+i] -= g.scale * j.size
		}
	}
	return gaugeOf(baseline, level)
}

// gauge judges a metric by the distribution of its samples.
func (p plan) gauge(m Metric) MetricReport {
	baseline, canary := clean(m, m.Baseline), clean(m, m.Canary)
	if r, few := tooFew(m, len(baseline), len(canary)); few {
		return r
	}
	g := gaugeOf(baseline, canary)
	if b, c := g.sortedB, g.sortedC; constant(b) && constant(c) && b[0] == c[0] {
		r := unknown(m, LabelPass)
		r.Ratio, r.Estimate, r.Lower, r.Upper = Number(newSides(c, b).effect(m)), 0, 0, 0
		r.Reason = fmt.Sprintf("%s: all samples of both are %s.", shorten(m.Name, 60), figure(b[0]))
		return r
	}
	level := p.level(partShift)
	pairs := g.pairs()
	ch := g.change(pairs, level)
	if math.IsNaN(ch.estimate) || math.IsNaN(ch.lower) || math.IsNaN(ch.upper) {
		r := unknown(m, LabelError)
		r.Reason = "The numbers are too large to be compared."
		return r
	}
	l := limitsOf(m)
	var chance *float64
	sortedC := g.sortedC
	if ch.jump != nil { // what it is like now is what counts
		sortedC = slices.Clone(canary[ch.jump.at:])
		slices.Sort(sortedC)
	}
	effect := newSides(sortedC, g.sortedB).effect(m)
	if m.EffectSize.Measure == cles {
		chance = &effect
	}
	found := l.weigh(ch, chance)
	r := reportOf(m, l, ch, found, effect)
	s := saying{plan: p, metric: m, limits: l, change: ch, found: found, samplesB: len(baseline), samplesC: len(canary)}
	if ch.jump != nil {
		s.jump = placeIn(m, m.Canary, ch.jump.at) + 1
	}
	r.Reason = s.gauge()
	if found == worse || found == straddle || found == tiny {
		return r
	}
	if ch.jump != nil {
		g = g.without(*ch.jump, baseline, canary)
		pairs = g.pairs()
	}
	if label, reason := p.shape(m, g, pairs[0]); label != LabelPass {
		r.Label, r.Reason, r.Critical = label, reason, l.critical(m, label, effect)
	}
	return r
}

// reportOf is a metric's report without its sentence.
func reportOf(m Metric, l limits, c shiftFound, found finding, effect float64) MetricReport {
	r := MetricReport{
		Name: m.Name, Label: LabelPass, Ratio: Number(effect),
		Estimate: Number(c.estimate), Lower: Number(c.lower), Upper: Number(c.upper),
	}
	switch found {
	case worse:
		r.Label = LabelLow
		if c.up() {
			r.Label = LabelHigh
		}
		r.Critical = l.critical(m, r.Label, effect)
	case tiny, straddle:
		r.Label = LabelInconclusive
	case unclear, better, within:
	}
	return r
}
