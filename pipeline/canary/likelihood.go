package canary

import "math"

// The shift between two sides is judged by likelihood. Samples are taken to follow one another: each is off its level by
// rho times what the one before was off, and noise (a stationary autoregression of order one; its exact likelihood is in
// any book on time series). With rho unknown, samples that wander can lie apart for a while without a difference. How
// likely that is depends on rho, so every rho is tried, and the samples themselves say which are credible.

// closeness are the values of rho that are tried.
var closeness = [...]float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99}

const (
	priorIndependent = 0.5 // of rho 0, where a difference is supposed: what is independent is judged quickly
	// Of the ways to differ: a canary that drifts away, and one that jumps away at some moment; else it is off by the same
	// all the time.
	priorLeak = 0.2
	priorJump = 0.2
)

// moments are what the likelihood of one side needs to know of its samples. All but the centre are of the samples less
// the centre, which is near their mean so that little is lost to rounding.
type moments struct {
	n, centre   float64
	sum         float64
	squares     float64
	neighbours  float64 // products of each sample and the next
	ramped      float64 // products of each sample and its time, from 0 at the start to 1 at the end
	first, last float64
	samples     []float64 // themselves
	steps       int       // that each sample is of: more than one in batches
}

func momentsOf(samples []float64) moments {
	m := moments{n: float64(len(samples)), centre: mean(samples), samples: samples, steps: 1}
	before := 0.0
	for i, x := range samples {
		x -= m.centre
		m.sum += x
		m.squares += x * x
		m.neighbours += x * before
		m.ramped += x * (float64(i) + 0.5) / m.n
		before = x
	}
	m.first, m.last = samples[0]-m.centre, before
	return m
}

// batchesOf are the moments of samples that are of so many steps each.
func batchesOf(samples []float64, steps int) moments {
	m := momentsOf(samples)
	m.steps = steps
	return m
}

// track is what a side shows at one rho: its level, how precisely that is known, and the squares that stay unexplained,
// all in units of the noise; and the drift that fits it best.
type track struct {
	level, precision, rest float64
	lever                  float64 // by how much a drift moves the level
	drift, driftPrecision  float64
	pull                   float64 // product of the samples and a level of one
}

func (m moments) at(rho float64) track {
	away, step := 1-rho, 1/m.n
	start, end := step/2, 1-step/2 // the times of the first and the last sample

	t := track{precision: away * (away*m.n + 2*rho)}
	pull := away * (away*m.sum + rho*(m.first+m.last))
	t.pull = pull
	whole := (1+rho*rho)*m.squares - rho*rho*(m.first*m.first+m.last*m.last) - 2*rho*m.neighbours
	off := pull / t.precision
	t.level, t.rest = m.centre+off, max(0, whole-off*pull)

	// The same products with the time in place of the samples, and of the one with the other.
	times := away * (away*m.n/2 + rho)
	timesSquared := away*away*(m.n/3-step/12) + rho*away*(start*start+end*end) + rho*step*(end-start)
	both := away*away*m.ramped + rho*away*(start*m.first+end*m.last) - rho*step*(m.first-m.last)
	t.lever = times / t.precision
	t.driftPrecision = timesSquared - t.lever*times
	t.drift = (both - t.lever*pull) / t.driftPrecision
	return t
}

// pair is a baseline and a canary that are compared: at each rho the shift from the one's level to the other's, its
// precision, and the squares that two levels leave unexplained.
type pair struct {
	n, smaller float64 // samples of both sides, and of the one that has fewer
	shift      [len(closeness)]float64
	precision  [len(closeness)]float64
	rest       [len(closeness)]float64
	level      [len(closeness)]float64 // the baseline's

	apart   float64 // log-likelihood of samples that differ, over all rho and ways to differ
	best    int     // the rho at which two levels are likeliest
	likely  int     // the rho at which what is likeliest of all is so
	leakOdd float64 // how many times likelier a drift of the canary is than two levels, as a logarithm
	jump    jump    // the likeliest
}

func compare(baseline, canary moments) pair {
	p := pair{n: baseline.n + canary.n, smaller: min(baseline.n, canary.n)}
	var level, leak mixture
	levelBest, leakBest := math.Inf(-1), math.Inf(-1)
	var tracks [len(closeness)]track // of the canary
	for i, rho := range closeness {
		b, c := baseline.at(rho), canary.at(rho)
		tracks[i] = c
		p.level[i], p.shift[i] = b.level, c.level-b.level
		p.precision[i] = b.precision * c.precision / (b.precision + c.precision)
		p.rest[i] = max(b.rest+c.rest, p.n*nothing)
		l := p.log(i, p.rest[i])
		level.add(l, prior(i))
		if l > levelBest {
			levelBest, p.best = l, i
		}
		l = p.log(i, p.drifting(i, c))
		leak.add(l, prior(i))
		if l > leakBest {
			leakBest, p.likely = l, i
		}
	}
	if levelBest >= leakBest {
		p.likely = p.best
	}
	p.leakOdd = leakBest - levelBest
	const priorLevel = 1 - priorLeak - priorJump
	level.add(leak.log(), priorLeak/priorLevel)

	if jump := p.jumps(canary, tracks, max(levelBest, leakBest)); p.jump.plain() {
		level.add(jump, priorJump/priorLevel)
	}
	p.apart = level.log() + math.Log(priorLevel)
	return p
}

// drifts is whether a drift is so much likelier that it may be said.
func (p pair) drifts() bool { return p.leakOdd > 3 }

// nothing is what is left of squares by rounding, per sample; samples are of the order of one.
const nothing = 1e-18

func prior(i int) float64 {
	if i == 0 {
		return priorIndependent
	}
	return (1 - priorIndependent) / float64(len(closeness)-1)
}

// drifting are the squares that stay unexplained if the canary began at the baseline's level and drifts away evenly.
func (p pair) drifting(i int, canary track) float64 {
	pull := p.precision[i]*canary.lever*p.shift[i] + canary.driftPrecision*canary.drift
	drift := pull / (p.precision[i]*canary.lever*canary.lever + canary.driftPrecision)
	level, slope := drift*canary.lever-p.shift[i], drift-canary.drift
	rest := p.rest[i] - canary.drift*canary.drift*canary.driftPrecision +
		p.precision[i]*level*level + canary.driftPrecision*slope*slope
	return max(rest, p.n*nothing)
}

// log is the log-likelihood at a rho of levels that leave this many squares unexplained, where the noise is as large as
// fits best.
func (p pair) log(i int, rest float64) float64 {
	rho := closeness[i]
	return math.Log(1-rho*rho) - p.n/2*math.Log(rest)
}

// evidence is how many times likelier the samples are if they differ than if they have one level and each follows the
// one before by this rho; as a logarithm.
func (p pair) evidence(i int) float64 {
	return p.apart - p.log(i, p.rest[i]+p.shift[i]*p.shift[i]*p.precision[i])
}

// mixture is a weighted sum of likelihoods that are known by their logarithms.
type mixture struct{ top, sum float64 }

func (m *mixture) add(log, weight float64) {
	switch {
	case m.sum == 0:
		m.top, m.sum = log, weight
	case log <= m.top:
		m.sum += weight * math.Exp(log-m.top)
	default:
		m.top, m.sum = log, m.sum*math.Exp(m.top-log)+weight
	}
}

func (m *mixture) log() float64 { return m.top + math.Log(m.sum) }
