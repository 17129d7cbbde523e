package app

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
)

// accountKey is the file of a service account's key whose tokens come from the address.
func accountKey(t *testing.T, address string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b", "token_uri": address + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEveryKindOfSourceIsAskedWithItsCredentials(t *testing.T) {
	// The server answers as no system does; what counts is that each source asks it its probe, signed in.
	seen := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"access_token":"secret-1","token_type":"Bearer","expires_in":3599}`)
			return
		}
		var all strings.Builder
		if err := r.Header.Write(&all); err != nil {
			t.Error(err)
		}
		seen <- r.URL.String() + "\n" + all.String() + string(body)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	for kind, tt := range map[string]struct{ keys, signed, asked string }{
		"prometheus":    {`token: secret-1`, "Authorization: Bearer secret-1", "vector%281%29"},
		"datadog":       {`api_key: secret-1, app_key: secret-2`, "Dd-Application-Key: secret-2", "avg:datadog.agent.running{*}.rollup(avg, 60)"},
		"newrelic":      {`account: 42, key: secret-1`, "Api-Key: secret-1", "SELECT count(*) FROM Transaction\\nSINCE"},
		"cloudwatch":    {`region: eu-central-1, access_key: AKIA, secret_key: secret-1`, "/eu-central-1/monitoring/aws4_request", "AWS/Usage"},
		"google_cloud":  {`project: shop-1, credentials_file: "` + accountKey(t, server.URL) + `"`, "Authorization: Bearer secret-1", "/v1/projects/shop-1/location/global/prometheus/api/v1/query_range"},
		"influxdb":      {`org: shop, token: secret-1`, "Authorization: Token secret-1", "array.from"},
		"graphite":      {`headers: {X-Scope: secret-1}`, "X-Scope: secret-1", "constantLine%281%29"},
		"elasticsearch": {`api_key: secret-1`, "Authorization: ApiKey secret-1", "ROW t"},
		"dynatrace":     {`token: secret-1`, "Authorization: Api-Token secret-1", "builtin%3Ahost.cpu.usage"},
		"web":           {`values: /v, probe: up, token: secret-1`, "Authorization: Bearer secret-1", "?q=up"},
	} {
		t.Run(kind, func(t *testing.T) {
			address := server.URL
			if kind == "web" {
				address += "?q=$query"
			}
			cfg := parsed(t, `metrics_sources: [{name: main, per_second: 100, `+kind+`: {url: "`+address+`", `+tt.keys+"}}]\n")
			all, err := metricsSources(cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = measure(t.Context(), all["main"], time.Now())
			var f *measured.Failure
			if !errors.As(err, &f) || !strings.Contains(f.Words, "404") || strings.Contains(fmt.Sprint(err), "secret-") {
				t.Errorf("got %v", err)
			}
			if got := <-seen; !strings.Contains(got, tt.signed) || !strings.Contains(got, tt.asked) {
				t.Errorf("it was asked\n%s", got)
			}
		})
	}
}

func TestASourceThatCannotBeMadeIsNamed(t *testing.T) {
	cfg := parsed(t, `metrics_sources: [{name: main, google_cloud: {project: a, credentials: "{}"}}]`+"\n")
	if _, err := metricsSources(cfg); err == nil || !strings.Contains(err.Error(), "metrics source main: googlecloud: the credentials are not the JSON key") {
		t.Errorf("got %v", err)
	}
}

func TestTheDoctorAsksSourcesThatHaveSomethingToBeAsked(t *testing.T) {
	s, err := Checkup(parsed(t, `metrics_sources: [{name: a, graphite: {url: "http://127.0.0.1:1"}}, {name: b, web: {url: "http://a", values: /v}}]`+"\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Measure["a"] == nil || s.Measure["b"] != nil {
		t.Errorf("got %v", s.Measure)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Measure["a"](ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
