package canary

import (
	"math"
	"slices"
)

// sides are the samples of a canary (x) and of its baseline (y), each in the order of size and none empty.
type sides struct {
	x, y []float64
	ties float64 // the sum of t³ − t over the ties of t samples within x and within y
	gap  float64 // the least difference between samples of x that are not equal
}

func newSides(x, y []float64) sides {
	s := sides{x: x, y: y, gap: math.Inf(1)}
	for _, side := range [][]float64{x, y} {
		same := 1
		for i := 1; i <= len(side); i++ {
			if i < len(side) && side[i] == side[i-1] {
				same++
				continue
			}
			s.ties += tied(same)
			same = 1
		}
	}
	for i := 1; i < len(x); i++ {
		if x[i] != x[i-1] {
			s.gap = min(s.gap, x[i]-x[i-1])
		}
	}
	return s
}

// The root finder's absolute tolerance and its most steps are those of R's wilcox.test, and with it of Kayenta.
const (
	rootTolerance = 1e-4
	rootSteps     = 1000
)

// shift is by how much x is above y: the Hodges-Lehmann estimate and its confidence interval, from the Mann-Whitney
// test with normal approximation, correction for ties and correction for continuity. Bauer, Constructing Confidence Sets
// Using Rank Statistics (1972); Hollander and Wolfe, Nonparametric Statistical Methods, 4.3. ok is false if the samples
// give none: if some shift makes all of them equal, or if they are too large to be subtracted.
func (s sides) shift(confidence float64) (estimate, lower, upper float64, ok bool) {
	low, high := s.x[0]-s.y[len(s.y)-1], s.x[len(s.x)-1]-s.y[0]
	atLow, atHigh := s.statistic(low), s.statistic(high)
	root := func(quantile float64, clamp bool) float64 {
		switch {
		case clamp && atLow-quantile <= 0:
			return low
		case clamp && atHigh-quantile >= 0:
			return high
		}
		return brent(low, high, atLow-quantile, atHigh-quantile, func(mu float64) float64 { return s.statistic(mu) - quantile })
	}
	q := normalQuantile((1 - confidence) / 2)
	lower, upper, estimate = root(-q, true), root(q, true), root(0, false)
	for _, f := range []float64{atLow, atHigh, lower, upper, estimate} {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, 0, 0, false
		}
	}
	return estimate, lower, upper, true
}

// statistic is the standardised rank sum of x, had it been lower by mu: about normal if y is as x is then. NaN if all
// samples are equal then.
func (s sides) statistic(mu float64) float64 {
	above, ties := s.above(mu)
	m, n := float64(len(s.x)), float64(len(s.y))
	d := above - m*n/2
	switch {
	case d > 0:
		d -= 0.5
	case d < 0:
		d += 0.5
	}
	sigma := math.Sqrt(m * n / 12 * (m + n + 1 - ties/((m+n)*(m+n-1))))
	if sigma == 0 {
		return math.NaN()
	}
	return d / sigma
}

// above counts the pairs in which a sample of x, lowered by mu, is above one of y, and by half those in which it is
// equal. That is the rank sum of x less the least that it can be. ties is the sum of t³ − t over all ties of t samples.
func (s sides) above(mu float64) (pairs, ties float64) {
	// As long as no two samples of x become equal by rounding, and none is equal to one of y, the ties are those within
	// the sides, and the pairs can be counted without a branch that the processor would have to guess.
	if largest := max(-s.x[0], s.x[len(s.x)-1]); s.gap > 2*epsilon*(largest+math.Abs(mu)) {
		if pairs, distinct := countAbove(s.x, s.y, mu); distinct {
			return float64(pairs), s.ties
		}
	}
	return s.aboveTied(mu)
}

// countAbove counts the pairs in which a sample of x, lowered by mu, is above one of y. It merges the sorted sides, the
// lower and the upper half at once, as each step waits for the one before. distinct is false if some are equal.
func countAbove(x, y []float64, mu float64) (pairs int, distinct bool) {
	half := len(x) / 2
	cut, _ := slices.BinarySearch(y, x[half]-mu)
	low, high := merge{x: x[:half], y: y[:cut]}, merge{x: x[half:], y: y[cut:]}
	for low.more() && high.more() {
		low.step(mu)
		high.step(mu)
	}
	for low.more() {
		low.step(mu)
	}
	for high.more() {
		high.step(mu)
	}
	return low.count() + high.count() + cut*len(high.x), low.equal|high.equal == 0
}

