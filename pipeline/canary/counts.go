package canary

import (
	"math"
	"slices"
)

// counts are how often something happened at each step, and out of how many.
type counts struct {
	baseline, canary side
	totals           bool // there are any; else each sample is out of one step
}

type side struct {
	count, total []float64
	places       []int // of the steps among the metric's samples
}

func (s side) sums() (count, total float64) {
	for i := range s.count {
		count += s.count[i]
		total += s.total[i]
	}
	return count, total
}

// countsOf takes a metric's counts. Without totals they are sound only if they are whole: what has been divided by time,
// say, has lost how much chance there is in it, and is judged as a gauge. With totals their rate is what is judged, and
// fractions, as a source makes them that fills up the ends of a step, do no harm.
func countsOf(m Metric) (c counts, sound bool) {
	c = counts{totals: m.BaselineTotal != nil && m.CanaryTotal != nil}
	c.baseline = sideOf(m, m.Baseline, m.BaselineTotal)
	c.canary = sideOf(m, m.Canary, m.CanaryTotal)
	for _, s := range [][]float64{c.baseline.count, c.canary.count} {
		for _, x := range s {
			if x < 0 || !c.totals && x != math.Trunc(x) {
				return c, false
			}
		}
	}
	return c, true
}

// sideOf takes the steps at which both numbers are there and something could happen. What happened more often than it
// could have is taken to have happened each time.
func sideOf(m Metric, count, total []Number) side {
	var s side
	for i := range count {
		x, n := float64(count[i]), 1.0
		if total != nil {
			n = float64(total[i])
		}
		if absent(x) && m.NaN == ReplaceNaN {
			x = 0
		}
		if absent(x) || absent(n) || n < 0 {
			continue
		}
		if total != nil {
			n = max(n, x)
		}
		if n > 0 {
			s.count, s.total, s.places = append(s.count, x), append(s.total, n), append(s.places, i)
		}
	}
	if m.Outliers.Strategy == removeOutliers && len(s.count) > 0 {
		return s.withoutOutliers(m.Outliers.factor())
	}
	return s
}

