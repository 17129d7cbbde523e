package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

const (
	// leastPatience and mostPatience bound how long a look waits for its samples: as long as two intervals, between these.
	leastPatience = 2 * time.Minute
	mostPatience  = 10 * time.Minute
	// missPause is the longest pause after a last look that got nothing.
	missPause = time.Minute
	// keptLooks is how many looks the state keeps for people. The newest one's blob has the samples of its window.
	keptLooks = 100
)

// look asks for samples. What was missed while nothing ran is not made up for: a look has all samples so far.
func (s *stepper) look(st *StageState, def Stage) {
	a, c := st.Analysis, def.Canary
	a.Look, a.Looking = a.lookDue(c, s.now), true
	st.Looks++
	st.Deadline = s.now.Add(min(max(2*c.Interval, leastPatience), mostPatience))
	from, to := a.window(c, s.now)
	s.act(st, measureKey(st), "analysis/"+st.Name, Measure{Stage: st.Name, Attempt: st.Attempt, Look: a.Look, From: from, To: to})
}

func measureKey(st *StageState) string { return fmt.Sprintf("measure/%d", st.Looks) }

// end is when the last look is.
func (a *Analysis) end(c *Canary) time.Time { return a.Began.Add(c.Lifetime) }

// lookTime is when a look is planned.
func (a *Analysis) lookTime(c *Canary, n int) time.Time {
	if n >= a.Looks {
		return a.end(c)
	}
	return a.Began.Add(time.Duration(n) * c.Interval)
}

// lookDue is the number of the look that is made now.
func (a *Analysis) lookDue(c *Canary, now time.Time) int {
	if c.past() || !now.Before(a.end(c)) {
		return a.Looks
	}
	n := int(now.Sub(a.Began) / c.Interval)
	return min(max(n, a.Look+1), a.Looks)
}

// window is the time that a look now is about.
func (a *Analysis) window(c *Canary, now time.Time) (from, to time.Time) {
	if c.past() {
		return c.From, c.To
	}
	from, to = a.Began, now
	if end := a.end(c); end.Before(to) {
		to = end
	}
	if c.Lookback > 0 && to.Add(-c.Lookback).After(from) {
		from = to.Add(-c.Lookback)
	}
	return from, to
}

// PlannedLook is a look as it is planned. It is made at the end of the time that it is about.
type PlannedLook struct {
	Number   int // from 1
	From, To time.Time
}

// PlannedLooks are the looks of a canary whose warm-up ended at began. One that judges a time that has been makes one, of
// that time.
func (c *Canary) PlannedLooks(began time.Time) []PlannedLook {
	a := Analysis{Began: began, Looks: c.Looks()}
	looks := make([]PlannedLook, a.Looks)
	for i := range looks {
		from, to := a.window(c, a.lookTime(c, i+1))
		looks[i] = PlannedLook{Number: i + 1, From: from, To: to}
	}
	return looks
}

// sampled judges what a look got.
func (s *stepper) sampled(e Sampled) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseAnalysing || st.Analysis == nil || !st.Analysis.Looking || st.Analysis.Look != e.Look {
		return
	}
	def := s.d.definition(s.plan, st)
	a := st.Analysis
	request, ok := def.Canary.Request(e.Metrics)
	switch {
	case e.Unwell != "":
		a.Looking, a.Samples = false, firstNonEmpty(e.Samples, a.Samples)
		a.remember(Look{Number: a.Look, At: s.now, Verdict: canary.Fail, Detail: brief(e.Unwell)})
		s.unpair(st, StageFailed, Reason{Code: ReasonCanaryUnwell, Detail: e.Unwell})
	case e.Unequal != "":
		s.missed(st, def, e.Unequal)
	case !ok:
		s.missed(st, def, "the samples are of other metrics than the stage's")
	default:
		request.Looks, request.Look = a.Looks, a.Look
		report := canary.Judge(request)
		a.Looking, a.Missed, a.Report, a.Samples, a.Trend = false, 0, &report, e.Samples, newTrend(request, report)
		a.remember(Look{Number: a.Look, At: s.now, Verdict: report.Verdict, Score: report.Score, Detail: brief(report.Reason)})
		s.judged(st, def)
	}
}

// Request is what a judge is asked about samples of the stage's metrics, in their order, at its only look. It is not ok
// if they are of other metrics.
func (c *Canary) Request(samples []canary.Metric) (r canary.Request, ok bool) {
	if len(samples) != len(c.Metrics) {
		return canary.Request{}, false
	}
	r = canary.Request{Judge: c.Judge, Confidence: c.Confidence, Tolerance: c.Tolerance, Score: c.Score, GroupWeights: c.GroupWeights}
	for i, m := range c.Metrics {
		rule, got := m.Rule, samples[i]
		if got.Name != rule.Name {
			return canary.Request{}, false
		}
		rule.Baseline, rule.Canary, rule.BaselineTotal, rule.CanaryTotal = got.Baseline, got.Canary, got.BaselineTotal, got.CanaryTotal
		r.Metrics = append(r.Metrics, rule)
	}
	return r, true
}

