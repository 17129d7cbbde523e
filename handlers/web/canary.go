package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/canary/chart"
)

const (
	maxMetrics = 50
	maxLooks   = 100
)

// canaryPlace is what follows /deliveries/ID/stages/STAGE/canary: nothing, a download, or the number of a metric's chart.
type canaryPlace struct {
	id, stage, what string
}

// canaryOf reads what follows /deliveries/ as the address of a canary's report or of something that belongs to it.
func canaryOf(path string) (canaryPlace, bool) {
	id, rest, found := strings.Cut(path, "/stages/")
	i := strings.LastIndex(rest, "/canary")
	if !found || i <= 0 || i > maxURL || !validID(id) {
		return canaryPlace{}, false
	}
	p := canaryPlace{id: id, stage: rest[:i], what: strings.TrimPrefix(rest[i+len("/canary"):], "/")}
	switch {
	case p.what == "" && strings.HasSuffix(rest, "/canary"), p.what == "samples.json", p.what == "samples.csv":
		return p, true
	}
	_, _, ok := p.chart()
	return p, ok
}

// chart is which picture is asked for: "lines-0.svg", "spread-0.svg".
func (p canaryPlace) chart() (kind string, metric int, ok bool) {
	name, svg := strings.CutSuffix(p.what, ".svg")
	kind, number, found := strings.Cut(name, "-")
	metric, err := strconv.Atoi(number)
	ok = svg && found && err == nil && metric >= 0 && metric < maxMetrics && (kind == "lines" || kind == "spread")
	return kind, metric, ok
}

func (c *Console) canaryPath(id, stage string) string {
	return c.path("/deliveries/" + id + "/stages/" + url.PathEscape(stage) + "/canary")
}

func (c *Console) canary(w http.ResponseWriter, r *http.Request, p canaryPlace) {
	v, s, m, err := c.measured(r, p)
	if err != nil {
		c.fail(w, r, fmt.Errorf("show the canary of %s: %w", p.id, err))
		return
	}
	switch p.what {
	case "":
		c.canaryReport(w, r, v, s, m)
	case "samples.json":
		download(w, r, "application/json", "samples.json", m)
	case "samples.csv":
		download(w, r, "text/csv; charset=utf-8", "samples.csv", m)
	default:
		c.canaryChart(w, r, p, s, m)
	}
}

// measured finds the stage's newest samples.
func (c *Console) measured(r *http.Request, p canaryPlace) (pipeline.View, pipeline.StageView, *pipeline.Measurement, error) {
	v, err := c.source.Delivery(r.Context(), p.id)
	if err != nil {
		return v, pipeline.StageView{}, nil, err
	}
	for _, s := range v.Stages {
		if s.Name == p.stage && s.Analysis != nil && s.Analysis.Report != nil && s.Analysis.Samples != "" {
			m, err := c.source.Samples(r.Context(), p.id, p.stage)
			return v, s, m, err
		}
	}
	return v, pipeline.StageView{}, nil, ErrNotFound
}

func (c *Console) canaryChart(w http.ResponseWriter, r *http.Request, p canaryPlace, s pipeline.StageView, m *pipeline.Measurement) {
	kind, i, _ := p.chart()
	if i >= len(m.Request.Metrics) {
		c.fail(w, r, ErrNotFound)
		return
	}
	curve := m.Curve(i)
	panel := chart.Panel{Baseline: curve.Baseline, Canary: curve.Canary, From: curve.From, Step: curve.Step}
	if i < len(s.Analysis.Report.Metrics) {
		panel.Bad = s.Analysis.Report.Metrics[i].Label.Worse()
	}
	draw := chart.Lines
	if kind == "spread" {
		draw = chart.Spread
	}
	svg, err := draw(panel)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	send(w, r, svg)
}

func send(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // whoever asked may be gone
	}
}

// download sends the samples as a file.
func download(w http.ResponseWriter, r *http.Request, kind, name string, m *pipeline.Measurement) {
	var b strings.Builder
	if strings.HasSuffix(name, ".json") {
		data, err := json.MarshalIndent(m.Request, "", "  ")
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		b.Write(data)
	} else {
		writeCSV(&b, m)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	send(w, r, []byte(b.String()))
}

// writeCSV writes a row for each sample of each metric.
func writeCSV(b *strings.Builder, m *pipeline.Measurement) {
	out := csv.NewWriter(b)
	row := func(cells ...string) { _ = out.Write(cells) } // a strings.Builder takes everything
	row("metric", "time", "baseline", "canary", "baseline_total", "canary_total")
	for i, metric := range m.Request.Metrics {
		for k := range max(len(metric.Baseline), len(metric.Canary)) {
			at := m.Series[i].Start.Add(time.Duration(k) * m.Series[i].Step).UTC().Format(time.RFC3339)
			row(cell(metric.Name), at, sample(metric.Baseline, k), sample(metric.Canary, k), sample(metric.BaselineTotal, k), sample(metric.CanaryTotal, k))
		}
	}
	out.Flush()
}

// cell is text that a spreadsheet does not take for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func sample(of []canary.Number, k int) string {
	if k >= len(of) || !of[k].Known() {
		return ""
	}
	return strconv.FormatFloat(float64(of[k]), 'g', -1, 64)
}

