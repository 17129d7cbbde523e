// Package kayenta turns Kayenta's canary configurations into canary stages of the pipeline file. What it can't turn, it
// says: nothing is left out silently.
//
// The form of a configuration is that of Kayenta's docs/canary-config.md and of the queries' docs beside it
// (https://github.com/spinnaker/kayenta).
package kayenta

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits of a configuration.
const (
	MaxConfig  = 1 << 20 // bytes
	maxMetrics = 1000
)

// Options for Translate.
type Options struct {
	Environment string            // of the stage
	Scope       string            // what ${scope} becomes; "" is the track
	Variables   map[string]string // what other ${variables} become
}

// track is what tells baseline and canary apart in a query.
const track = "${{ track }}"

// Stage is a translation.
type Stage struct {
	YAML    string
	Notes   []string // what people have to look at, in the order of the file
	LeftOut []string // names of metrics that are in the YAML as comments only
}

// Translate makes a canary stage of a configuration. The error says why it is none.
func Translate(data []byte, o Options) (Stage, error) {
	if len(data) > MaxConfig {
		return Stage{}, fmt.Errorf("it is larger than %d KiB", MaxConfig>>10)
	}
	var raw any
	if err := json.Unmarshal(data, &raw); err != nil {
		return Stage{}, fmt.Errorf("it is no JSON: %w", err)
	}
	keys, ok := raw.(map[string]any)
	if !ok {
		return Stage{}, errors.New("it is no JSON object")
	}
	if o.Scope == "" {
		o.Scope = track
	}
	t := &translation{options: o, templates: map[string]string{}, used: map[string]bool{}, groups: map[string]bool{}, names: map[string]int{}}
	t.stage(&bag{t: t, keys: keys})
	if t.err != nil {
		return Stage{}, t.err
	}
	return Stage{YAML: t.out.String(), Notes: t.notes, LeftOut: t.leftOut}, nil
}

// translation is one configuration under way.
type translation struct {
	options   Options
	templates map[string]string
	used      map[string]bool // templates
	groups    map[string]bool // that have a metric in the stage
	names     map[string]int  // of metrics, and how often each was there
	out       writer
	notes     []string
	leftOut   []string
	err       error // the first
}

func (t *translation) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf(format, args...)
	}
}

// note tells people of something; where says of what.
func (t *translation) note(where, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if where != "" {
		text = where + ": " + text
	}
	t.notes = append(t.notes, oneLine(text))
}

// stage writes the whole. What belongs to a metric is written with it, what belongs to the whole comes first.
func (t *translation) stage(config *bag) {
	name, description := config.text("name"), config.text("description")
	applications := config.texts("applications")
	for _, key := range []string{"id", "configVersion", "createdTimestamp", "updatedTimestamp", "createdTimestampIso", "updatedTimestampIso", "isNew"} {
		config.skip(key) // Kayenta's bookkeeping
	}
	if judge := config.bag("judge"); judge != nil {
		if name := judge.text("name"); name != "" && name != "NetflixACAJudge-v1.0" {
			t.note("judge", "%q is another judge; kayenta judges as NetflixACAJudge-v1.0 does", name)
		}
		if settings := judge.bag("judgeConfigurations"); settings != nil {
			settings.rest()
		}
		judge.rest()
	}
	for key, text := range config.each("templates") {
		t.templates[key] = text
	}
	metrics := t.metrics(config)
	if t.err != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(t.templates)) {
		if !t.used[name] {
			t.note("templates", "no metric uses %q, and it is left out", shorten(name, 60))
		}
	}
	t.head(name, description, applications)
	t.scoring(config)
	config.rest()
	t.out.lines(4, "metrics:")
	for _, m := range metrics {
		m.write(&t.out)
	}
	if len(t.leftOut) == len(metrics) {
		t.note("metrics", "none of them could be translated, so that the stage is not complete")
		t.out.lines(6, "[]")
	}
}

func (t *translation) head(name, description string, applications []string) {
	about := "Kayenta's canary configuration"
	if name != "" {
		about += " " + name
	}
	t.out.comment(0, "From "+about+".")
	if description != "" {
		t.out.comment(0, description)
	}
	if len(applications) > 0 {
		t.out.comment(0, "Applications: "+strings.Join(applications, ", "))
	}
	t.out.lines(0, "- name: canary", "  canary:", "    environment: "+scalar(t.options.Environment))
	t.out.comment(4, "How long and how often is not in Kayenta's configuration but in Spinnaker's stage: set what you had there.")
	t.out.lines(4, "instances: 3", "warmup: 5m", "interval: 5m", "lifetime: 1h", "window: growing", "judge: kayenta", "confidence: 0.98")
}

// scoring writes thresholds and weights.
func (t *translation) scoring(config *bag) {
	classifier := config.bag("classifier")
	pass, marginal := 75.0, 50.0
	var weights []string
	if classifier == nil {
		classifier = &bag{t: t, where: "classifier"}
	}
	if thresholds := classifier.bag("scoreThresholds"); thresholds != nil {
		if p, ok := thresholds.number("pass"); ok {
			pass = p
		}
		if m, ok := thresholds.number("marginal"); ok {
			marginal = m
		}
		thresholds.rest()
		if !(pass > 0 && pass <= 100 && marginal >= 0 && marginal <= pass) {
			t.note(thresholds.where, "pass has to be above 0 and up to 100, marginal from 0 to pass")
		}
	} else {
		t.note("classifier", "there are no scoreThresholds; 75 and 50 are written, set what Spinnaker's stage had")
	}
	if given := classifier.bag("groupWeights"); given != nil {
		sum := 0.0
		for _, group := range given.names() {
			weight, ok := given.number(group)
			if !ok {
				continue
			}
			if !t.groups[group] {
				t.note(given.where, "%q has a weight of %v, and no metric here is in it, so it is left out", group, weight)
				continue
			}
			sum += weight
			weights = append(weights, scalar(group)+": "+decimal(weight))
		}
		if sum > 100 {
			t.note(given.where, "they add up to %v, and 100 is the whole", sum)
		}
	}
	classifier.rest()
	t.out.lines(4, fmt.Sprintf("score: {pass: %s, marginal: %s}", decimal(pass), decimal(marginal)))
	t.out.comment(4, "Spinnaker's stage fails a canary that ends between the two; judgement asks people instead.")
	t.out.lines(4, "marginal: fail")
	if len(weights) > 0 {
		t.out.lines(4, "groups:")
		for _, w := range weights {
			t.out.lines(6, w)
		}
	}
}

var variable = regexp.MustCompile(`\$\\?\{([^{}]*)\}|\$\{\{`)

// fill replaces the ${variables} of a query. Kayenta's configurations have some as $\{variable}, where Spinnaker would
// else take them for its own.
func (t *translation) fill(m *metric, text string) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		if found == "${{" {
			return `${{ "${{" }}` // no expression in Kayenta, and so none here
		}
		name := variable.FindStringSubmatch(found)[1]
		if value, given := t.options.Variables[name]; given {
			return value
		}
		switch name {
		case "scope":
			return t.options.Scope
		case "step":
			return stepSeconds
		case "resourceType":
			if m.resourceType != "" {
				return m.resourceType
			}
		}
		m.unfilled = append(m.unfilled, name)
		return found
	})
}

// stepSeconds is the step that Kayenta takes where Spinnaker's stage names none.
const stepSeconds = "60"
