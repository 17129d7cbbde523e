package googlecloud

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const token = "ya29.secret-token-for-an-hour"

// key is a service account's key whose tokens come from the address.
func key(t *testing.T, address string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "shop-1", "private_key_id": "1", "client_email": "slipway@shop-1.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": address + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// grant answers like Google's token endpoint: https://developers.google.com/identity/protocols/oauth2/service-account
func grant(body []byte) (metricstest.Reply, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return metricstest.Reply{}, fmt.Errorf("%s: %w", body, err)
	}
	parts := strings.Split(form.Get("assertion"), ".")
	if len(parts) != 3 {
		return metricstest.Reply{}, errors.New("the assertion is no JWT")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !strings.Contains(string(claims), `"scope":"`+scope+`"`) {
		return metricstest.Reply{}, fmt.Errorf("the claims are %s: %w", claims, err)
	}
	return metricstest.Reply{Body: `{"access_token":"` + token + `","expires_in":3599,"token_type":"Bearer"}`}, nil
}

func answer(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	if r.URL.Path == "/token" {
		return grant(body)
	}
	q, path := r.URL.Query(), strings.TrimPrefix(r.URL.Path, "/v1/projects/shop-1/location/global/prometheus/api/v1/")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		return metricstest.Reply{}, errors.New("not signed in")
	case r.Method != http.MethodGet || len(body) > 0 || path != "query" && path != "query_range":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case q.Get("query") != `sum(rate(errors[60s]))`:
		return metricstest.Reply{}, errors.New("the query is " + q.Get("query"))
	}
	var series []string
	for i := range w.Series {
		labels := fmt.Sprintf(`{"metric":{"pod":"%d"},`, i)
		if path == "query" {
			if v := w.Value(w.Now.Truncate(time.Minute).Add(-time.Minute)); !math.IsNaN(v) {
				series = append(series, labels+fmt.Sprintf(`"value":[%d,"%v"]}`, w.Now.Unix(), v))
			}
			continue
		}
		start, _ := strconv.ParseFloat(q.Get("start"), 64)
		end, _ := strconv.ParseFloat(q.Get("end"), 64)
		var points []string
		for at := int64(start); at <= int64(end); at += 60 {
			if v := w.Value(time.Unix(at-60, 0)); !math.IsNaN(v) {
				points = append(points, fmt.Sprintf(`[%d,"%v"]`, at, v))
			}
		}
		if len(points) > 0 {
			series = append(series, labels+`"values":[`+strings.Join(points, ",")+`]}`)
		}
	}
	kind := map[string]string{"query": "vector", "query_range": "matrix"}[path]
	return metricstest.Reply{Body: `{"status":"success","data":{"resultType":"` + kind + `","result":[` + strings.Join(series, ",") + `]}}`}, nil
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			s, err := New(Options{URL: address, Project: "shop-1", Credentials: key(t, address), Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Query: "sum(rate(errors[$step]))", Secrets: []string{token}, Answer: answer,
		Aside: func(r *http.Request) bool { return r.URL.Path == "/token" },
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Body: `{"status":"error","errorType":"bad_data","error":"` + words + `"}`}
		},
	})
}

func TestATokenThatIsNotGivenIsToldWithoutTheKey(t *testing.T) {
	address := metricstest.Serve(t, metricstest.Reply{Status: 400, Body: `{"error":"invalid_grant"}`})
	s, err := New(Options{URL: address, Project: "shop-1", Credentials: key(t, address)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Number(t.Context(), "up")
	var f *metrics.Failure
	if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "cannot sign in") || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	const bad = `{"type":"authorized_user","refresh_token":"shh"}`
	good := key(t, "https://oauth2.googleapis.com")
	for want, o := range map[string]Options{
		"not the id of a project":    {Project: "a/b", Credentials: good},
		"key of a service account":   {Project: "a", Credentials: bad},
		"must begin with https":      {Project: "a", Credentials: good, URL: "http://a"},
		"Google: \"http://a/token\"": {Project: "a", Credentials: key(t, "http://a")},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "shh") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
