package kayenta

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// query makes one query text of what Kayenta composes at run time, and names its source after the provider.
func (t *translation) query(in *bag, m *metric) {
	provider := in.text("type")
	if service := in.text("serviceType"); provider == "" {
		provider = service
	}
	if provider == "" {
		t.fail("%s: it has no type", in.where)
		return
	}
	m.source = provider
	m.resourceType = in.text("resourceType")
	custom := t.custom(in, m)
	if t.err != nil {
		return
	}
	compose := map[string]func(*bag, *metric, string) string{
		"prometheus": t.prometheus, "datadog": t.datadog, "newrelic": t.newrelic, "stackdriver": t.stackdriver,
		"graphite": t.graphite, "influxdb": t.influxdb, "signalfx": t.signalfx, "wavefront": t.wavefront, "atlas": t.atlas,
	}[provider]
	if compose == nil {
		t.note(in.where, "the provider %q is not known; its template is taken as the query", provider)
		compose = func(_ *bag, _ *metric, custom string) string { return custom }
	}
	if slices.Contains([]string{"signalfx", "wavefront", "atlas"}, provider) {
		t.note(in.where, "Slipway has no source for %s: have the numbers by a plain web source, or from elsewhere", provider)
	}
	m.query = compose(in, m, custom)
	slices.Sort(m.unfilled)
	for _, name := range slices.Compact(m.unfilled) {
		t.note(in.where, "nothing is known for ${%s}: put its value there, or name it with --set %s=VALUE", name, name)
	}
	switch {
	case m.leftOut != "":
	case m.query == "":
		m.leftOut = "it can't be told what is asked for"
	case !strings.Contains(m.query, t.options.Scope) && len(m.unfilled) == 0:
		m.leftOut = "nothing in its query tells baseline and canary apart, so that they would always be equal"
	}
}

// custom is the text of the query's template, "" if it has none.
func (t *translation) custom(in *bag, m *metric) string {
	inline, name, old := in.text("customInlineTemplate"), in.text("customFilterTemplate"), in.text("customFilter")
	if old != "" {
		t.note(in.where, "the customFilter %q is refused by Kayenta itself and is left out", shorten(old, 200))
	}
	switch {
	case inline != "" && name != "":
		t.note(in.where, "the customFilterTemplate %q counts for nothing beside the customInlineTemplate", shorten(name, 60))
		return t.fill(m, inline)
	case inline != "":
		return t.fill(m, inline)
	case name == "":
		return ""
	}
	text, known := t.templates[name]
	t.used[name] = true
	if !known {
		m.leftOut = fmt.Sprintf("there is no template %q", shorten(name, 60))
	}
	return t.fill(m, text)
}

// selector says by which label or the like a query that Kayenta composes selects the track here.
func (t *translation) selector(in *bag) {
	t.note(in.where, "Kayenta selects by the scope that Spinnaker's stage names; here the series need a label (or tag, or attribute) named track: rename it to yours")
}

func (t *translation) prometheus(in *bag, m *metric, custom string) string {
	name, labels, by := in.text("metricName"), in.texts("labelBindings"), in.texts("groupByFields")
	if whole, ok := strings.CutPrefix(custom, "PromQL:"); ok {
		if name != "" || len(labels) > 0 || len(by) > 0 {
			t.note(in.where, "metricName, labelBindings and groupByFields count for nothing beside a whole PromQL query")
		}
		return strings.TrimSpace(whole)
	}
	if name == "" {
		return ""
	}
	var filters []string
	for _, label := range labels {
		filters = append(filters, t.fill(m, label))
	}
	if custom != "" {
		filters = append([]string{custom}, filters...)
	} else {
		filters = append(filters, `track="`+t.options.Scope+`"`)
		t.selector(in)
		if m.resourceType != "" {
			t.note(in.where, "Kayenta's own filters for the resourceType %q (instances by scope, zones by location) are left out", m.resourceType)
		}
	}
	if len(by) > 0 {
		t.note(in.where, "Kayenta compares each series by (%s) for itself; here the query gives one, their mean", strings.Join(by, ", "))
	}
	return "avg(" + t.fill(m, name) + "{" + strings.Join(filters, ",") + "})"
}

