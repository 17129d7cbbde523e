package canary

import (
	"fmt"
	"math"
	"slices"
)

const (
	leastForSpread = 30
	leastSpread    = 1.25 // ratio of the canary's spread to the baseline's that counts
	leastForTail   = 60
)

// shape looks for a canary that varies more than the baseline, or that has more of the samples farthest out, while its
// level may be the same. It says LabelPass if there is nothing.
func (p plan) shape(m Metric, g gauge, shift pair) (Label, string) {
	label := LabelHigh
	if m.Direction == Decrease {
		label = LabelLow
	}
	if ratio, wider := p.wider(m, g); wider {
		return label, fmt.Sprintf("%s varies more: its spread is %s times the baseline's, in %s.",
			shorten(m.Name, 60), figure(ratio), samples(len(g.canary), len(g.baseline)))
	}
	if found, longer := p.tail(m, g, shift); longer {
		return label, fmt.Sprintf("%s has a longer tail: %s, in %s.", shorten(m.Name, 60), found, samples(len(g.canary), len(g.baseline)))
	}
	return LabelPass, ""
}

// wider compares how far samples are from their side's median, as levels are compared. Square roots make these
// distances even.
func (p plan) wider(m Metric, g gauge) (ratio float64, sure bool) {
	if g.middle == 0 || min(len(g.baseline), len(g.canary)) < leastForSpread {
		return 1, false
	}
	b, c := momentsOf(distances(g.clipped(g.baseline, g.medianB), g.medianB)), momentsOf(distances(g.clipped(g.canary, g.medianC), g.medianC))
	pair := compare(b, c)
	ratio = c.centre / b.centre
	ratio *= ratio
	least := leastSpread
	if e := m.EffectSize; e.Measure != cles && e.AllowedIncrease != nil {
		least = max(least, *e.AllowedIncrease)
	}
	// The rate is for one side only, which is half of what is two-sided at this level.
	return ratio, pair.shift[pair.best] > 0 && ratio >= least && pair.chance() <= p.level(2*partSpread)
}

func distances(samples []float64, median float64) []float64 {
	out := make([]float64, len(samples))
	for i, x := range samples {
		out[i] = math.Sqrt(math.Abs(x - median))
	}
	return out
}

// tailPart is the part of all samples that is taken for a tail.
const tailPart = 0.05

// tail looks at the samples farthest out. Were the two sides alike, those of the canary would not be the farther ones
// among them, and half of the farthest would be its own. Samples that follow each other closely count as one. The text
// says what was found, if it is sure.
func (p plan) tail(m Metric, g gauge, shift pair) (found string, sure bool) {
	if min(len(g.baseline), len(g.canary)) < leastForTail {
		return "", false
	}
	sign, which := 1.0, "highest"
	if m.Direction == Decrease {
		sign, which = -1, "lowest"
	}
	all := len(g.baseline) + len(g.canary)
	level := lateLevel(p.rate*partTail, p.look, p.looks) / 2
	apart, edge := gap(shift), g.outer(int(tailPart*float64(all)), sign)
	b, c := peaks(g.baseline, sign, edge, apart), peaks(g.canary, sign, edge, apart)
	if len(b) > 0 && len(c) > 0 && farther(c, b) <= level {
		return fmt.Sprintf("of the %d %s values of both, those of the canary are farther out", len(b)+len(c), which), true
	}
	edge = g.outer(int(tailPart/2*float64(all)), sign)
	b, c = peaks(g.baseline, sign, edge, apart), peaks(g.canary, sign, edge, apart)
	if share := float64(len(g.canary)) / float64(all); upperTail(len(c), len(b)+len(c), share) <= level {
		return fmt.Sprintf("of the %d %s values of both, %d are the canary's", len(b)+len(c), which, len(c)), true
	}
	return "", false
}

// farther is how often peaks of one kind are as far above those of another by chance: the test of Mann and Whitney, one
// sided, by the normal approximation.
func farther(x, y []float64) float64 {
	slices.Sort(x)
	slices.Sort(y)
	n, m := float64(len(x)), float64(len(y))
	above := newSides(x, y).superiority() - 0.5
	return math.Erfc(above/math.Sqrt((n+m+1)/(12*n*m))/math.Sqrt2) / 2
}

// outer is the edge beyond which there are so many samples of both sides, fewer if some are equal; in the unit of the
// gauge times the sign.
func (g gauge) outer(count int, sign float64) float64 {
	b, c := len(g.sortedB), len(g.sortedC)
	for range count {
		if c > 0 && (b == 0 || g.far(g.sortedC, c, sign) > g.far(g.sortedB, b, sign)) {
			c--
		} else {
			b--
		}
	}
	edge := math.Inf(-1)
	if b > 0 {
		edge = g.far(g.sortedB, b, sign)
	}
	if c > 0 {
		edge = max(edge, g.far(g.sortedC, c, sign))
	}
	return edge
}

// far is the n-th sample from the near end.
func (g gauge) far(sorted []float64, n int, sign float64) float64 {
	x := sorted[n-1]
	if sign < 0 {
		x = sorted[len(sorted)-n]
	}
	if g.log {
		x = math.Log(x)
	}
	return sign * (x/g.scale - g.offset/g.scale)
}

// gap is how many steps must be between two samples before they say different things.
func gap(p pair) int {
	if p.best == 0 {
		return 0
	}
	rho := closeness[min(p.best+1, len(closeness)-1)]
	return int(math.Ceil(math.Log(0.2) / math.Log(rho)))
}

// peaks are the samples beyond the edge, of those closer than apart only the farthest.
func peaks(samples []float64, sign, edge float64, apart int) []float64 {
	var out []float64
	last := math.MinInt / 2
	for i, x := range samples {
		x *= sign
		if x <= edge {
			continue
		}
		if i-last > apart {
			out = append(out, x)
		} else {
			out[len(out)-1] = max(out[len(out)-1], x)
		}
		last = i
	}
	return out
}

// lateLevel is the one-sided level of a look if most of the rate is kept for the last, with the bounds of O'Brien and
// Fleming, A Multiple Testing Procedure for Clinical Trials (1979): there are too few samples far out to say much early.
func lateLevel(rate float64, look, looks int) float64 {
	if looks > 1 {
		const kept = 0.7 // for the last look; with ever more looks it would go to a half
		bound := -normalQuantile(kept*rate) * math.Sqrt(float64(looks)/float64(look))
		return math.Erfc(bound/math.Sqrt2) / 2
	}
	return rate
}

// upperTail is the chance of k or more of n, each with chance p.
func upperTail(k, n int, p float64) float64 {
	if k <= 0 {
		return 1
	}
	all, _ := math.Lgamma(float64(n) + 1)
	in, _ := math.Lgamma(float64(k) + 1)
	out, _ := math.Lgamma(float64(n-k) + 1)
	term := math.Exp(all - in - out + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := term
	for ; k < n && term > sum*1e-12; k++ {
		term *= float64(n-k) / float64(k+1) * p / (1 - p)
		sum += term
	}
	return min(1, sum)
}