// canaryPage is the report of one canary, ready to be rendered.
type canaryPage struct {
	Delivery, DeliveryURL, App, Stage, Environment string
	Look                                           look
	Score, Sentence                                string
	Made                                           string // "look 2 of 12"
	From, To                                       time.Time
	Pair                                           *pairRow
	Metrics                                        []metricRow
	Groups                                         []groupRow
	Looks                                          []lookRow
	JSON, CSV                                      string
	Again                                          againForm
}

type pairRow struct {
	Instances, Weight int
	Baseline, Canary  string // short sha
	Since             time.Time
}

type metricRow struct {
	Look                                            look
	Name, Reason, Kind                              string
	Change, Estimate, Interval                      string
	Lines, Spread, Link, Source, AskedB, AskedC, Of string
	Warning                                         string
}

type groupRow struct{ Name, Score, Weight string }

type lookRow struct {
	Number int
	At     time.Time
	Look   look
	Score  string
	Detail string
}

// againForm is what would have been said with other limits.
type againForm struct {
	Pass, Marginal, Confidence string // as they are in the fields
	Asked                      bool
	Wrong                      string // what is wrong with them
	Verdict                    look
	Score, Reason              string
}

func (c *Console) canaryReport(w http.ResponseWriter, r *http.Request, v pipeline.View, s pipeline.StageView, m *pipeline.Measurement) {
	page := c.newCanaryPage(v, s, m)
	page.Again = judgeAgain(r.URL.Query(), m.Request)
	f, err := c.render("canary", page, fragment{
		Title: page.Look.Word + " · canary of " + page.App, Announce: page.Look.Word, Icon: c.asset("mark-" + page.Look.Tone + ".svg"),
	})
	if err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Security-Policy", contentPolicy("'self'")) // for the form of other limits
	c.show(w, r, http.StatusOK, f, "")
}

func (c *Console) newCanaryPage(v pipeline.View, s pipeline.StageView, m *pipeline.Measurement) canaryPage {
	a := s.Analysis
	base := c.canaryPath(v.ID, s.Name)
	p := canaryPage{
		Delivery: v.ID, DeliveryURL: c.path("/deliveries/" + v.ID), App: line(v.Application, maxLabel), Stage: line(s.Name, maxLabel),
		Environment: line(s.Environment, maxLabel), Look: verdictLook(a.Report.Verdict), Score: score(a.Report.Score),
		Sentence: capital(line(a.Report.Reason, maxWords)), From: m.From, To: m.To, JSON: base + "/samples.json", CSV: base + "/samples.csv",
	}
	if a.Look > 0 {
		p.Made = fmt.Sprintf("look %d of %d", a.Look, a.Looks)
	}
	if a.Pair != nil {
		p.Pair = &pairRow{
			Instances: a.Pair.Instances, Weight: a.Weight, Since: a.Pair.Since,
			Baseline: line(pipeline.Short(a.Pair.Baseline.SHA), maxLabel), Canary: line(pipeline.Short(a.Pair.Canary.SHA), maxLabel),
		}
	}
	for i, found := range a.Report.Metrics[:min(len(a.Report.Metrics), maxMetrics)] {
		row := newMetricRow(found)
		if i < len(m.Series) {
			row.asked(m, i)
			row.Lines, row.Spread = fmt.Sprintf("%s/lines-%d.svg", base, i), fmt.Sprintf("%s/spread-%d.svg", base, i)
		}
		p.Metrics = append(p.Metrics, row)
	}
	for _, g := range a.Report.Groups[:min(len(a.Report.Groups), maxMetrics)] {
		p.Groups = append(p.Groups, groupRow{line(g.Name, maxLabel), score(g.Score), score(g.Weight)})
	}
	for _, l := range a.History[max(0, len(a.History)-maxLooks):] {
		row := lookRow{Number: l.Number, At: l.At, Look: verdictLook(l.Verdict), Detail: capital(line(l.Detail, maxWords))}
		if l.Verdict != "" {
			row.Score = score(l.Score)
		}
		p.Looks = append(p.Looks, row)
	}
	return p
}