// judged acts on the newest verdict.
func (s *stepper) judged(st *StageState, def Stage) {
	a := st.Analysis
	last := a.Look >= a.Looks
	switch r := a.Report; {
	case r.Verdict == canary.Fail:
		s.unpair(st, StageFailed, Reason{Code: ReasonCanaryFailed, Detail: findings(r)})
	case !last:
		a.Next, st.Deadline = a.lookTime(def.Canary, a.Look+1), time.Time{}
		st.Reason, st.Progress = Reason{}, a.progress()
		s.weigh(st, def)
	case r.Verdict == canary.Pass:
		s.unpair(st, StageSucceeded, Reason{Code: ReasonCanaryPassed, Detail: "score " + score(r.Score)})
	case r.Verdict == canary.Marginal:
		s.grey(st, def, Reason{Code: ReasonCanaryGrey, Detail: findings(r)}, true)
	default:
		s.grey(st, def, Reason{Code: ReasonNoSamples, Detail: firstNonEmpty(phrase(r.Reason), string(r.Verdict))}, measured(def.Canary, r))
	}
}

// missed: a look got no samples, or none that can be compared.
func (s *stepper) missed(st *StageState, def Stage, why string) {
	a := st.Analysis
	a.Looking = false
	a.Missed++
	a.remember(Look{Number: a.Look, At: s.now, Detail: brief(why)})
	if a.Missed > def.Canary.Misses {
		s.grey(st, def, Reason{Code: ReasonNoSamples, Detail: joined(why, looksInARow(a.Missed))}, false)
		return
	}
	a.Next, st.Deadline = a.lookTime(def.Canary, a.Look+1), time.Time{}
	if a.Look >= a.Looks { // without it nothing is decided
		a.Next = s.now.Add(min(orElse(def.Canary.Interval, missPause), missPause))
	}
	st.Progress = a.progress()
}

func looksInARow(n int) string {
	if n == 1 {
		return "one look"
	}
	return fmt.Sprintf("%d looks in a row", n)
}

// grey settles a canary that is neither good nor bad. Without measurements it never passes by itself.
func (s *stepper) grey(st *StageState, def Stage, reason Reason, measured bool) {
	switch def.Canary.Grey {
	case GreyPasses:
		if !measured {
			s.unpair(st, StageFailed, reason)
			return
		}
		reason.Detail = joined(reason.Detail, "which the pipeline file lets pass")
		s.unpair(st, StageSucceeded, reason)
	case GreyFails:
		s.unpair(st, StageFailed, reason)
	case GreyAsks:
		s.askAboutCanary(st, def, reason)
	default: // the plan of another version
		s.askAboutCanary(st, def, reason)
	}
}

// askAboutCanary asks people. The pair stays until they have answered.
func (s *stepper) askAboutCanary(st *StageState, def Stage, reason Reason) {
	s.stopLooking(st)
	s.draw(st)
	st.Status, st.Reason, st.Progress = StageAsking, reason, ""
	st.Analysis.Next, st.Deadline = time.Time{}, s.now.Add(orElse(def.Question().Expires, askTimeout))
}

// measured tells that there is something in the report that was measured, and that nothing critical is missing.
func measured(c *Canary, r *canary.Report) bool {
	some := false
	for i, m := range r.Metrics {
		switch m.Label {
		case canary.LabelNodata, canary.LabelNodataFailMetric, canary.LabelError:
			if i < len(c.Metrics) && c.Metrics[i].Rule.Critical {
				return false
			}
		case canary.LabelPass, canary.LabelHigh, canary.LabelLow, canary.LabelInconclusive:
			some = true
		}
	}
	return some
}

// remember adds a look to the history, which is bounded and never changed in place.
func (a *Analysis) remember(l Look) {
	a.History = append(slices.Clone(a.History), l)
	if n := len(a.History); n > keptLooks {
		a.History = a.History[n-keptLooks:]
	}
}

// weigh raises the traffic of both tracks when its time has come, and not while the newest look was bad or got nothing.
func (s *stepper) weigh(st *StageState, def Stage) {
	a := st.Analysis
	if !a.raises(st, def.Canary) {
		return
	}
	at := a.stepOfWeights(def.Canary, s.now)
	if at < 0 || def.Canary.Weights[at] == a.Weight {
		return
	}
	a.Weighing = def.Canary.Weights[at]
	s.act(st, weighKey(a.Weighing), clusterSlot(def), WeighPair{Stage: st.Name, Attempt: st.Attempt, Weight: a.Weighing})
}

func weighKey(weight int) string { return fmt.Sprintf("weigh/%d", weight) }

