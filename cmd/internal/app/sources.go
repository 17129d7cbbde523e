package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/cloudwatch"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/datadog"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/dynatrace"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/elasticsearch"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/googlecloud"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/graphite"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/influxdb"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/newrelic"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/prometheus"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/web"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// sampler is one of the operator's systems that keep measurements.
type sampler struct {
	measured.Sampler
	probe string // a query that it answers to whoever may ask anything; "" if there is none
}

// metricsSources are the operator's systems that keep measurements, by name.
func metricsSources(cfg *config.Config) (map[string]sampler, error) {
	all := map[string]sampler{}
	for _, s := range cfg.Sources {
		source, err := metricsSource(s)
		if err != nil {
			return nil, fmt.Errorf("metrics source %s: %w", s.Name, err)
		}
		all[s.Name] = source
	}
	return all, nil
}

// metricsSource makes the one kind of source that is set.
func metricsSource(s config.Source) (sampler, error) {
	limits := wire.Limits{PerSecond: s.PerSecond}
	var made measured.Sampler
	var err error
	var probe string
	switch {
	case s.Prometheus != nil:
		p := s.Prometheus
		probe = "vector(1)"
		made, err = prometheus.New(prometheus.Options{
			URL: p.URL, Page: p.Page, Token: p.Token.Reveal(), Username: p.Username, Password: p.Password.Reveal(), Headers: revealed(p.Headers), Limits: limits,
		})
	case s.Datadog != nil:
		d := s.Datadog
		probe = "avg:datadog.agent.running{*}.rollup(avg, $step)"
		made, err = datadog.New(datadog.Options{URL: d.Address(), API: d.API, APIKey: d.APIKey.Reveal(), AppKey: d.AppKey.Reveal(), Limits: limits})
	case s.NewRelic != nil:
		n := s.NewRelic
		probe = "SELECT count(*) FROM Transaction"
		made, err = newrelic.New(newrelic.Options{URL: n.Address(), Account: n.Account, Key: n.Key.Reveal(), Limits: limits})
	case s.CloudWatch != nil:
		c := s.CloudWatch
		probe = `[{"Id": "q", "MetricStat": {"Metric": {"Namespace": "AWS/Usage", "MetricName": "CallCount"}, "Period": $step, "Stat": "Sum"}}]`
		made, err = cloudwatch.New(cloudwatch.Options{
			URL: c.URL, Region: c.Region, AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(), SessionToken: c.SessionToken.Reveal(), Limits: limits,
		})
	case s.GoogleCloud != nil:
		g := s.GoogleCloud
		probe = "vector(1)"
		made, err = googlecloud.New(googlecloud.Options{URL: g.URL, Project: g.Project, Credentials: g.Credentials.Reveal(), Limits: limits})
	default:
		return hostedSource(s, limits)
	}
	return sampler{made, probe}, err
}

// hostedSource makes one that companies run themselves.
func hostedSource(s config.Source, limits wire.Limits) (sampler, error) {
	var made measured.Sampler
	var err error
	var probe string
	switch {
	case s.InfluxDB != nil:
		i := s.InfluxDB
		probe = "import \"array\"\narray.from(rows: [{_time: v.timeRangeStop, _value: 1.0}])"
		made, err = influxdb.New(influxdb.Options{URL: i.URL, Org: i.Org, Token: i.Token.Reveal(), Limits: limits})
	case s.Graphite != nil:
		g := s.Graphite
		probe = "constantLine(1)"
		made, err = graphite.New(graphite.Options{
			URL: g.URL, Token: g.Token.Reveal(), Username: g.Username, Password: g.Password.Reveal(), Headers: revealed(g.Headers), Limits: limits,
		})
	case s.Elasticsearch != nil:
		e := s.Elasticsearch
		probe = "ROW t = TO_DATETIME(?_tstart), n = 1"
		made, err = elasticsearch.New(elasticsearch.Options{
			URL: e.URL, APIKey: e.APIKey.Reveal(), Username: e.Username, Password: e.Password.Reveal(), Headers: revealed(e.Headers), Limits: limits,
		})
	case s.Dynatrace != nil:
		d := s.Dynatrace
		probe = "builtin:host.cpu.usage:splitBy():avg"
		made, err = dynatrace.New(dynatrace.Options{URL: d.URL, Token: d.Token.Reveal(), Limits: limits})
	case s.Web != nil:
		w := s.Web
		probe = w.Probe
		made, err = web.New(web.Options{
			URL: w.URL, Method: w.Method, Body: w.Body, Values: w.Values, Times: w.Times, Stamps: web.Stamps(w.Stamps),
			Token: w.Token.Reveal(), Username: w.Username, Password: w.Password.Reveal(), Headers: revealed(w.Headers), Limits: limits,
		})
	default:
		return sampler{}, errors.New("its kind is not known")
	}
	return sampler{made, probe}, err
}

func revealed(headers map[string]config.Secret) map[string]string {
	all := map[string]string{}
	for name, value := range headers {
		all[name] = value.Reveal()
	}
	return all
}

// measure asks a source its probe, as a whole range, which is what the analysis of canaries asks.
func measure(ctx context.Context, s sampler, now time.Time) error {
	end := now.UTC().Truncate(time.Minute)
	_, err := s.Samples(ctx, measured.Range{Query: s.probe, Start: end.Add(-5 * time.Minute), End: end, Step: time.Minute})
	return err
}
