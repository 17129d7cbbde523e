package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/api"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// missing says what an answer lacks, "" if it is whole. VictoriaMetrics says that an answer is partial; of Prometheus' and
// Thanos' warnings those mean it that are not about the query: errors of storages or stores that were left out.
//
// Sources: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview,
// https://thanos.io/tip/components/query.md/#partial-response and
// https://docs.victoriametrics.com/victoriametrics/cluster-victoriametrics/#cluster-availability
func missing(status int, body []byte) string {
	if status != http.StatusOK || !bytes.Contains(body, []byte(`"warnings"`)) && !bytes.Contains(body, []byte(`"isPartial"`)) {
		return "" // and most answers need not be read twice
	}
	var said struct {
		Warnings []string `json:"warnings"`
		Partial  bool     `json:"isPartial"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	for _, w := range said.Warnings {
		if !aboutTheQuery(w) {
			return w
		}
	}
	if said.Partial {
		return "not all of its storage nodes answered"
	}
	return ""
}

// aboutTheQuery tells a remark on how a query is written, or on what it asks for, from an error of a storage.
func aboutTheQuery(warning string) bool {
	return slices.ContainsFunc([]string{
		"PromQL warning", "PromQL info", // Prometheus' annotations
		"more warning annotations omitted", // it gives ten
		"No StoreAPIs matched",             // Thanos knows of no store with such labels at such times
	}, func(words string) bool { return strings.Contains(warning, words) })
}

// whole refuses answers that lack something.
type whole struct {
	api.Client
	wire   *wire.Client
	system string
}

func (w whole) Do(ctx context.Context, req *http.Request) (*http.Response, []byte, error) {
	resp, body, err := w.Client.Do(ctx, req)
	if err != nil {
		return resp, body, err
	}
	if lacks := missing(resp.StatusCode, body); lacks != "" {
		return nil, nil, &metrics.Failure{Words: w.system + " gives only a part of what was measured: " + w.wire.Clean(lacks)}
	}
	return resp, body, nil
}
