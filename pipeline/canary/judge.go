package canary

import "math"

// Judge answers a request. It never panics, whatever the samples are, and what can't be judged does not pass.
func Judge(req Request) Report {
	whole, err := req.complete()
	if err != nil {
		return refused(req, err)
	}
	judge := judgeDefault
	if whole.Judge == Kayenta {
		judge = judgeKayenta
	}
	report := judge(whole)
	for i, m := range whole.Metrics {
		if m.EffectSize.Measure == cles {
			report.Metrics[i].Measure = cles
		}
	}
	return report
}

// refused is the answer to a request that [Decode] would have refused.
func refused(req Request, err error) Report {
	out := Report{Verdict: Inconclusive, Reason: "The request can't be judged: " + err.Error(), Groups: []GroupScore{}, Metrics: []MetricReport{}}
	for _, m := range req.Metrics {
		report := unknown(m, LabelError)
		report.Reason = "It was not judged."
		out.Metrics = append(out.Metrics, report)
	}
	return out
}

// unknown is the report of a metric of which nothing but the label is known.
func unknown(m Metric, label Label) MetricReport {
	nan := Number(math.NaN())
	return MetricReport{Name: m.Name, Label: label, Ratio: nan, Estimate: nan, Lower: nan, Upper: nan}
}
