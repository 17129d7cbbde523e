package canary

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// BenchmarkEstimate times a gauge's estimate and interval, and reports it as a ratio to sorting both sides.
func BenchmarkEstimate(b *testing.B) {
	for _, n := range []int{60, 1440, 10_000} {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		sets := make([][2][]float64, max(2, 100_000/n)) // so many that a processor does not learn their order by heart
		for i := range sets {
			sets[i] = [2][]float64{follow(random, n, 0), follow(random, n, 0)}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var sorting, judging time.Duration
			for b.Loop() {
				start := time.Now()
				for _, set := range sets {
					for _, side := range set {
						sorted := slices.Clone(side)
						slices.Sort(sorted)
					}
				}
				sorting += time.Since(start)
				start = time.Now()
				for _, set := range sets {
					g := gaugeOf(set[0], set[1])
					g.change(g.pairs(), 0.01)
				}
				judging += time.Since(start)
			}
			b.ReportMetric(float64(judging.Nanoseconds())/float64(b.N*len(sets)), "ns/estimate")
			b.ReportMetric(float64(judging)/float64(sorting), "sorts")
		})
	}
}

// BenchmarkReport times a whole report of 50 metrics of a day's samples, one a minute.
func BenchmarkReport(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	var req Request
	for i := range 50 {
		req.Metrics = append(req.Metrics, Metric{Name: fmt.Sprint("metric ", i), Baseline: around(random, 1440, 100, 10, 0.5), Canary: around(random, 1440, 100, 10, 0.5)})
	}
	for b.Loop() {
		Judge(req)
	}
}
