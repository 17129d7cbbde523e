package canary

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// What Kayenta's judge NetflixACAJudge does not let people choose. Requests may.
const (
	kayentaConfidence = 0.98
	kayentaTolerance  = 0.25
	kayentaNodata     = 0.5 // the part of the metrics without data from which on the canary fails
)

// judgeKayenta gives the labels and scores of Kayenta's judge NetflixACAJudge-v1.0. The verdict is its own where that
// would pass what was not judged.
func judgeKayenta(req Request) Report {
	reports := make([]MetricReport, 0, len(req.Metrics))
	var unjudged []string
	for _, m := range req.Metrics {
		report, judged := kayentaMetric(req, m)
		reports = append(reports, report)
		if !judged {
			unjudged = append(unjudged, m.Name)
		}
	}
	return kayentaVerdict(req, reports, unjudged)
}

// kayentaVerdict makes a whole of the metrics' reports. Where it says fail whatever the thresholds are, the score is 0.
func kayentaVerdict(req Request, reports []MetricReport, unjudged []string) Report {
	out := Report{Metrics: reports}
	var critical []string
	nodata := 0
	for _, r := range reports {
		if r.Critical {
			critical = append(critical, r.Name)
		}
		if r.Label == LabelNodata {
			nodata++
		}
	}
	var score float64
	out.Groups, score = scoring{counts: kayentaCounts, silent: 100}.groups(req, reports)
	switch {
	case len(critical) > 0:
		out.Verdict, out.Reason = Fail, "What is critical does not pass: "+list(critical)+"."
		return out
	case float64(nodata) >= kayentaNodata*float64(len(reports)):
		out.Verdict, out.Reason = Fail, fmt.Sprintf("%d of %d metrics have no data.", nodata, len(reports))
		return out
	}
	out.Score = Number(score)
	switch {
	case score < req.Score.Marginal:
		out.Verdict, out.Reason = Fail, fmt.Sprintf("The score is %s, and below %s a canary fails.", figure(score), figure(req.Score.Marginal))
	case score < req.Score.Pass:
		out.Verdict, out.Reason = Marginal, fmt.Sprintf("The score is %s, and a canary passes from %s on.", figure(score), figure(req.Score.Pass))
	case len(unjudged) > 0:
		out.Verdict, out.Reason = Inconclusive, fmt.Sprintf("The score is %s, but this could not be judged: %s.", figure(score), list(unjudged))
	default:
		out.Verdict, out.Reason = Pass, fmt.Sprintf("The score is %s, and a canary passes from %s on.", figure(score), figure(req.Score.Pass))
	}
	return out
}

func kayentaCounts(l Label) bool {
	return l == LabelPass || l == LabelHigh || l == LabelLow || l == LabelNodataFailMetric
}

// list names a few of the metrics.
func list(names []string) string {
	const most = 5
	var out []string
	for _, n := range names[:min(len(names), most)] {
		out = append(out, shorten(n, 60))
	}
	if more := len(names) - most; more > 0 {
		out = append(out, fmt.Sprintf("%d others", more))
	}
	return strings.Join(out, ", ")
}

// kayentaMetric judges one metric. judged is false if its label may be good without a comparison having been made: then
// the canary can't pass.
func kayentaMetric(req Request, m Metric) (report MetricReport, judged bool) {
	s := newSides(cleanSorted(m, m.Canary), cleanSorted(m, m.Baseline))
	switch {
	case len(s.x) == 0 || len(s.y) == 0:
		return kayentaEmpty(m, s)
	case slices.Equal(s.x, s.y):
		report = unknown(m, LabelPass)
		report.Estimate, report.Lower, report.Upper, report.Ratio = 0, 0, 0, Number(s.effect(m))
		report.Reason = "The samples of the canary are those of the baseline."
		return report, true
	case constant(s.x) && constant(s.y) && s.x[0] == s.y[0]:
		report = unknown(m, LabelPass)
		report.Estimate, report.Lower, report.Upper, report.Ratio = 0, 0, 0, Number(s.effect(m))
		report.Reason = "All samples of both are " + figure(s.x[0]) + "."
		return report, true
	}
	return kayentaCompared(req, m, s)
}

