package kayenta

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// metric is one metric of the stage.
type metric struct {
	name, source, query string
	groups              []string
	options             []string // lines of YAML
	remarks             []string // that stand above it
	leftOut             string   // why it is a comment only

	resourceType string
	unfilled     []string // variables of its query that nothing was known for
}

func (t *translation) metrics(config *bag) []*metric {
	list := config.list("metrics")
	if len(list) == 0 {
		t.fail("metrics: there are none")
	}
	if len(list) > maxMetrics {
		t.fail("metrics: there are more than %d", maxMetrics)
		return nil
	}
	var out []*metric
	for i, value := range list {
		where := fmt.Sprintf("metrics[%d]", i)
		keys, ok := value.(map[string]any)
		if !ok {
			t.fail("%s: here is an object expected", where)
			return nil
		}
		m := t.metric(&bag{t: t, where: where, keys: keys})
		if t.err != nil {
			return nil
		}
		out = append(out, m)
		for _, g := range m.groups {
			t.groups[g] = t.groups[g] || m.leftOut == ""
		}
	}
	return out
}

func (t *translation) metric(in *bag) *metric {
	m := &metric{name: in.text("name")}
	if m.name == "" {
		t.fail("%s: it has no name", in.where)
		return m
	}
	in.where += " " + fmt.Sprintf("%q", shorten(m.name, 60))
	before := len(t.notes)
	if t.names[m.name]++; t.names[m.name] > 1 {
		t.note(in.where, "there is another metric of this name, so that it has a number here")
		m.name = fmt.Sprintf("%s (%d)", m.name, t.names[m.name])
	}
	m.groups = slices.Compact(in.texts("groups"))
	if len(m.groups) == 0 {
		t.note(in.where, "it is in no group: Kayenta leaves it out of the score, Slipway counts it in the group default")
	}
	if scope := in.text("scopeName"); scope != "" && scope != "default" {
		t.note(in.where, "the scope %q is not known here: every metric compares the baseline and the canary of the stage", scope)
	}
	in.skip("id")
	t.analysis(in, m)
	if query := in.bag("query"); query == nil {
		t.fail("%s: it has no query", in.where)
	} else {
		original, err := json.Marshal(query.keys)
		if err != nil {
			t.fail("%s: query: %w", in.where, err)
			return m
		}
		t.query(query, m)
		if m.leftOut != "" {
			m.remarks = append(m.remarks, "Kayenta's query: "+shorten(string(original), 800))
		}
		query.rest()
	}
	in.rest()
	if m.leftOut != "" {
		t.note(in.where, "it is left out: %s", m.leftOut)
		t.leftOut = append(t.leftOut, m.name)
	}
	for _, note := range t.notes[before:] {
		m.remarks = append(m.remarks, strings.TrimPrefix(strings.TrimPrefix(note, in.where+": "), "query: "))
	}
	return m
}

// analysis takes how a metric is judged.
func (t *translation) analysis(in *bag, m *metric) {
	all := in.bag("analysisConfigurations")
	if all == nil {
		return
	}
	c := all.bag("canary")
	all.rest()
	if c == nil {
		return
	}
	set := func(line string) { m.options = append(m.options, line) }
	if word := t.word(c, "direction", "either", "increase", "decrease"); word != "" {
		set("direction: " + word)
	}
	for _, flag := range [][2]string{{"critical", "critical"}, {"mustHaveData", "must_have_data"}} {
		if c.flag(flag[0]) {
			set(flag[1] + ": true")
		}
	}
	if c.flag("muted") {
		m.leftOut = "it is muted, which is to be judged and not to count"
	}
	if word := t.word(c, "nanStrategy", "remove", "replace"); word != "" {
		set("nan: " + word)
	}
	if outliers := c.bag("outliers"); outliers != nil {
		t.outliers(outliers, set)
	}
	if effect := c.bag("effectSize"); effect != nil {
		t.effect(effect, set)
	}
	c.rest()
}

// word takes one of few words, in any case of letters. Others mean the first of them to Kayenta.
func (t *translation) word(in *bag, key string, words ...string) string {
	given := in.text(key)
	lower := strings.ToLower(given)
	if given == "" || slices.Contains(words, lower) {
		return lower
	}
	t.note(in.where, "the %s %q is taken for %s", key, given, words[0])
	return words[0]
}

func (t *translation) outliers(in *bag, set func(string)) {
	strategy := t.word(in, "strategy", "keep", "remove")
	factor, given := in.number("outlierFactor")
	in.rest()
	if given && factor <= 0 {
		t.note(in.where, "an outlierFactor of %v is not above 0 and is left out", factor)
		given = false
	}
	switch {
	case strategy == "" && given:
		t.note(in.where, "an outlierFactor without a strategy does nothing and is left out")
	case strategy != "" && given:
		set(fmt.Sprintf("outliers: {strategy: %s, factor: %s}", strategy, decimal(factor)))
	case strategy != "":
		set(fmt.Sprintf("outliers: {strategy: %s}", strategy))
	}
}

func (t *translation) effect(in *bag, set func(string)) {
	var parts []string
	most := math.Inf(1)
	switch measure := in.text("measure"); measure {
	case "":
	case "cles":
		most = 1
		parts = append(parts, "measure: cles")
	case "meanRatio":
		parts = append(parts, "measure: meanRatio")
	default:
		t.note(in.where, "the measure %q is taken for meanRatio", measure)
	}
	for _, key := range [][2]string{
		{"allowedIncrease", "allowed_increase"}, {"allowedDecrease", "allowed_decrease"}, {"criticalIncrease", "critical_increase"}, {"criticalDecrease", "critical_decrease"},
	} {
		limit, given := in.number(key[0])
		if given && (limit < 0 || limit > most) {
			t.note(in.where, "%s can't be %v and is left out", key[0], limit)
			given = false
		}
		if given {
			parts = append(parts, key[1]+": "+decimal(limit))
		}
	}
	in.rest()
	if len(parts) > 0 {
		set("effect: {" + strings.Join(parts, ", ") + "}")
	}
}

// write writes the metric, in a comment if it is left out.
func (m *metric) write(out *writer) {
	for _, remark := range m.remarks {
		out.comment(6, remark)
	}
	mark, names := "", make([]string, len(m.groups))
	if m.leftOut != "" {
		mark = "# "
	}
	for i, g := range m.groups {
		names[i] = scalar(g)
	}
	out.lines(6, mark+"- name: "+scalar(m.name))
	lines := []string{"source: " + scalar(m.source), "query: " + scalar(m.query), "kind: gauge"}
	if len(names) > 0 {
		lines = append(lines, "groups: ["+strings.Join(names, ", ")+"]")
	}
	for _, line := range append(append(lines, m.options...), "step: "+stepSeconds+"s") {
		out.lines(6, mark+"  "+line)
	}
}
