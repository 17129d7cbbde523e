package app

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// metrics are Slipway's own, for Prometheus.
type metrics struct {
	registry     *prometheus.Registry
	hooks        *prometheus.CounterVec
	interactions *prometheus.CounterVec
	steps        *prometheus.CounterVec
	lag          prometheus.Histogram
	effects      *prometheus.HistogramVec
	unknown      *prometheus.CounterVec
	ended        *prometheus.CounterVec
	duration     *prometheus.HistogramVec
}

func newMetrics(s store.Store) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_hooks_total", Help: "GitLab hooks by event and by what became of them."}, []string{"event", "result"}),
		interactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_slack_interactions_total", Help: "Slack interactions by what became of them."}, []string{"result"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_steps_total", Help: "Committed steps by kind of aggregate."}, []string{"kind"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "slipway_event_lag_seconds", Help: "From the acceptance of an event to the commit of its step.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		effects: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_effect_duration_seconds", Help: "Attempts of effects by action and result.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 9)}, []string{"action", "result"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_effects_unknown_total", Help: "Attempts that followed one whose outcome was unknown."}, []string{"action"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_deliveries_ended_total", Help: "Deliveries by how they ended."}, []string{"status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_delivery_duration_seconds", Help: "From the merge to the end.",
			Buckets: prometheus.ExponentialBuckets(10, 3, 10)}, []string{"status"}),
	}
	m.registry.MustRegister(m.hooks, m.interactions, m.steps, m.lag, m.effects, m.unknown, m.ended, m.duration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &storeCollector{store: s})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// hook counts a hook. The event's name comes from outside, so unknown ones share a label.
func (m *metrics) hook(event, result string) {
	switch event {
	case "Merge Request Hook", "Pipeline Hook", "Job Hook", "Note Hook", "Deployment Hook", "System Hook", "Push Hook":
	default:
		event = "other"
	}
	m.hooks.WithLabelValues(event, result).Inc()
}

func (m *metrics) interaction(result string) { m.interactions.WithLabelValues(result).Inc() }

func (m *metrics) effect(d engine.EffectDone) {
	result := "done"
	if d.Failed {
		result = "failed"
	}
	m.effects.WithLabelValues(d.Action, result).Observe(d.Took.Seconds())
	if d.Unknown {
		m.unknown.WithLabelValues(d.Action).Inc()
	}
}

func (m *metrics) changed(c engine.Change) {
	m.steps.WithLabelValues(c.ID.Kind()).Inc()
	if c.Lag > 0 {
		m.lag.Observe(c.Lag.Seconds())
	}
	if c.After != nil && c.After.Status.Finished() && !c.Before.Status.Finished() {
		m.ended.WithLabelValues(string(c.After.Status)).Inc()
		m.duration.WithLabelValues(string(c.After.Status)).Observe(c.After.Ended.Sub(c.After.Created).Seconds())
	}
}

// storeCollector reads the store's counts when they are asked for.
type storeCollector struct{ store store.Store }

func gauges() map[string]*prometheus.Desc {
	return map[string]*prometheus.Desc{
		"live":    prometheus.NewDesc("slipway_aggregates_live", "Deliveries that are under way, and environments that remember releases.", nil, nil),
		"inbox":   prometheus.NewDesc("slipway_inbox_events", "Events that wait for their step.", nil, nil),
		"oldest":  prometheus.NewDesc("slipway_inbox_oldest_seconds", "Age of the oldest event that waits.", nil, nil),
		"pending": prometheus.NewDesc("slipway_effects_pending", "Effects that have not started.", nil, nil),
		"running": prometheus.NewDesc("slipway_effects_running", "Effects under way.", nil, nil),
		"size":    prometheus.NewDesc("slipway_database_bytes", "Size of the database file.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (*storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range gauges() {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	// Prometheus' collectors get no context; reading the counts takes no time.
	s, err := c.store.Stats(context.Background())
	g := gauges()
	if err != nil {
		out <- prometheus.NewInvalidMetric(g["live"], err)
		return
	}
	oldest := 0.0
	if !s.OldestEvent.IsZero() {
		oldest = time.Since(s.OldestEvent).Seconds()
	}
	for name, v := range map[string]float64{
		"live": float64(s.Live), "inbox": float64(s.Inbox), "oldest": oldest,
		"pending": float64(s.EffectsPending), "running": float64(s.EffectsRunning), "size": float64(s.Size),
	} {
		out <- prometheus.MustNewConstMetric(g[name], prometheus.GaugeValue, v)
	}
}