// kayentaEmpty judges a metric of which a side has no samples.
func kayentaEmpty(m Metric, s sides) (report MetricReport, judged bool) {
	who := "the canary and the baseline have"
	switch {
	case len(s.y) > 0:
		who = "the canary has"
	case len(s.x) > 0:
		who = "the baseline has"
	}
	switch {
	case m.NaN == ReplaceNaN:
		report = unknown(m, LabelPass)
		report.Reason = fmt.Sprintf("It passes as missing samples are taken for 0, but %s not even those.", who)
		return report, false
	case m.MustHaveData && !m.Critical:
		report = unknown(m, LabelNodataFailMetric)
		report.Reason = fmt.Sprintf("It must have data, and %s none.", who)
	default:
		report = unknown(m, LabelNodata)
		report.Critical = m.Critical
		report.Reason = fmt.Sprintf("There is nothing to compare: %s no data.", who)
	}
	return report, true
}

// kayentaCompared judges a metric of which both sides have samples that differ.
func kayentaCompared(req Request, m Metric, s sides) (report MetricReport, judged bool) {
	confidence, tolerance := orNumber(req.Confidence, kayentaConfidence), orNumber(req.Tolerance, kayentaTolerance)
	var estimate, lower, upper float64
	if constant(s.x) && constant(s.y) {
		// Kayenta adds a little chance here, as its test has no answer. The shift is plain without it.
		estimate = s.x[0] - s.y[0]
		lower, upper = estimate, estimate
	} else {
		var ok bool
		estimate, lower, upper, ok = s.shift(confidence)
		if !ok {
			report = unknown(m, LabelError)
			report.Reason = "The samples are too large or too far apart to be compared."
			return report, false
		}
	}
	report = unknown(m, LabelPass)
	effect := s.effect(m)
	report.Ratio, report.Estimate, report.Lower, report.Upper = Number(effect), Number(estimate), Number(lower), Number(upper)
	e, neutral := m.EffectSize, 1.0
	if e.Measure == cles {
		neutral = 0.5
	}
	bound := tolerance * max(estimate, -estimate)
	// An effect that is no number, as with a mean of 0, is past every limit: no comparison with it is true.
	switch {
	case m.Direction != Decrease && lower > bound && !(effect < orNumber(e.AllowedIncrease, neutral)):
		report.Label = LabelHigh
		report.Critical = m.Critical && !(effect < orNumber(e.CriticalIncrease, neutral))
	case m.Direction != Increase && upper < -bound && !(effect > orNumber(e.AllowedDecrease, neutral)):
		report.Label = LabelLow
		report.Critical = m.Critical && !(effect > orNumber(e.CriticalDecrease, neutral))
	}
	report.Reason = kayentaReason(m, report, s, confidence)
	return report, true
}

// effect is the effect size: the canary's mean to the baseline's, NaN if one is 0, or the chance that the canary is above.
func (s sides) effect(m Metric) float64 {
	if m.EffectSize.Measure == cles {
		return s.superiority()
	}
	x, y := mean(s.x), mean(s.y)
	if x == 0 || y == 0 {
		return math.NaN()
	}
	return x / y
}

func kayentaReason(m Metric, r MetricReport, s sides, confidence float64) string {
	said := "There is no clear change for the worse"
	switch r.Label {
	case LabelHigh:
		said = "The canary is higher"
	case LabelLow:
		said = "The canary is lower"
	default:
	}
	effect := ""
	switch {
	case math.IsNaN(float64(r.Ratio)):
	case m.EffectSize.Measure == cles:
		effect = fmt.Sprintf(", and a sample of it is above one of the baseline with a chance of %s", figure(float64(r.Ratio)))
	default:
		effect = fmt.Sprintf(", its mean %s times the baseline's", figure(float64(r.Ratio)))
	}
	return fmt.Sprintf("%s: it differs by %s (%s %% interval %s to %s) in %d samples against %d%s.",
		said, figure(float64(r.Estimate)), figure(confidence*100), figure(float64(r.Lower)), figure(float64(r.Upper)), len(s.x), len(s.y), effect)
}

// constant is whether sorted samples are all the same.
func constant(sorted []float64) bool { return sorted[0] == sorted[len(sorted)-1] }

// figure is a number as people read it, to four digits, with an exponent only where it is very large or small.
func figure(f float64) string {
	short := strconv.FormatFloat(f, 'g', 4, 64)
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e9) {
		return short
	}
	rounded, err := strconv.ParseFloat(short, 64)
	if err != nil {
		return short // not reached: it was just written
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

func orNumber(given *float64, otherwise float64) float64 {
	if given == nil {
		return otherwise
	}
	return *given
}
