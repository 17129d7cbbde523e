package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// MetricTemplate is a metric that pipeline files use by its name. Its query has the placeholders of pipeline files, such
// as ${{ track }}.
type MetricTemplate struct {
	Source    string           `yaml:"source"` // the name of a metrics source
	Query     string           `yaml:"query"`
	Total     string           `yaml:"total"`     // of a count: the query for what it is a part of
	Kind      canary.Kind      `yaml:"kind"`      // default gauge, and count where there is a total
	Direction canary.Direction `yaml:"direction"` // which change is for the worse; default either
	Step      string           `yaml:"step"`      // between two samples; default 60s
	Groups    []string         `yaml:"groups"`

	Critical     bool `yaml:"critical"`       // a regression fails the canary at once
	Advisory     bool `yaml:"advisory"`       // a regression stops nothing by itself
	MustHaveData bool `yaml:"must_have_data"` // no data is a regression

	NaN        canary.NaN        `yaml:"nan"`      // remove or replace; default remove
	Outliers   *TemplateOutliers `yaml:"outliers"` // keep where nil
	EffectSize *TemplateEffect   `yaml:"effect"`
}

// TemplateOutliers says what is done with samples far from the others.
type TemplateOutliers struct {
	Strategy string   `yaml:"strategy"` // keep or remove
	Factor   *float64 `yaml:"factor"`   // of the interquartile range; default 3
}

// TemplateEffect says how large a change must be before it counts.
type TemplateEffect struct {
	Measure          string   `yaml:"measure"` // meanRatio or cles
	AllowedIncrease  *float64 `yaml:"allowed_increase"`
	AllowedDecrease  *float64 `yaml:"allowed_decrease"`
	CriticalIncrease *float64 `yaml:"critical_increase"`
	CriticalDecrease *float64 `yaml:"critical_decrease"`
}

const (
	maxTemplates = 1000
	maxQuery     = 4000 // characters, as in pipeline files
)

var templateName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// setTemplateDefaults fills in what a template leaves out.
func (c *Config) setTemplateDefaults() {
	for name, t := range c.MetricTemplates {
		if t.Kind == "" {
			t.Kind = canary.Gauge
			if t.Total != "" {
				t.Kind = canary.Count
			}
		}
		if t.Direction == "" {
			t.Direction = canary.Either
		}
		if t.Step == "" {
			t.Step = "60s"
		}
		if t.NaN == "" {
			t.NaN = canary.RemoveNaN
		}
		c.MetricTemplates[name] = t
	}
}

func (c *Config) checkTemplates() error {
	if len(c.MetricTemplates) > maxTemplates {
		return fmt.Errorf("metric_templates: more than %d", maxTemplates)
	}
	sources := map[string]bool{}
	for _, s := range c.Sources {
		sources[s.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.MetricTemplates)) {
		t := c.MetricTemplates[name]
		if !templateName.MatchString(name) {
			return fmt.Errorf("metric_templates: %q is not a name of small letters, digits and dashes", name)
		}
		if !sources[t.Source] {
			return fmt.Errorf("metric_templates.%s.source: there is no metrics source %q", name, t.Source)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("metric_templates.%s%w", name, err)
		}
	}
	return nil
}

func (t *MetricTemplate) check() error {
	switch {
	case t.Query == "" || len(t.Query) > maxQuery:
		return fmt.Errorf(".query: give 1 to %d characters", maxQuery)
	case len(t.Total) > maxQuery:
		return fmt.Errorf(".total: give %d characters at most", maxQuery)
	case t.Kind != canary.Gauge && t.Kind != canary.Count:
		return fmt.Errorf(".kind: %q is not gauge or count", t.Kind)
	case t.Total != "" && t.Kind != canary.Count:
		return fmt.Errorf(".total: only a count has one, and this is a %s", t.Kind)
	case t.Direction != canary.Either && t.Direction != canary.Increase && t.Direction != canary.Decrease:
		return fmt.Errorf(".direction: %q is not either, increase or decrease", t.Direction)
	case t.NaN != canary.RemoveNaN && t.NaN != canary.ReplaceNaN:
		return fmt.Errorf(".nan: %q is not remove or replace", t.NaN)
	case t.Critical && t.Advisory:
		return errors.New(": critical and advisory exclude each other")
	}
	if d, err := time.ParseDuration(t.Step); err != nil || d < time.Second || d%time.Second != 0 || d > 24*time.Hour {
		return fmt.Errorf(".step: %q is not a time of whole seconds, such as 60s, up to a day", t.Step)
	}
	for i, group := range t.Groups {
		if group == "" || len(group) > 100 {
			return fmt.Errorf(".groups[%d]: give a name of 1 to 100 characters", i)
		}
	}
	if o := t.Outliers; o != nil {
		if o.Strategy != "keep" && o.Strategy != "remove" {
			return fmt.Errorf(".outliers.strategy: %q is not keep or remove", o.Strategy)
		}
		if o.Factor != nil && !(*o.Factor > 0 && *o.Factor <= 1000) {
			return fmt.Errorf(".outliers.factor: %v is not above 0", *o.Factor)
		}
	}
	return t.EffectSize.check()
}

func (e *TemplateEffect) check() error {
	if e == nil {
		return nil
	}
	if e.Measure != "" && e.Measure != "meanRatio" && e.Measure != "cles" {
		return fmt.Errorf(".effect.measure: %q is not meanRatio or cles", e.Measure)
	}
	for key, limit := range map[string]*float64{
		"allowed_increase": e.AllowedIncrease, "allowed_decrease": e.AllowedDecrease, "critical_increase": e.CriticalIncrease, "critical_decrease": e.CriticalDecrease,
	} {
		if limit != nil && (!(*limit >= 0) || math.IsInf(*limit, 0) || e.Measure == "cles" && *limit > 1) {
			return fmt.Errorf(".effect.%s: %v is no limit of this measure", key, *limit)
		}
	}
	return nil
}