// merge counts the pairs of sorted samples in which one of x is above one of y.
type merge struct {
	x, y         []float64
	i, j         int // how far each is
	pairs, equal int // equal is 1 once two were
}

func (m *merge) more() bool { return m.i < len(m.x) && m.j < len(m.y) }

// step goes on by one sample. The conditions become numbers, not branches.
func (m *merge) step(mu float64) {
	a, b := m.x[m.i]-mu, m.y[m.j]
	below, equal := 0, 0
	if b < a {
		below = 1
	}
	if b == a {
		equal = 1
	}
	m.equal |= equal
	m.pairs += m.j & (below - 1) // j of y are below this sample of x, once b is not
	m.j += below
	m.i += 1 - below
}

// count is the pairs, with those of the samples that are left of x, which are above all of y.
func (m *merge) count() int { return m.pairs + (len(m.x)-m.i)*len(m.y) }

// aboveTied is above for samples of which some are equal.
func (s sides) aboveTied(mu float64) (pairs, ties float64) {
	x, y := s.x, s.y
	i, j := 0, 0
	for i < len(x) {
		at := x[i] - mu
		for j < len(y) && y[j] < at {
			same := 1
			for j++; j < len(y) && y[j] == y[j-1]; j++ {
				same++
			}
			ties += tied(same)
		}
		first, below := i, j
		for i++; i < len(x) && x[i]-mu == at; i++ {
		}
		for ; j < len(y) && y[j] == at; j++ {
		}
		pairs += float64(i-first) * (float64(below) + float64(j-below)/2)
		ties += tied(i - first + j - below)
	}
	for j < len(y) {
		same := 1
		for j++; j < len(y) && y[j] == y[j-1]; j++ {
			same++
		}
		ties += tied(same)
	}
	return pairs, ties
}

func tied(same int) float64 {
	if same == 1 {
		return 0
	}
	t := float64(same)
	return t*t*t - t
}

// superiority is the chance that a sample of x is above one of y, where equal ones count half: the common language
// effect size, by Vargha and Delaney, A Critique and Improvement of the CL (2000).
func (s sides) superiority() float64 {
	pairs, _ := s.above(0)
	return pairs / (float64(len(s.x)) * float64(len(s.y)))
}

// normalQuantile is the number below which a standard normal variable is with chance p.
func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// brent finds where f changes its sign between a and b, to within rootTolerance, with the steps of R's uniroot: Brent,
// Algorithms for Minimization without Derivatives (1973), chapter 4, where a step by interpolation is taken only if it
// is less than half of the last one. fa and fb are the values at a and b. NaN if f is NaN somewhere on the way.
func brent(a, b, fa, fb float64, f func(float64) float64) float64 {
	if fa == 0 {
		return a
	}
	// b is the best guess, a the one before, and the root is between b and c.
	c, fc := a, fa
	for range rootSteps + 1 {
		last := b - a
		if math.Abs(fc) < math.Abs(fb) {
			a, b, c = b, c, b
			fa, fb, fc = fb, fc, fb
		}
		tolerance := 2*epsilon*math.Abs(b) + rootTolerance/2
		step := (c - b) / 2
		if math.IsNaN(fb) {
			return fb
		}
		if math.Abs(step) <= tolerance || fb == 0 {
			return b
		}
		if math.Abs(last) >= tolerance && math.Abs(fa) > math.Abs(fb) {
			p, q := interpolate(a, b, c, fa, fb, fc)
			if p < 0.75*(c-b)*q-math.Abs(tolerance*q)/2 && p < math.Abs(last*q/2) {
				step = p / q
			}
		}
		if math.Abs(step) < tolerance {
			step = math.Copysign(tolerance, step)
		}
		a, fa = b, fb
		b += step
		fb = f(b)
		if (fb > 0) == (fc > 0) && fb != 0 {
			c, fc = a, fa
		}
	}
	return b
}

// epsilon is the distance from 1 to the next float64.
const epsilon = 0x1p-52

// interpolate gives the step p/q from b, with p not negative: by a line through two points, or by an inverse parabola
// through three.
func interpolate(a, b, c, fa, fb, fc float64) (p, q float64) {
	t := fb / fa
	if a == c {
		p, q = (c-b)*t, 1-t
	} else {
		r, u := fa/fc, fb/fc
		p, q = t*((c-b)*r*(r-u)-(b-a)*(u-1)), (r-1)*(u-1)*(t-1)
	}
	if p > 0 {
		return p, -q
	}
	return -p, q
}
