package main

import (
	"math"
	"slices"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// answer is what a rule says at a look.
type answer int

const (
	good answer = iota
	grey        // neither passes nor stops
	stop
)

// rule judges one look. Kayenta's judges by its score; PipeCD's tests the samples of each interval at 5 %; 1.2× is a
// plain limit to the means; Bonferroni tests all samples so far at 5 % shared out evenly over looks and metrics.
type rule struct {
	name  string
	judge func(metrics []canary.Metric, look, looks int) answer
}

var rules = []rule{
	{"Slipway", func(metrics []canary.Metric, look, looks int) answer {
		return answerOf(canary.Judge(canary.Request{Metrics: metrics, Look: look, Looks: looks}))
	}},
	{"Kayenta's", func(metrics []canary.Metric, look, looks int) answer {
		return answerOf(canary.Judge(canary.Request{Judge: canary.Kayenta, Metrics: notCritical(metrics), Look: look, Looks: looks}))
	}},
	{"PipeCD's", func(metrics []canary.Metric, look, _ int) answer {
		return anyOf(metrics, func(m canary.Metric) bool { return differ(sinceLast(m, look)) <= 0.05 })
	}},
	{"1.2×", func(metrics []canary.Metric, _, _ int) answer {
		return anyOf(metrics, func(m canary.Metric) bool { return mean(m.Canary) > 1.2*mean(m.Baseline) })
	}},
	{"Bonferroni", func(metrics []canary.Metric, _, looks int) answer {
		level := 0.05 / float64(looks*len(metrics))
		return anyOf(metrics, func(m canary.Metric) bool { return differ(m) <= level })
	}},
}

func answerOf(r canary.Report) answer {
	switch r.Verdict {
	case canary.Pass:
		return good
	case canary.Fail:
		return stop
	case canary.Marginal, canary.Inconclusive:
	}
	return grey
}

// notCritical lets Kayenta's score decide, which is its users' usual way.
func notCritical(metrics []canary.Metric) []canary.Metric {
	out := slices.Clone(metrics)
	for i := range out {
		out[i].Critical = false
	}
	return out
}

func anyOf(metrics []canary.Metric, bad func(canary.Metric) bool) answer {
	if slices.ContainsFunc(metrics, bad) {
		return stop
	}
	return good
}

// sinceLast are the samples since the look before.
func sinceLast(m canary.Metric, look int) canary.Metric {
	from := len(m.Baseline) * (look - 1) / look
	m.Baseline, m.Canary = m.Baseline[from:], m.Canary[from:]
	return m
}

func mean(x []canary.Number) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v)
	}
	return sum / float64(len(x))
}

// differ is the p-value of the test of Mann and Whitney, two-sided, by the normal approximation with corrections for
// ties and continuity, as R's wilcox.test(exact = FALSE) gives it.
func differ(m canary.Metric) float64 {
	type sample struct {
		x      float64
		canary bool
	}
	var all []sample
	for _, x := range m.Baseline {
		all = append(all, sample{float64(x), false})
	}
	for _, x := range m.Canary {
		all = append(all, sample{float64(x), true})
	}
	slices.SortFunc(all, func(a, b sample) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].x == all[i].x {
			j++
		}
		for _, s := range all[i:j] {
			if s.canary {
				ranks += float64(i+j+1) / 2
			}
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	x, y := float64(len(m.Canary)), float64(len(m.Baseline))
	n := x + y
	d := ranks - x*(x+1)/2 - x*y/2
	deviation := math.Sqrt(x * y / 12 * (n + 1 - ties/(n*(n-1))))
	if deviation == 0 {
		return 1
	}
	z := max(0, math.Abs(d)-0.5) / deviation
	return math.Erfc(z / math.Sqrt2)
}
