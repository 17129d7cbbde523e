package cloudwatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const (
	secretKey = "wJalrXUtnFEMI/K7MDENG/secret"
	session   = "FwoGZXIvYXdzSecretSession"
	insights  = `SELECT SUM(Errors) FROM "Shop"`
	list      = `[{"Id": "e", "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "Errors"}, "Period": $step, "Stat": "Sum"}, "ReturnData": true}]`
)

// verify signs the request again and compares: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
func verify(r *http.Request, body []byte) error {
	got := r.Header.Get("Authorization")
	_, names, _ := strings.Cut(got, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range r.Header {
		if slices.Contains(strings.Split(names, ";"), strings.ToLower(name)) {
			again.Header[name] = values
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secretKey, SessionToken: session},
		again, hex.EncodeToString(sum[:]), "monitoring", "eu-central-1", at)
	if err != nil {
		return err
	}
	if want := again.Header.Get("Authorization"); got != want || r.Header.Get("X-Amz-Security-Token") != session {
		return fmt.Errorf("the signature is %q, and %q is right", got, want)
	}
	return nil
}

func refused(code, words string) metricstest.Reply {
	return metricstest.Reply{Status: 400, Type: "application/x-amz-json-1.0", Body: `{"__type":"com.amazonaws.cloudwatch#` + code + `","message":"` + words + `"}`}
}

// getMetricData answers with the periods that begin in [StartTime, EndTime), half of them on each of two pages.
func getMetricData(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var in struct {
		MetricDataQueries []struct {
			ID         string `json:"Id"`
			Expression string
			Period     int
			MetricStat struct {
				Stat   string
				Period int
			}
		}
		StartTime, EndTime int64
		ScanBy, NextToken  string
	}
	if err := errors.Join(json.Unmarshal(body, &in), verify(r, body)); err != nil {
		return metricstest.Reply{}, err
	}
	switch {
	case r.Method != http.MethodPost || r.URL.String() != "/" || r.Header.Get("X-Amz-Target") != "GraniteServiceVersion20100801.GetMetricData" || r.Header.Get("Content-Type") != "application/x-amz-json-1.0":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case in.ScanBy != "TimestampAscending" || len(in.MetricDataQueries) != 1:
		return metricstest.Reply{}, fmt.Errorf("the request is %s", body)
	}
	q := in.MetricDataQueries[0]
	text, stat := q.Expression == insights && q.Period == 60, q.MetricStat.Stat == "Sum" && q.MetricStat.Period == 60
	if !text && !stat {
		return metricstest.Reply{}, fmt.Errorf("the query is %+v", q)
	}
	begins := metricstest.Begins(time.Unix(in.StartTime, 0), time.Unix(in.EndTime, 0), time.Minute)
	half, next := len(begins)/2, ""
	if in.NextToken == "" {
		begins, next = begins[:half], `,"NextToken":"more"`
	} else {
		begins = begins[half:]
	}
	var results []string
	for i := range w.Series {
		var times, values []string
		for _, at := range begins {
			if v := w.Value(at); !math.IsNaN(v) {
				times, values = append(times, fmt.Sprintf("%d.0", at.Unix())), append(values, fmt.Sprint(v))
			}
		}
		results = append(results, fmt.Sprintf(`{"Id":"q","Label":"host%d","StatusCode":"Complete","Timestamps":[%s],"Values":[%s]}`, i, strings.Join(times, ","), strings.Join(values, ",")))
	}
	return metricstest.Reply{Type: "application/x-amz-json-1.0", Body: `{"Messages":[],"MetricDataResults":[` + strings.Join(results, ",") + `]` + next + `}`}, nil
}

func made(t *testing.T, address string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, Region: "eu-central-1", AccessKey: "AKIDEXAMPLE", SecretKey: secretKey, SessionToken: session, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSuiteOfSources(t *testing.T) {
	for name, query := range map[string]string{"Metrics Insights": insights, "a list": list} {
		t.Run(name, func(t *testing.T) {
			metricstest.Run(t, metricstest.Vendor{
				New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
					return made(t, address, limits)
				},
				Query: query, Secrets: []string{secretKey, session}, Answer: getMetricData,
				Refusal: func(words string) metricstest.Reply { return refused("ValidationError", words) },
			})
		})
	}
}

func ask(t *testing.T, query string, r metricstest.Reply) error {
	t.Helper()
	at := time.Unix(1_800_000_000, 0)
	s := made(t, metricstest.Serve(t, r), wire.Limits{Tries: 2, Pause: time.Millisecond, Now: func() time.Time { return at.Add(time.Hour) }})
	_, err := s.Samples(t.Context(), metrics.Range{Query: query, Start: at, End: at.Add(time.Minute), Step: time.Minute})
	return err
}

func TestWhatCloudWatchSaysIsTold(t *testing.T) {
	result := func(status string) metricstest.Reply {
		return metricstest.Reply{Body: `{"MetricDataResults":[{"Id":"q","StatusCode":"` + status + `","Timestamps":[],"Values":[],"Messages":[{"Code":"Why","Value":"because"}]}]}`}
	}
	for name, tt := range map[string]struct {
		query     string
		reply     metricstest.Reply
		permanent bool
		want      string
	}{
		"too many questions":           {insights, refused("ThrottlingException", "Rate exceeded"), false, "is asked too much (400): ThrottlingException Rate exceeded"},
		"credentials that have ended":  {insights, refused("ExpiredTokenException", "The security token is expired"), false, "security token is expired: check the credentials"},
		"a right that is missing":      {insights, refused("AccessDeniedException", "not authorized"), false, "not authorized: check the credentials"},
		"data of an account not open":  {insights, result("Forbidden"), false, "refuses to answer (403)"},
		"data that is not complete":    {insights, result("PartialData"), false, "not complete Why because"},
		"an error inside":              {insights, result("InternalError"), false, "not complete"},
		"a query that is wrong":        {insights, refused("ValidationError", "bad"), true, "does not take the query (400): ValidationError bad"},
		"JSON that is no list of them": {`[1`, metricstest.Reply{}, true, "list of MetricDataQueries"},
	} {
		err := ask(t, tt.query, tt.reply)
		var f *metrics.Failure
		if !errors.As(err, &f) || f.Permanent != tt.permanent || !strings.Contains(f.Words, tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"not a region":          {Region: "evil.example.com/", AccessKey: "a", SecretKey: secretKey},
		"are required":          {Region: "eu-central-1", AccessKey: "a"},
		"must begin with https": {Region: "eu-central-1", AccessKey: "a", SecretKey: secretKey, URL: "http://a"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secretKey) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
