package main

import (
	"math"
	"math/rand/v2"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// requests is the total of each step, for error counts.
var requests = 100.0

const (
	errorRate = 0.005 // of tracks without a difference
	variation = 0.1   // coefficient of variation of normal gauges
	logSpread = 0.5   // of the logarithms of latencies
	typical   = 100.0 // level of gauges and latencies
	tailFrom  = 0.95  // quantile from which on a tail is scaled
)

// shape is what a metric's samples are like.
type shape int

const (
	gauges shape = iota
	latencies
	errors
)

// harm is what is wrong with a canary. The zero value is nothing.
type harm struct {
	name  string
	shape shape
	level float64 // added to the level, as a part of it
	leak  float64 // the same at the end, growing from nothing
	swing float64 // factor of the variance
	tail  float64 // factor of what is in the tail
	rates bool    // errors come at the rates below
	base  float64 // rate of the baseline
	rate  float64 // rate of the canary
	since float64 // the part of the time before which there is nothing
}

// none is a harm before there is one.
func (h harm) none() harm { return harm{rates: h.rates, base: h.base, rate: h.base} }

// follow draws steps of mean 0 and variance 1 that each follow the one before by rho.
func follow(random *rand.Rand, steps int, rho float64) []float64 {
	out := make([]float64, steps)
	for i := range out {
		out[i] = random.NormFloat64()
		if i > 0 {
			out[i] = rho*out[i-1] + math.Sqrt(1-rho*rho)*out[i]
		}
	}
	return out
}

// track makes a side's samples of noise.
func track(s shape, noise []float64, h harm, isCanary bool) (samples, totals []canary.Number) {
	for i, z := range noise {
		h := h
		if !isCanary || float64(i) < h.since*float64(len(noise)) {
			h = h.none()
		}
		rate := errorRate
		if h.rates {
			rate = h.rate
		}
		if h.swing > 0 {
			z *= math.Sqrt(h.swing)
		}
		var x float64
		switch s {
		case gauges:
			x = typical * (1 + variation*z)
		case latencies:
			x = typical * math.Exp(logSpread*z)
		case errors:
			x = poisson(normal(z), rate*requests)
			totals = append(totals, canary.Number(requests))
		}
		if h.tail > 0 && normal(z) > tailFrom {
			x *= h.tail
		}
		x += typical * (h.level + h.leak*float64(i)/float64(len(noise)-1))
		if s == errors {
			x = min(x, requests)
		}
		samples = append(samples, canary.Number(x))
	}
	return samples, totals
}

func normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// poisson is the quantile of a Poisson distribution.
func poisson(p, mean float64) float64 {
	k, term := 0.0, math.Exp(-mean)
	for sum := term; sum < p && k < 10_000; sum += term {
		k++
		term *= mean / k
		if term == 0 {
			break
		}
	}
	return k
}

// run is a whole canary: all samples that there will be, of each metric.
type run struct {
	metrics []canary.Metric
	shapes  []shape
}

// draw draws a run of so many metrics, of which the first has the harm.
func draw(random *rand.Rand, metrics, steps int, rho float64, h harm) run {
	var r run
	for i := range metrics {
		s := h.shape
		if i > 0 {
			s = shape(i % 3)
			h = harm{}
		}
		m := canary.Metric{Name: "metric", Kind: canary.Gauge, Critical: true}
		if s == errors {
			m.Kind = canary.Count
		}
		m.Baseline, m.BaselineTotal = track(s, follow(random, steps, rho), h, false)
		m.Canary, m.CanaryTotal = track(s, follow(random, steps, rho), h, true)
		r.metrics, r.shapes = append(r.metrics, m), append(r.shapes, s)
	}
	return r
}

// until is what has been seen of a run after so many steps.
func (r run) until(steps int) []canary.Metric {
	out := make([]canary.Metric, len(r.metrics))
	for i, m := range r.metrics {
		m.Baseline, m.Canary = m.Baseline[:steps], m.Canary[:steps]
		if m.BaselineTotal != nil {
			m.BaselineTotal, m.CanaryTotal = m.BaselineTotal[:steps], m.CanaryTotal[:steps]
		}
		out[i] = m
	}
	return out
}