// raises tells that the canary may get more traffic now: nothing that was seen speaks against it, and nothing is being
// looked at that could.
func (a *Analysis) raises(st *StageState, c *Canary) bool {
	switch {
	case st.Phase != PhaseAnalysing, st.Status == StageAsking, a.Weighing != 0, a.Looking, a.Missed > 0:
		return false
	case a.Report == nil:
		return true
	}
	return a.Report.Verdict != canary.Fail && a.Report.Verdict != canary.Marginal && measured(c, a.Report)
}

// stepOfWeights is which of the weights is due, -1 if there are none.
func (a *Analysis) stepOfWeights(c *Canary, now time.Time) int {
	n := len(c.Weights)
	if n == 0 || c.past() || c.Lifetime <= 0 {
		return -1
	}
	part := c.Lifetime / time.Duration(n)
	return min(max(int(now.Sub(a.Began)/max(part, 1)), 0), n-1)
}

// nextRaise is when the traffic is raised next, zero if it is not.
func (s *stepper) nextRaise(st *StageState) time.Time {
	a := st.Analysis
	c := s.d.definition(s.plan, st).Canary
	if c == nil || !a.raises(st, c) {
		return time.Time{}
	}
	at := a.stepOfWeights(c, s.now)
	if at < 0 || at+1 >= len(c.Weights) {
		return time.Time{}
	}
	return a.Began.Add(time.Duration(at+1) * (c.Lifetime / time.Duration(len(c.Weights))))
}

func (s *stepper) weighed(e Weighed) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Analysis == nil || st.Analysis.Weighing == 0 || st.Analysis.Weighing != e.Weight {
		return
	}
	st.Analysis.Weight, st.Analysis.Weighing = e.Weight, 0
	st.Progress = st.Analysis.progress()
	s.weigh(st, s.d.definition(s.plan, st))
}

// progress says how far the looks are.
func (a *Analysis) progress() string {
	var parts []string
	switch {
	case len(a.History) == 0 && a.Looks == 1:
		parts = append(parts, "one look is planned")
	case len(a.History) == 0:
		parts = append(parts, fmt.Sprintf("%d looks are planned", a.Looks))
	default:
		l := a.History[len(a.History)-1]
		said := fmt.Sprintf("look %d of %d", l.Number, a.Looks)
		if l.Verdict == "" {
			parts = append(parts, said+" got nothing to judge: "+l.Detail)
		} else {
			parts = append(parts, fmt.Sprintf("%s: %s, score %s", said, l.Verdict, score(l.Score)))
		}
	}
	if a.Weight > 0 {
		parts = append(parts, fmt.Sprintf("each track has %d %% of the traffic", a.Weight))
	}
	if !a.Next.IsZero() {
		parts = append(parts, "the next is at "+clock(a.Next))
	}
	return strings.Join(parts, ", ")
}

// score is a score as people read it.
func score(n canary.Number) string { return n.Text("unknown") }

// findings is what is wrong with a canary, as one line: what the worst metrics' sentences say.
func findings(r *canary.Report) string {
	const most = 3
	var worst, bad []string
	for _, m := range r.Metrics {
		switch {
		case m.Critical:
			worst = append(worst, finding(m))
		case m.Label.Worse():
			bad = append(bad, finding(m))
		}
	}
	if len(worst) == 0 {
		worst = bad
	}
	if len(worst) == 0 {
		return firstNonEmpty(phrase(r.Reason), "score "+score(r.Score))
	}
	if n := len(worst); n > most {
		worst = append(worst[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(worst, "; ")
}

// finding is what is wrong with one metric. Some sentences begin with its name.
func finding(m canary.MetricReport) string {
	said := firstNonEmpty(phrase(m.Reason), string(m.Label))
	if strings.HasPrefix(strings.ToLower(said), strings.ToLower(m.Name)) {
		return said
	}
	return m.Name + ": " + said
}

// phrase is a sentence without its full stop and its capital, as reasons are. A second capital is that of an abbreviation.
func phrase(sentence string) string {
	sentence = strings.TrimSuffix(sentence, ".")
	if len(sentence) > 1 && sentence[1] >= 'a' && sentence[1] <= 'z' || strings.HasPrefix(sentence, "A ") {
		return strings.ToLower(sentence[:1]) + sentence[1:]
	}
	return sentence
}

// analysisView is what people see of an analysis. What changes while a look is under way would be no news to them.
func analysisView(a *Analysis) *Analysis {
	if a == nil {
		return nil
	}
	v := *a
	v.Looking, v.Weighing, v.Watching, v.Ends, v.Compare, v.Drawing = false, 0, false, 0, nil, false
	if len(v.History) > 0 {
		v.Look = v.History[len(v.History)-1].Number
	} else {
		v.Look = 0
	}
	return &v
}

// canaryAsk is what people are asked about a canary that is neither good nor bad.
func canaryAsk(def Stage, st *StageState) string {
	return fmt.Sprintf("Go on with the canary in %s? %s.", def.Environment(), sentenceCase(st.Reason.String()))
}

func sentenceCase(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	if first == "" {
		return first
	}
	return strings.ToUpper(first[:1]) + first[1:]
}
