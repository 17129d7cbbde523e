package canary

import (
	"math"
	"slices"
)

// Strategies for outliers.
const (
	keepOutliers   = "keep"
	removeOutliers = "remove"
	defaultFactor  = 3.0
)

// present is a copy of the samples without those that are missing, or with 0 in their place. A sample that is infinite
// is missing: JSON has no form for it, and a verdict has to be the same when it is replayed from its JSON.
func present(samples []Number, nan NaN) []float64 {
	out := make([]float64, 0, len(samples))
	for _, s := range samples {
		f := float64(s)
		switch {
		case !math.IsNaN(f) && !math.IsInf(f, 0):
			out = append(out, f)
		case nan == ReplaceNaN:
			out = append(out, 0)
		}
	}
	return out
}

// clean is a copy of one side's samples, in the order of time, as its metric's options want it.
func clean(m Metric, samples []Number) []float64 {
	out := present(samples, m.NaN)
	if m.Outliers.Strategy != removeOutliers || len(out) == 0 {
		return out
	}
	sorted := slices.Clone(out)
	slices.Sort(sorted)
	low, high := fences(sorted, m.Outliers.factor())
	return slices.DeleteFunc(out, func(f float64) bool { return f < low || f > high })
}

// placeIn is where the sample stands that is at an index of what clean leaves of the samples.
func placeIn(m Metric, samples []Number, index int) int {
	low, high := math.Inf(-1), math.Inf(1)
	if m.Outliers.Strategy == removeOutliers {
		sorted := present(samples, m.NaN)
		slices.Sort(sorted)
		low, high = fences(sorted, m.Outliers.factor())
	}
	for i := range samples {
		switch f := present(samples[i:i+1], m.NaN); {
		case len(f) == 0 || f[0] < low || f[0] > high:
		case index == 0:
			return i
		default:
			index--
		}
	}
	return len(samples)
}

// cleanSorted is what clean is, in the order of size, and takes one sort.
func cleanSorted(m Metric, samples []Number) []float64 {
	out := present(samples, m.NaN)
	slices.Sort(out)
	if m.Outliers.Strategy != removeOutliers || len(out) == 0 {
		return out
	}
	low, high := fences(out, m.Outliers.factor())
	return slices.DeleteFunc(out, func(f float64) bool { return f < low || f > high })
}

func (o Outliers) factor() float64 {
	if o.Factor == nil {
		return defaultFactor
	}
	return *o.Factor
}

// fences are the bounds outside of which a sample is an outlier: factor interquartile ranges from the quartiles, or the
// first and last percentile where those are farther out.
func fences(sorted []float64, factor float64) (low, high float64) {
	q1, q3 := percentile(sorted, 25), percentile(sorted, 75)
	spread := factor * (q3 - q1)
	return min(percentile(sorted, 1), q1-spread), max(percentile(sorted, 99), q3+spread)
}

// percentile is the p-th percentile of sorted samples by linear interpolation, type 7 of Hyndman and Fan, Sample
// Quantiles in Statistical Packages (1996), which is R's default. There is at least one sample.
func percentile(sorted []float64, p float64) float64 {
	at := float64(len(sorted)-1) * p / 100
	below := int(at)
	part := at - float64(below)
	if part == 0 {
		return sorted[below]
	}
	return sorted[below] + part*(sorted[below+1]-sorted[below])
}

// mean is the mean of the samples, 0 of none. The second pass takes back what rounding cost the first.
func mean(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	n := float64(len(samples))
	first, rest := sum/n, 0.0
	for _, s := range samples {
		rest += s - first
	}
	return first + rest/n
}
