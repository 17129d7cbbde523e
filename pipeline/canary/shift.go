package canary

import "math"

// limits are what a metric's options make of a shift.
type limits struct {
	up, down               bool    // which way is for the worse
	increase, decrease     float64 // ratios to the baseline that are allowed; 1 if the metric sets none
	increaseSet            bool
	decreaseSet            bool
	criticalUp, criticalLo *float64
}

func limitsOf(m Metric) limits {
	e := m.EffectSize
	l := limits{up: m.Direction != Decrease, down: m.Direction != Increase, increase: 1, decrease: 1}
	l.criticalUp, l.criticalLo = e.CriticalIncrease, e.CriticalDecrease
	neutral := 1.0
	if e.Measure == cles {
		neutral, l.increase, l.decrease = 0.5, 0.5, 0.5
	}
	if e.AllowedIncrease != nil && *e.AllowedIncrease > neutral {
		l.increase, l.increaseSet = *e.AllowedIncrease, true
	}
	if e.AllowedDecrease != nil && *e.AllowedDecrease < neutral {
		l.decrease, l.decreaseSet = *e.AllowedDecrease, true
	}
	return l
}

// critical is whether a metric whose effect is this large, and for the worse, fails the canary.
func (l limits) critical(m Metric, label Label, effect float64) bool {
	switch {
	case !m.Critical:
		return false
	case label == LabelHigh && l.criticalUp != nil:
		return !(effect < *l.criticalUp)
	case label == LabelLow && l.criticalLo != nil:
		return !(effect > *l.criticalLo)
	}
	return true
}

// change is what is known of a shift from the baseline to the canary, in the metric's own unit.
type shiftFound struct {
	from, to               float64 // levels of the baseline and of the canary
	estimate, lower, upper float64 // of to less from
	sure                   bool    // that there is one
	drifts                 bool    // the canary moves away by and by
	jump                   *jump   // with which the canary changed at once; nil if it didn't
}

// up is whether the canary is above the baseline.
func (c shiftFound) up() bool { return c.estimate > 0 }

// relative is a shift as a part of the baseline's level; NaN where that makes no sense.
func (c shiftFound) relative(shift float64) float64 {
	if !(c.from > 0) {
		return math.NaN()
	}
	return shift / c.from
}

// finding is what a shift means for a metric.
type finding int

const (
	unclear  finding = iota // there may be none
	better                  // it is sure, and not for the worse
	within                  // it is sure, and allowed
	tiny                    // it is sure, and too small to count
	straddle                // it is sure, and whether it is more than allowed is not
	worse                   // it is more than allowed
)

// weigh says what a change means. cles is the effect if that is how it is measured. A change is more than is allowed if
// its whole interval is.
func (l limits) weigh(c shiftFound, cles *float64) finding {
	up := c.up()
	harmful, limit, set := l.down, l.decrease, l.decreaseSet
	if up {
		harmful, limit, set = l.up, l.increase, l.increaseSet
	}
	switch {
	case !c.sure:
		return unclear
	case !harmful:
		return better
	case !set && math.Abs(c.relative(c.estimate)) < leastEffect:
		return tiny
	case !set:
		return worse
	case cles != nil:
		if past(up, *cles, limit) {
			return worse
		}
		return within
	}
	allowed, nearest := (limit-1)*math.Abs(c.from), c.upper
	if up {
		nearest = c.lower
	}
	switch {
	case past(up, nearest, allowed):
		return worse
	case past(up, c.estimate, allowed):
		return straddle
	}
	return within
}

// past is whether a value is beyond a limit, above it or below.
func past(up bool, value, limit float64) bool { return up && value > limit || !up && value < limit }

// agree makes the interval say what the test says where the two differ by rounding, or because the interval is the hull
// of what several rho leave possible.
func (c shiftFound) agree() shiftFound {
	const sliver = 0.01
	switch {
	case c.sure && c.up():
		c.lower = max(c.lower, c.estimate*sliver)
	case c.sure:
		c.upper = min(c.upper, c.estimate*sliver)
	default:
		c.lower, c.upper = min(c.lower, 0), max(c.upper, 0)
	}
	c.lower, c.upper = min(c.lower, c.estimate), max(c.upper, c.estimate)
	return c
}