func (t *translation) datadog(in *bag, m *metric, custom string) string {
	name := in.text("metricName")
	if custom != "" || name == "" {
		return custom
	}
	t.selector(in)
	return t.fill(m, name) + "{track:" + t.options.Scope + "}"
}

// Slipway asks New Relic with the bounds and the steps of its own.
var nrqlTimes = regexp.MustCompile(`(?i)\s+(TIMESERIES(\s+(MAX|AUTO|\d+(\s+(SECOND|MINUTE|HOUR)S?)?))?|(SINCE|UNTIL)\s+\$\\?\{\w+\}|(SINCE|UNTIL)\s+\d+)`)

func (t *translation) newrelic(in *bag, m *metric, custom string) string {
	sel, where := strings.TrimSpace(in.text("select")), strings.TrimSpace(in.text("q"))
	if custom == "" && sel == "" {
		return ""
	}
	if custom != "" {
		m.unfilled = slices.DeleteFunc(m.unfilled, func(name string) bool { return name == "startEpochSeconds" || name == "endEpochSeconds" })
		query := strings.TrimSpace(nrqlTimes.ReplaceAllString(" "+custom, ""))
		if query != strings.TrimSpace(custom) {
			t.note(in.where, "SINCE, UNTIL and TIMESERIES are left out, as Slipway adds its own")
		}
		return query
	}
	if !strings.HasPrefix(sel, "SELECT") {
		sel = "SELECT " + sel
	}
	t.selector(in)
	conditions := "track LIKE '" + t.options.Scope + "'"
	if where != "" {
		conditions = t.fill(m, where) + " AND " + conditions
	}
	return t.fill(m, sel) + " WHERE " + conditions
}

var reducers = map[string]string{
	"": "avg", "REDUCE_MEAN": "avg", "REDUCE_SUM": "sum", "REDUCE_MIN": "min", "REDUCE_MAX": "max", "REDUCE_COUNT": "count", "REDUCE_STDDEV": "stddev",
	"REDUCE_PERCENTILE_99": "quantile(0.99, ", "REDUCE_PERCENTILE_95": "quantile(0.95, ", "REDUCE_PERCENTILE_50": "quantile(0.5, ", "REDUCE_PERCENTILE_05": "quantile(0.05, ",
}

