package canary

import "math"

// sides are the samples of a canary (x) and of its baseline (y), each in the order of size and none empty.
type sides struct{ x, y []float64 }

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
	ranks, ties := s.rankSum(mu)
	m, n := float64(len(s.x)), float64(len(s.y))
	d := ranks - m*(m+1)/2 - m*n/2
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

// rankSum is the sum of the ranks of x, lowered by mu, among both sides, where equal samples share the mean of their
// ranks; and the sum of t³ − t over all ties of t samples. It merges the sorted sides, in linear time.
func (s sides) rankSum(mu float64) (ranks, ties float64) {
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
		first, before := i, i+j
		for i++; i < len(x) && x[i]-mu == at; i++ {
		}
		same := i - first
		for ; j < len(y) && y[j] == at; j++ {
			same++
		}
		ranks += float64(i-first) * (float64(before) + float64(same+1)/2)
		ties += tied(same)
	}
	for j < len(y) {
		same := 1
		for j++; j < len(y) && y[j] == y[j-1]; j++ {
			same++
		}
		ties += tied(same)
	}
	return ranks, ties
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
	ranks, _ := s.rankSum(0)
	m, n := float64(len(s.x)), float64(len(s.y))
	return (2*ranks - m*(m+1)) / (2 * m * n)
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
