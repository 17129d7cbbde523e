package canary

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// saying is what a sentence about a metric is made of.
type saying struct {
	plan               plan
	metric             Metric
	limits             limits
	change             shiftFound
	found              finding
	samplesB, samplesC int
	jump               int // the first sample after it, from 1, as the request has them; 0 if there is none
	counts             *counts
	total              float64 // of both sides
}

// gauge is the sentence about a metric whose samples are measurements.
func (s saying) gauge() string {
	interval := fmt.Sprintf("%s to %s", signed(s.change.lower), signed(s.change.upper))
	if low, high := s.change.relative(s.change.lower), s.change.relative(s.change.upper); !math.IsNaN(low) {
		interval = fmt.Sprintf("%s to %s %%", signed(low*100), signed(high*100))
	}
	return s.sentence(figure(s.change.from), figure(s.change.to), interval, samples(s.samplesC, s.samplesB), s.allowed())
}

// rates is the sentence about a metric that counts.
func (s saying) rates() string {
	if !s.counts.totals {
		interval := fmt.Sprintf("%s to %s", signed(s.change.lower), signed(s.change.upper))
		return s.sentence(figure(s.change.from)+" a step", figure(s.change.to), interval, samples(s.samplesC, s.samplesB), s.allowed())
	}
	interval := fmt.Sprintf("%s to %s points", signed(s.change.lower*100), signed(s.change.upper*100))
	return s.sentence(percent(s.change.from), percent(s.change.to), interval, thousands(s.total)+" requests", s.allowedPoints())
}

// never is the sentence about a metric that counts what never happened.
func (s saying) never() string {
	if !s.counts.totals {
		return fmt.Sprintf("%s: there was none, in %s.", s.name(), samples(s.samplesC, s.samplesB))
	}
	return fmt.Sprintf("%s: there was none in %s requests.", s.name(), thousands(s.total))
}

func (s saying) name() string { return shorten(s.metric.Name, 60) }

func (s saying) sentence(from, to, interval, in, allowed string) string {
	moved := "fell"
	if s.change.up() {
		moved = "rose"
	}
	switch {
	case s.jump > 0:
		moved += fmt.Sprintf(" at sample %d", s.jump)
	case s.change.drifts:
		moved += " by and by, on average"
	}
	evidence := fmt.Sprintf("(%s %% interval %s) in %s", figure(s.plan.confidence*100), interval, in)
	switch s.found {
	case worse:
		return fmt.Sprintf("%s %s from %s to %s %s; %s.", s.name(), moved, from, to, evidence, allowed)
	case within:
		return fmt.Sprintf("%s %s from %s to %s %s; that is within its limits, %s.", s.name(), moved, from, to, evidence, allowed)
	case straddle:
		return fmt.Sprintf("%s %s from %s to %s %s; that may be more than its limits, %s.", s.name(), moved, from, to, evidence, allowed)
	case tiny:
		return fmt.Sprintf("%s %s from %s to %s %s, by less than %s %%, which is too little to call.", s.name(), moved, from, to, evidence, figure(leastEffect*100))
	case better:
		return fmt.Sprintf("%s %s from %s to %s %s, which is not for the worse.", s.name(), moved, from, to, evidence)
	case unclear:
	}
	return fmt.Sprintf("%s did not clearly change: %s and %s %s.", s.name(), from, to, evidence)
}

// limit is the limit that a change met, and whether the metric sets one.
func (s saying) limit() (float64, bool) {
	if s.change.up() {
		return s.limits.increase, s.limits.increaseSet
	}
	return s.limits.decrease, s.limits.decreaseSet
}

func (s saying) allowed() string {
	limit, set := s.limit()
	switch {
	case !set:
		return "no change is allowed"
	case s.metric.EffectSize.Measure == cles:
		return "allowed is a chance of " + figure(limit) + " that the canary is above"
	default:
		return "allowed is " + signed((limit-1)*100) + " %"
	}
}

func (s saying) allowedPoints() string {
	limit, set := s.limit()
	if !set || s.metric.EffectSize.Measure == cles {
		return s.allowed()
	}
	return "allowed is " + signed((limit-1)*s.change.from*100)
}

func samples(canary, baseline int) string {
	if canary == baseline {
		return thousands(float64(canary)) + " samples a side"
	}
	return fmt.Sprintf("%s samples against %s", thousands(float64(canary)), thousands(float64(baseline)))
}

func percent(rate float64) string { return short(rate*100) + " %" }

// short is a number to three digits.
func short(f float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 3, 64), 64)
	if err != nil {
		return figure(f) // not reached: it was just written
	}
	return figure(rounded)
}

func signed(f float64) string {
	text := short(f)
	if minus, is := strings.CutPrefix(text, "-"); is {
		return "−" + minus
	}
	return "+" + text
}

// thousands is a whole number with commas between its thousands.
func thousands(f float64) string {
	if !(f < 1e15) {
		return figure(f)
	}
	digits := strconv.FormatFloat(math.Round(f), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