var aligners = map[string]string{
	"": "avg_over_time", "ALIGN_MEAN": "avg_over_time", "ALIGN_SUM": "sum_over_time", "ALIGN_MIN": "min_over_time", "ALIGN_MAX": "max_over_time",
	"ALIGN_COUNT": "count_over_time", "ALIGN_RATE": "rate", "ALIGN_DELTA": "increase", "ALIGN_STDDEV": "stddev_over_time",
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_:]`)

// stackdriver gives PromQL, by which Slipway asks Google Cloud Monitoring. Names are mapped as
// https://cloud.google.com/monitoring/promql/promql-mapping says: the first slash becomes a colon, all else an underscore.
func (t *translation) stackdriver(in *bag, m *metric, custom string) string {
	name := in.text("metricType")
	reducer, aligner := in.text("crossSeriesReducer"), in.text("perSeriesAligner")
	if by := in.texts("groupByFields"); len(by) > 0 {
		t.note(in.where, "Kayenta compares each series by (%s) for itself; here the query gives one", strings.Join(by, ", "))
	}
	reduce, align := reducers[reducer], aligners[aligner]
	switch {
	case name == "":
		return ""
	case reduce == "" || align == "":
		m.leftOut = fmt.Sprintf("its reducer %q or aligner %q has no counterpart in PromQL", shorten(reducer, 60), shorten(aligner, 60))
		return ""
	}
	t.note(in.where, "Slipway asks Google Cloud Monitoring by PromQL: compare the two in its Metrics Explorer")
	labels := `track="` + t.options.Scope + `"`
	t.selector(in)
	if m.resourceType != "" {
		labels = `monitored_resource="` + t.fill(m, m.resourceType) + `",` + labels
	}
	if custom != "" {
		t.note(in.where, "write this filter as labels of the query: %s", shorten(custom, 400))
		m.leftOut = "its filter is not PromQL"
	}
	if !strings.HasSuffix(reduce, ", ") {
		reduce += "("
	}
	return reduce + align + "(" + notInNames.ReplaceAllString(strings.Replace(name, "/", ":", 1), "_") + "{" + labels + "}[" + stepSeconds + "s]))"
}

var graphiteVariable = regexp.MustCompile(`\$(scope|location)`)

func (t *translation) graphite(in *bag, m *metric, custom string) string {
	if custom != "" {
		t.note(in.where, "a template counts for nothing with graphite")
	}
	return t.fill(m, graphiteVariable.ReplaceAllString(in.text("metricName"), "$${$1}"))
}

// influxdb gives Flux, by which Slipway asks. Templates are InfluxQL.
func (t *translation) influxdb(in *bag, m *metric, custom string) string {
	name, fields := in.text("metricName"), in.texts("fields")
	if custom != "" {
		m.unfilled = nil
		m.leftOut = "its template is InfluxQL, and Slipway asks by Flux"
		return custom
	}
	if name == "" {
		return ""
	}
	bucket, given := t.options.Variables["bucket"]
	if !given {
		bucket = "BUCKET"
		t.note(in.where, "put the name of the bucket in place of BUCKET, or name it with --set bucket=NAME")
	}
	t.selector(in)
	condition := fmt.Sprintf("r._measurement == %q", t.fill(m, name))
	switch len(fields) {
	case 0:
		t.note(in.where, "Kayenta compares each field for itself; here all are one, their mean")
	case 1:
		condition += fmt.Sprintf(" and r._field == %q", t.fill(m, fields[0]))
	default:
		t.note(in.where, "Kayenta compares each of the fields %s for itself; here the first is asked for", strings.Join(fields, ", "))
		condition += fmt.Sprintf(" and r._field == %q", t.fill(m, fields[0]))
	}
	return fmt.Sprintf(`from(bucket: %q) |> range(start: v.timeRangeStart, stop: v.timeRangeStop) |> filter(fn: (r) => %s and r.track == "%s") |> group() |> aggregateWindow(every: v.windowPeriod, fn: mean)`,
		bucket, condition, t.options.Scope)
}

// signalfx gives the program of SignalFlow that Kayenta would.
func (t *translation) signalfx(in *bag, m *metric, custom string) string {
	name, method := in.text("metricName"), in.text("aggregationMethod")
	var filters []string
	for i, value := range in.list("queryPairs") {
		keys, ok := value.(map[string]any)
		if !ok {
			t.fail("%s: queryPairs[%d]: here is an object expected", in.where, i)
			return ""
		}
		pair := &bag{t: t, where: in.where, keys: keys}
		key, not := strings.CutPrefix(pair.text("key"), "!")
		var values []string
		for v := range strings.SplitSeq(pair.text("value"), ",") {
			values = append(values, "'"+strings.TrimSpace(v)+"'")
		}
		pair.rest()
		filter := t.fill(m, "filter('"+key+"', "+strings.Join(values, ", ")+")")
		if not {
			filter = "(not " + filter + ")"
		}
		filters = append(filters, filter)
	}
	if custom != "" || name == "" {
		return custom
	}
	if method == "" {
		method = "mean"
	}
	t.selector(in)
	filters = append(filters, "filter('track', '"+t.options.Scope+"')")
	return "data('" + t.fill(m, name) + "', filter=" + strings.Join(filters, " and ") + ")." + t.fill(m, method) + "(by=['track']).publish()"
}

func (t *translation) wavefront(in *bag, m *metric, _ string) string {
	name, aggregate, summarization := in.text("metricName"), in.text("aggregate"), in.text("summarization")
	if name == "" {
		return ""
	}
	if summarization != "" {
		t.note(in.where, "the summarization %q of a step is part of no query", summarization)
	}
	t.selector(in)
	query := "ts(" + t.fill(m, name) + `, track="` + t.options.Scope + `")`
	if aggregate != "" {
		query = t.fill(m, aggregate) + "(" + query + ")"
	}
	return query
}

func (t *translation) atlas(in *bag, m *metric, _ string) string {
	query := in.text("q")
	if query == "" {
		return ""
	}
	t.selector(in)
	return t.fill(m, query) + ",track," + t.options.Scope + ",:eq,:and"
}
