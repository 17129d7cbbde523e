package canary

import (
	"fmt"
	"math"
)

// What the default judge makes of a confidence outside of these: the nearer one.
const (
	LeastConfidence = 0.5
	MostConfidence  = 0.999999
)

const (
	defaultConfidence = 0.95
	// leastSamples of each side are needed to say anything of a metric.
	leastSamples = 8
	// leastEffect is the change, as a part of the baseline, below which a metric without limits of its own is not called
	// worse, however sure the change is.
	leastEffect = 0.02
	// leastNodata is the part of the metrics without data from which on a canary can't pass.
	leastNodata = 0.5
)

// How the error rate of a gauge is shared out between the ways in which it can be worse. A count has only the first.
const (
	partShift  = 0.68
	partSpread = 0.06
	partTail   = 0.15
	partCount  = 0.85
)

// plan is what a look grants each metric: the error rate over all looks, which look it is, and of how many.
type plan struct {
	rate        float64
	look, looks int
	confidence  float64
}

func planOf(req Request) plan {
	confidence := min(MostConfidence, max(LeastConfidence, orNumber(req.Confidence, defaultConfidence)))
	share := -math.Expm1(math.Log(confidence) / float64(max(1, len(req.Metrics)))) // Šidák's
	return plan{rate: share, look: req.Look, looks: req.Looks, confidence: confidence}
}

// level is the two-sided error rate of this look for a part of the rate.
func (p plan) level(part float64) float64 { return levelAt(part*p.rate, p.look, p.looks) }

// judgeDefault compares each metric, calls worse what is shown to be worse by more than is allowed, and lets nothing
// that is worse pass, whatever the score.
func judgeDefault(req Request) Report {
	p := planOf(req)
	reports := make([]MetricReport, 0, len(req.Metrics))
	for _, m := range req.Metrics {
		reports = append(reports, p.metric(m))
	}
	return defaultVerdict(req, reports)
}

// metric judges one metric.
func (p plan) metric(m Metric) MetricReport {
	if m.Kind == Count {
		if c, sound := countsOf(m); sound {
			return p.counts(m, c)
		}
	}
	return p.gauge(m)
}

// tooFew is the report of a metric with too few samples to be compared, if it is one.
func tooFew(m Metric, baseline, canary int) (MetricReport, bool) {
	if min(baseline, canary) >= leastSamples {
		return MetricReport{}, false
	}
	if min(baseline, canary) > 0 {
		r := unknown(m, LabelInconclusive)
		r.Reason = fmt.Sprintf("There are too few samples yet, %d of the canary and %d of the baseline; %d of each are needed.", canary, baseline, leastSamples)
		return r, true
	}
	who := "the canary and the baseline have"
	switch {
	case baseline > 0:
		who = "the canary has"
	case canary > 0:
		who = "the baseline has"
	}
	r := unknown(m, LabelNodata)
	r.Reason = fmt.Sprintf("There is nothing to compare: %s no data.", who)
	if m.MustHaveData {
		r.Label, r.Critical = LabelNodataFailMetric, m.Critical
		r.Reason = fmt.Sprintf("It must have data, and %s none.", who)
	}
	return r, true
}

// defaultVerdict makes a whole of the metrics' reports.
func defaultVerdict(req Request, reports []MetricReport) Report {
	out := Report{Metrics: reports}
	var score float64
	out.Groups, score = scoring{counts: kayentaCounts, silent: 100}.groups(req, reports)
	s := sortOut(req, reports)
	if s.judged == 0 {
		score = 0
	}
	out.Score = Number(score)
	last := req.Look >= req.Looks
	switch {
	case len(s.critical) > 0:
		out.Verdict, out.Reason = Fail, "What is critical got worse: "+list(s.critical)+"."
	case s.judged > 0 && score < req.Score.Marginal:
		out.Verdict, out.Reason = Fail, fmt.Sprintf("The score is %s, and below %s a canary fails; worse are %s.", figure(score), figure(req.Score.Marginal), list(s.worse))
	case len(s.holding) > 0:
		out.Verdict, out.Reason = Marginal, "These got worse, so it can't pass: "+list(s.holding)+"."
	case len(s.open) > 0:
		out.Verdict, out.Reason = Inconclusive, "This can't be told yet: "+list(s.open)+"."
		if last {
			out.Reason = "This could not be told: " + list(s.open) + "."
		}
	case s.judged > 0 && score < req.Score.Pass:
		out.Verdict, out.Reason = Marginal, fmt.Sprintf("The score is %s, and a canary passes from %s on.", figure(score), figure(req.Score.Pass))
	case s.judged == 0 || float64(s.silent) >= leastNodata*float64(len(reports)):
		out.Verdict, out.Reason = Inconclusive, fmt.Sprintf("%d of %d metrics have no data.", s.silent, len(reports))
	case !last:
		out.Verdict, out.Reason = Pass, fmt.Sprintf("Nothing is worse so far, at look %d of %d.", req.Look, req.Looks)
	default:
		out.Verdict, out.Reason = Pass, "Nothing is worse."
	}
	return out
}

// outcomes are names of metrics by what their labels mean for the verdict.
type outcomes struct {
	critical []string // fail it
	worse    []string // all that are
	holding  []string // keep it from passing
	open     []string // could not be told
	judged   int
	silent   int // have no data
}

func sortOut(req Request, reports []MetricReport) outcomes {
	var s outcomes
	for i, r := range reports {
		m := req.Metrics[i]
		switch r.Label {
		case LabelPass:
			s.judged++
		case LabelHigh, LabelLow, LabelNodataFailMetric:
			s.judged++
			s.worse = append(s.worse, m.Name)
			if r.Critical {
				s.critical = append(s.critical, m.Name)
			}
			if !m.Advisory {
				s.holding = append(s.holding, m.Name)
			}
		case LabelNodata:
			s.silent++
			if m.Critical {
				s.open = append(s.open, m.Name)
			}
		case LabelError, LabelInconclusive:
			if !m.Advisory {
				s.open = append(s.open, m.Name)
			}
		}
	}
	return s
}
