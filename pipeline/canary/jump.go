package canary

import (
	"math"
	"slices"
)

// A canary may be as the baseline at first and then, at once, differ. The level of all its samples says little of that,
// and samples that follow one another closely would explain it nearly as well.

// leastAfter is how many steps there are after a jump at least. Fewer may be a burst that is over soon, and with many
// looks one of them often meets a burst.
const leastAfter = 12

// jump is one that a canary may have made.
type jump struct {
	at        int     // the canary's first sample after it
	size      float64 // from the level of the baseline, which was the canary's until then
	precision float64 // of the size, in units of the noise
	rest      float64 // squares that stay unexplained
	astray    bool    // before it the canary was not at the baseline's level
	odd       float64 // how many times likelier it is than two levels or a drift, as a logarithm
}

// plain is whether it is beyond doubt. Any other is none: a level that wanders, and few errors that come in bursts, look
// like jumps.
func (j jump) plain() bool { return j.odd > plainOdd && !j.astray }

// How many times likelier something must be, as a logarithm.
const (
	plainOdd  = 10 // a jump, to count
	astrayOdd = 4  // another level than the baseline's before it, so that it doesn't
)

// jumps is the log-likelihood of a canary that jumps, over all rho and the moments that are worth trying. Any moment is as
// likely as another. It notes the likeliest if that is likelier than what else there is.
func (p *pair) jumps(canary moments, tracks [len(closeness)]track, otherwise float64) (log float64) {
	all := p.moments(canary, tracks)
	if len(all) == 0 {
		return math.Inf(-1)
	}
	var sum mixture
	best, likely := math.Inf(-1), 0
	for i, rho := range closeness {
		for _, m := range all {
			j := p.jumpAt(i, canary.step(rho, m), tracks[i])
			l := p.log(i, j.rest) - math.Log(canary.n)
			sum.add(l, prior(i)/float64(len(all)))
			if l > best {
				best, likely, p.jump = l, i, j
				p.jump.at = m.at
			}
		}
	}
	if p.jump.odd = best - otherwise; p.jump.plain() {
		p.likely = likely
	}
	return sum.log()
}

// moment is when a canary may jump: the first sample after it, and the sum of those that follow that one.
type moment struct {
	at    int
	later float64
}

// moments are those that are likeliest at a few rho; none if no jump can be plain.
func (p *pair) moments(canary moments, tracks [len(closeness)]track) []moment {
	first := p.likeliest(canary)
	if first.at == 0 || p.n/2*math.Log(p.rest[0]/p.jumpAt(0, canary.step(0, first), tracks[0]).rest) < plainOdd {
		return nil
	}
	found := []moment{first}
	for _, i := range [...]int{5, 9} {
		var best moment
		least, m := math.Inf(1), moment{at: len(canary.samples) - 1}
		for ; m.at > 0; m.at-- {
			if (len(canary.samples)-m.at)*canary.steps >= leastAfter {
				if j := p.jumpAt(i, canary.step(closeness[i], m), tracks[i]); j.rest < least {
					least, best = j.rest, m
				}
			}
			m.later += canary.samples[m.at] - canary.centre
		}
		if best.at > 0 && !slices.Contains(found, best) {
			found = append(found, best)
		}
	}
	return found
}

// likeliest is the moment that is likeliest if samples are independent: jumpAt at a rho of 0, made short because it
// is asked of every canary. Without rho a jump hardly ever explains less than with some.
func (p *pair) likeliest(canary moments) (best moment) {
	most, sum, part := 0.0, 0.0, 1/canary.n
	for at := len(canary.samples) - 1; at > 0; at-- {
		x := canary.samples[at] - canary.centre
		after := float64(len(canary.samples) - at)
		if after*float64(canary.steps) >= leastAfter {
			lever := after * part
			pull := p.precision[0]*lever*p.shift[0] + sum + x - lever*canary.sum
			if gain := pull * pull / (p.precision[0]*lever*lever + after - lever*after); gain > most {
				most, best = gain, moment{at, sum}
			}
		}
		sum += x
	}
	return best
}

// step has the products of a step, which is 0 before a moment and 1 from it on: with the samples, a level of one, and itself.
type step struct{ samples, level, itself float64 }

func (m moments) step(rho float64, on moment) step {
	away, later := 1-rho, float64(len(m.samples)-1-on.at)
	x, before := m.samples[on.at]-m.centre, m.samples[on.at-1]-m.centre
	s := step{samples: x - rho*before, level: away * (1 + later*away), itself: 1 + later*away*away}
	if later > 0 { // each of the samples that follow, less rho times the one before it
		s.samples += away * (on.later - rho*(x+on.later-m.last))
	}
	return s
}

// jumpAt is the jump at a step, of the size that fits best.
func (p *pair) jumpAt(i int, s step, canary track) jump {
	lever := s.level / canary.precision
	own, pull := s.itself-lever*s.level, s.samples-lever*canary.pull // of the canary alone, with a level of its own

	j := jump{precision: p.precision[i]*lever*lever + own}
	j.size = (p.precision[i]*lever*p.shift[i] + pull) / j.precision
	level := p.rest[i] + p.shift[i]*p.shift[i]*p.precision[i] // what one level for both sides leaves unexplained
	j.rest = max(level-j.size*j.size*j.precision, p.n*nothing)

	// Were the canary free to have been at another level than the baseline's, how far off was it, and how much likelier is that?
	free := pull / own
	before, rest := p.shift[i]-lever*free, max(p.rest[i]-free*free*own, p.n*nothing)
	j.astray = math.Abs(before) > math.Abs(free)/4 && p.n/2*math.Log(j.rest/rest) > astrayOdd
	return j
}

// reach is how far the size may be from the likeliest, two-sided at a level.
func (j jump) reach(n, level float64) float64 {
	return normalQuantile(1-level/2) * math.Sqrt(j.rest/max(1, n-4)/j.precision)
}
