package canary

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// statisticByDefinition is the statistic from all pairs of samples and from ranks that are counted, in quadratic time.
func statisticByDefinition(x, y []float64, mu float64) float64 {
	m, n := float64(len(x)), float64(len(y))
	above := 0.0
	for _, a := range x {
		for _, b := range y {
			switch {
			case a-mu > b:
				above++
			case a-mu == b:
				above += 0.5
			}
		}
	}
	all := slices.Clone(y)
	for _, a := range x {
		all = append(all, a-mu)
	}
	count := map[float64]float64{}
	for _, a := range all {
		count[a]++
	}
	ties := 0.0
	for _, t := range count {
		ties += t*t*t - t
	}
	d := above - m*n/2
	d -= 0.5 * float64(sign(d))
	return d / math.Sqrt(m*n/12*((m+n+1)-ties/((m+n)*(m+n-1))))
}

func sign(f float64) int {
	switch {
	case f > 0:
		return 1
	case f < 0:
		return -1
	}
	return 0
}

// change is where the statistic, less z, ceases to be of the sign: between low and high, by halves until no float64 is between.
func change(x, y []float64, z, low, high float64, holds func(float64) bool) float64 {
	for {
		middle := low + (high-low)/2
		if middle <= low || middle >= high {
			return middle
		}
		if holds(statisticByDefinition(x, y, middle) - z) {
			low = middle
		} else {
			high = middle
		}
	}
}

// TestShiftIsThatOfTheDefinition compares with what R's wilcox.test(conf.int = TRUE, exact = FALSE) is defined to
// compute. Where the statistic is on z for a while, each shift there is a root.
func TestShiftIsThatOfTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	draws := map[string]func() float64{
		"normal":            random.NormFloat64,
		"lognormal":         func() float64 { return math.Exp(random.NormFloat64()) },
		"many ties":         func() float64 { return float64(random.IntN(7)) },
		"mostly 0":          func() float64 { return float64(max(random.IntN(12)-8, 0)) },
		"between two bands": func() float64 { return random.Float64() + float64(10*random.IntN(2)) },
		"large":             func() float64 { return 1e6 + 1e3*random.NormFloat64() },
	}
	for name, draw := range draws {
		for _, size := range [][2]int{{3, 3}, {1, 9}, {7, 12}, {20, 20}, {40, 25}, {60, 60}} {
			for _, moved := range []float64{0, 0.5, -3} {
				t.Run(fmt.Sprintf("%s, %d and %d, moved by %v", name, size[0], size[1], moved), func(t *testing.T) {
					x, y := make([]float64, size[0]), make([]float64, size[1])
					for i := range x {
						x[i] = draw() + moved
					}
					for i := range y {
						y[i] = draw()
					}
					compareShift(t, x, y, 0.98)
					compareShift(t, x, y, 0.8)
				})
			}
		}
	}
}

func compareShift(t *testing.T, x, y []float64, confidence float64) {
	t.Helper()
	slices.Sort(x)
	slices.Sort(y)
	if constant(x) && constant(y) {
		return
	}
	estimate, lower, upper, ok := newSides(x, y).shift(confidence)
	if !ok {
		t.Fatalf("there is none for %v and %v", x, y)
	}
	low, high := x[0]-y[len(y)-1], x[len(x)-1]-y[0]
	z := math.Sqrt2 * math.Erfinv(confidence)
	for name, c := range map[string]struct{ got, z float64 }{"lower": {lower, z}, "upper": {upper, -z}, "estimate": {estimate, 0}} {
		first, end := low, high
		switch {
		case name != "estimate" && statisticByDefinition(x, y, low) <= c.z:
			end = low
		case name != "estimate" && statisticByDefinition(x, y, high) >= c.z:
			first = high
		default:
			first = change(x, y, c.z, low, high, func(f float64) bool { return f > 0 })
			end = change(x, y, c.z, first, high, func(f float64) bool { return f >= 0 })
		}
		tolerance := rootTolerance + 4*epsilon*math.Abs(c.got)
		if !(c.got >= first-tolerance && c.got <= end+tolerance) {
			t.Errorf("%s at %v is %v, and the root is from %v to %v\nx = %v\ny = %v", name, confidence, c.got, first, end, x, y)
		}
	}
}

// TestSamplesThatBecomeEqualByRoundingAreTied has samples so near each other that they are one when much is taken away.
func TestSamplesThatBecomeEqualByRoundingAreTied(t *testing.T) {
	x, y := []float64{1, 1 + 1e-12, 1 + 2e-12, 5}, []float64{-1e8, -1e8 + 3, -1e8 + 3, -1e8 + 9}
	for _, mu := range []float64{0, 1e8, 1e8 - 2, 1e8 + 2} {
		near(t, fmt.Sprint("the statistic at ", mu), newSides(x, y).statistic(mu), statisticByDefinition(x, y, mu), 1e-12)
	}
}

func TestThereIsNoShiftBetweenWhatCannotBeSubtracted(t *testing.T) {
	for name, s := range map[string][2][]float64{
		"too large":                  {{-1e308, 1e308}, {-1e308, 1.5e308}},
		"too far apart":              {{1, 2}, {1e300, 1e300}},
		"one against one":            {{1}, {2}},
		"each constant, but unequal": {{1, 1, 1}, {2, 2, 2}},
	} {
		if estimate, lower, upper, ok := newSides(s[0], s[1]).shift(0.98); ok {
			t.Errorf("%s: %v (%v to %v)", name, estimate, lower, upper)
		}
	}
}

func TestSuperiorityIsThatOfTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 7))
	for range 50 {
		x, y := make([]float64, 1+random.IntN(20)), make([]float64, 1+random.IntN(20))
		for i := range x {
			x[i] = float64(random.IntN(9))
		}
		for i := range y {
			y[i] = float64(random.IntN(9))
		}
		want := 0.0
		for _, a := range x {
			for _, b := range y {
				want += 0.5 + 0.5*float64(sign(a-b))
			}
		}
		want /= float64(len(x) * len(y))
		slices.Sort(x)
		slices.Sort(y)
		near(t, "superiority", newSides(x, y).superiority(), want, 1e-12)
	}
}

func latencies(random *rand.Rand, n int) []Number {
	out := make([]Number, n)
	for i := range out {
		out[i] = Number(100 * math.Exp(random.NormFloat64()/3))
	}
	return out
}

// BenchmarkKayentaMetric judges metrics and says how much longer that takes than to sort their samples. There are so many
// that the processor can't learn them.
func BenchmarkKayentaMetric(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{60, 1440, 10_000} {
		metrics := make([]Metric, max(2, 100_000/n))
		for i := range metrics {
			metrics[i] = Metric{Name: "latency", Baseline: latencies(random, n), Canary: latencies(random, n)}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				kayentaMetric(Request{}, metrics[i%len(metrics)])
				i++
			}
			whole := b.Elapsed()
			b.ReportMetric(float64(whole)/float64(sorting(metrics, b.N)), "times-sorting")
		})
	}
}

// sorting is how long it takes to copy and to sort both sides of so many metrics.
func sorting(metrics []Metric, times int) time.Duration {
	started := time.Now()
	for i := range times {
		m := metrics[i%len(metrics)]
		slices.Sort(present(m.Canary, RemoveNaN))
		slices.Sort(present(m.Baseline, RemoveNaN))
	}
	return time.Since(started)
}