func newMetricRow(m canary.MetricReport) metricRow {
	row := metricRow{Look: labelLook(m), Name: line(m.Name, maxLabel), Reason: capital(line(m.Reason, maxWords))}
	row.Change = m.Change()
	row.Estimate = short(m.Estimate)
	if lower, upper := short(m.Lower), short(m.Upper); lower != "" && upper != "" {
		row.Interval = lower + " to " + upper
	}
	return row
}

// asked shows where the samples come from.
func (row *metricRow) asked(m *pipeline.Measurement, i int) {
	series, metric := m.Series[i], m.Request.Metrics[i]
	row.Source, row.AskedB, row.AskedC = line(series.Source, maxLabel), clip(series.Baseline, 4*maxWords), clip(series.Canary, 4*maxWords)
	row.Link, row.Kind = safeURL(series.Link), line(string(metric.Kind), maxLabel)
	row.Warning = line(series.Warning, maxWords)
	row.Of = fmt.Sprintf("%d and %d samples", len(metric.Baseline), len(metric.Canary))
}

// judgeAgain answers with other limits from the same samples. It changes nothing.
func judgeAgain(q url.Values, request canary.Request) againForm {
	confidence := 0.95
	if request.Confidence != nil {
		confidence = *request.Confidence
	} else if request.Judge == canary.Kayenta {
		confidence = 0.98
	}
	form := againForm{Pass: plain(request.Score.Pass), Marginal: plain(request.Score.Marginal), Confidence: plain(confidence)}
	form.Asked = q.Has("pass") || q.Has("marginal") || q.Has("confidence")
	if !form.Asked {
		return form
	}
	for _, f := range []struct {
		name string
		text *string
		to   *float64
		most float64
	}{{"pass", &form.Pass, &request.Score.Pass, 100}, {"marginal", &form.Marginal, &request.Score.Marginal, 100}, {"confidence", &form.Confidence, &confidence, 1}} {
		if !q.Has(f.name) {
			continue
		}
		*f.text = line(q.Get(f.name), 20)
		n, err := strconv.ParseFloat(*f.text, 64)
		if err != nil || !(n >= 0 && n <= f.most) {
			form.Wrong = fmt.Sprintf("%s has to be a number from 0 to %s.", capital(f.name), plain(f.most))
			return form
		}
		*f.to = n
	}
	switch { // as of the pipeline file
	case request.Score.Marginal > request.Score.Pass:
		form.Wrong = "The lower score must not be above the upper one."
	case !(confidence > 0 && confidence < 1):
		form.Wrong = "Confidence has to be between 0 and 1."
	case request.Judge != canary.Kayenta && (confidence < canary.LeastConfidence || confidence > canary.MostConfidence):
		form.Wrong = fmt.Sprintf("The default judge takes a confidence from %v to %v.", canary.LeastConfidence, canary.MostConfidence)
	}
	if form.Wrong != "" {
		return form
	}
	request.Confidence = &confidence
	report := canary.Judge(request)
	form.Verdict, form.Score, form.Reason = verdictLook(report.Verdict), score(report.Score), capital(line(report.Reason, maxWords))
	return form
}

func verdictLook(v canary.Verdict) look {
	switch v {
	case canary.Pass:
		return look{"ok", "check", "Good"}
	case canary.Marginal:
		return look{"ask", "ask", "Neither good nor bad"}
	case canary.Fail:
		return look{"bad", "cross", "Bad"}
	case canary.Inconclusive:
		return look{"wait", "minus", "Too little to say"}
	}
	return look{"off", "minus", "Nothing to judge"}
}

func labelLook(m canary.MetricReport) look {
	switch {
	case m.Critical:
		return look{"bad", "cross", "Worse, and critical"}
	case m.Label == canary.LabelPass:
		return look{"ok", "check", "Fine"}
	case m.Label == canary.LabelNodata:
		return look{"wait", "minus", "No data"}
	case m.Label == canary.LabelNodataFailMetric:
		return look{"back", "cross", "No data, and it must have"}
	case m.Label == canary.LabelError:
		return look{"wait", "minus", "Could not be compared"}
	case m.Label == canary.LabelInconclusive:
		return look{"wait", "minus", "Too little to say"}
	}
	return look{"back", "cross", "Worse"}
}

func score(n canary.Number) string { return n.Text("") }

func short(n canary.Number) string {
	if !n.Known() {
		return ""
	}
	return strconv.FormatFloat(float64(n), 'g', 4, 64)
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
