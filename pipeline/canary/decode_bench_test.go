package canary

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkFullReport is from the JSON of 50 metrics of a day of minutes to that of their report.
func BenchmarkFullReport(b *testing.B) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, judge := range []string{Default, Kayenta} {
		req := Request{Judge: judge, Score: defaultThresholds}
		for i := range 50 {
			req.Metrics = append(req.Metrics, Metric{Name: fmt.Sprint("latency ", i), Baseline: latencies(random, 1440), Canary: latencies(random, 1440)})
		}
		data, err := json.Marshal(req)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("decode", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(judge, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decoded, err := Decode(data)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := json.Marshal(Judge(decoded)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