func absent(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

func (s side) until(at int) side { return side{s.count[:at], s.total[:at], s.places[:at]} }

func (s side) from(at int) side { return side{s.count[at:], s.total[at:], s.places[at:]} }

func (s side) rates() []float64 {
	out := make([]float64, len(s.count))
	for i := range out {
		out[i] = s.count[i] / s.total[i]
	}
	return out
}

func (s side) withoutOutliers(factor float64) side {
	rates := s.rates()
	sorted := slices.Clone(rates)
	slices.Sort(sorted)
	low, high := fences(sorted, factor)
	var out side
	for i, r := range rates {
		if r >= low && r <= high {
			out.count, out.total, out.places = append(out.count, s.count[i]), append(out.total, s.total[i]), append(out.places, s.places[i])
		}
	}
	return out
}

// anscombe makes small counts more even, and all counts vary alike: Anscombe, The Transformation of Poisson, Binomial
// and Negative-Binomial Data (1948).
func anscombe(count float64) float64 { return 2 * math.Sqrt(count+0.375) }

// surplus is by how much each count is above what a rate makes expect.
func (s side) surplus(rate float64) []float64 {
	out := make([]float64, len(s.count))
	for i, n := range s.total {
		out[i] = anscombe(s.count[i]) - anscombe(rate*n)
	}
	return out
}

// batches are the sizes of the batches of steps in which counts are looked at as well. Few errors that come in bursts
// look independent from one step to the next, and batches show that they are not.
var batches = [...]int{1, 2, 4, 8}

// leastBatches of each side are needed, or batches could hide what is plain.
const leastBatches = 20

func (s side) batched(size int) side {
	var out side
	for i := 0; i+size <= len(s.count); i += size {
		x, n := 0.0, 0.0
		for k := range size {
			x, n = x+s.count[i+k], n+s.total[i+k]
		}
		out.count, out.total = append(out.count, x), append(out.total, n)
	}
	return out
}

// view is a comparison of counts in batches of so many steps.
type view struct {
	pair
	size int
}

// compared are the sides, with the chance that they look as different as they do if their rates are the same.
func (c counts) compared() ([]view, float64) {
	x, n := c.baseline.sums()
	y, m := c.canary.sums()
	rate := (x + y) / (n + m)
	chance := 0.0
	var views []view
	for _, size := range batches {
		b, d := c.baseline.batched(size), c.canary.batched(size)
		if size > 1 && min(len(b.count), len(d.count)) < leastBatches {
			break
		}
		p := compare(batchesOf(b.surplus(rate), size), batchesOf(d.surplus(rate), size))
		chance = max(chance, p.chance())
		views = append(views, view{p, size})
	}
	return views, max(chance, thinned(binomial(y, x+y, m/(n+m)), c.excess(views[0].jump)))
}

// excess is how many times larger the variance of the sums may be than that of counts that come independently. Counts of
// a side that vary more than they should may have a rate that wanders; those that vary less resemble their neighbours.
// The fewer steps there are, the less can be told of how slowly that goes. A canary that plainly jumps has a rate before
// and one after that.
func (c counts) excess(j jump) float64 {
	parts := []side{c.baseline, c.canary}
	if j.plain() {
		parts = []side{c.baseline, c.canary.until(j.at), c.canary.from(j.at)}
	}
	squares, expected, steps := 0.0, 0.0, 0.0
	for _, s := range parts {
		x, n := s.sums()
		for i := range s.count {
			off := s.count[i] - x/n*s.total[i]
			squares += off * off
		}
		expected += x / float64(len(s.count)) * float64(len(s.count)-1)
		steps += float64(len(s.count)) / 2
	}
	const wandering, alike, known = 16, 8, 30
	chance := math.Sqrt((2 + 2*steps/expected) / (2 * steps)) // standard error of the ratio, were the counts independent
	off, few := squares/expected-1, min(1, known/steps)
	return 1 + max(0, (off-chance/2)*(1+wandering*few), (-off-chance*3/4)*(1+alike*few))
}

// thinned is a two-sided chance if the variance is so many times larger.
func thinned(chance, excess float64) float64 {
	if chance <= 0 {
		return 0
	}
	return math.Erfc(-normalQuantile(chance/2) / math.Sqrt(2*excess))
}

// binomial is how often y or fewer of all, or y or more, whichever is less, happen with a chance, twice; y itself counts
// half.
func binomial(y, all, chance float64) float64 {
	const many = 1000 // from which on the normal distribution serves
	if all > many {
		z := math.Abs(y-all*chance) / math.Sqrt(all*chance*(1-chance))
		return math.Erfc(z / math.Sqrt2)
	}
	k, n := int(math.Round(y)), int(math.Round(all))
	if y < all*chance {
		k, chance = n-k, 1-chance
	}
	return min(1, upperTail(k, n, chance)+upperTail(k+1, n, chance))
}

// counts judges a metric by how often something happened.
func (p plan) counts(m Metric, c counts) MetricReport {
	if r, few := tooFew(m, len(c.baseline.count), len(c.canary.count)); few {
		return r
	}
	x, n := c.baseline.sums()
	y, t := c.canary.sums()
	s := saying{plan: p, metric: m, limits: limitsOf(m), samplesB: len(c.baseline.count), samplesC: len(c.canary.count), counts: &c, total: n + t}
	if absent(x + y + n + t) {
		r := unknown(m, LabelError)
		r.Reason = "The numbers are too large to be added up."
		return r
	}
	if x+y == 0 {
		r := unknown(m, LabelPass)
		r.Estimate, r.Lower, r.Upper = 0, 0, 0
		r.Reason = s.never()
		return r
	}
	level := p.level(partCount)
	s.change = c.change(level)
	if s.change.jump != nil {
		s.jump = c.canary.places[s.change.jump.at] + 1
	}
	effect := s.change.to / s.change.from
	if x == 0 || y == 0 {
		effect = math.NaN()
	}
	var chance *float64
	if m.EffectSize.Measure == cles {
		b, d := c.baseline.rates(), c.canary.rates()
		if s.change.jump != nil {
			d = d[s.change.jump.at:]
		}
		slices.Sort(b)
		slices.Sort(d)
		effect = newSides(d, b).superiority()
		chance = &effect
	}
	s.found = s.limits.weigh(s.change, chance)
	r := reportOf(m, s.limits, s.change, s.found, effect)
	r.Reason = s.rates()
	return r
}

// change is the difference of the rates.
func (c counts) change(level float64) shiftFound {
	x, n := c.baseline.sums()
	y, m := c.canary.sums()
	perStep := m / float64(len(c.canary.count))
	views, chance := c.compared()
	ch := shiftFound{from: x / n, sure: chance <= level, drifts: views[0].drifts()}
	jump := views[0].jump
	if ch.sure && jump.plain() {
		ch.jump = &jump
		y, m = c.canary.from(jump.at).sums()
	}
	ch.to = y / m
	ch.estimate = ch.to - ch.from
	ch.lower, ch.upper = ch.estimate, ch.estimate
	for i, v := range views {
		lower, upper := v.interval(level)
		if ch.jump != nil {
			if i > 0 {
				break // its steps are others
			}
			reach := jump.reach(v.n, level)
			lower, upper = jump.size-reach, jump.size+reach
		}
		each := perStep * float64(v.size)
		back := func(shift float64) float64 { // from a surplus of the canary to the difference of the rates
			root := max(anscombe(0), anscombe(ch.from*each)+shift) / 2
			return (root*root-0.375)/each - ch.from
		}
		ch.lower, ch.upper = min(ch.lower, back(lower)), max(ch.upper, back(upper))
	}
	reach := -normalQuantile(level/2) * math.Sqrt(c.excess(views[0].jump)*((x+0.5)/n/n+(y+0.5)/m/m))
	ch.lower, ch.upper = max(min(ch.lower, ch.estimate-reach), -ch.from), max(ch.upper, ch.estimate+reach)
	if c.totals {
		ch.upper = min(ch.upper, 1-ch.from)
	}
	return ch.agree()
}
