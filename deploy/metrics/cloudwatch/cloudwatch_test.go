package cloudwatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/aws/smithy-go/encoding/cbor"

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

func seconds(v cbor.Value) (time.Time, bool) {
	tag, ok := v.(*cbor.Tag)
	if !ok {
		return time.Time{}, false
	}
	switch at := tag.Value.(type) {
	case cbor.Uint:
		return time.Unix(int64(at), 0), true
	case cbor.Float64:
		return time.UnixMilli(int64(at * 1000)), true
	}
	return time.Time{}, false
}

func stamp(at time.Time) cbor.Value {
	return &cbor.Tag{ID: 1, Value: cbor.Float64(float64(at.Unix()))}
}

func reply(status int, m cbor.Map) metricstest.Reply {
	return metricstest.Reply{Status: status, Type: "application/cbor", Body: string(cbor.Encode(m)), Header: map[string]string{"smithy-protocol": "rpc-v2-cbor"}}
}

func refusal(code, words string) metricstest.Reply {
	return reply(400, cbor.Map{"__type": cbor.String("com.amazonaws.cloudwatch#" + code), "message": cbor.String(words), "Message": cbor.String(words)})
}

// getMetricData answers with the periods that begin in [StartTime, EndTime), half of them on each of two pages. Its
// protocol is https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html.
func getMetricData(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	decoded, err := cbor.Decode(body)
	in, ok := decoded.(cbor.Map)
	switch {
	case err != nil || !ok:
		return metricstest.Reply{}, fmt.Errorf("the body is no map: %w", err)
	case r.Method != http.MethodPost || r.URL.String() != "/service/GraniteServiceVersion20100801/operation/GetMetricData" || r.Header.Get("Smithy-Protocol") != "rpc-v2-cbor":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case r.Header.Get("Content-Type") != "application/cbor":
		return metricstest.Reply{}, errors.New("the body is not CBOR")
	}
	if err := verify(r, body); err != nil {
		return metricstest.Reply{}, err
	}
	if err := known(in); err != nil {
		return metricstest.Reply{}, err
	}
	from, ok1 := seconds(in["StartTime"])
	to, ok2 := seconds(in["EndTime"])
	if !ok1 || !ok2 || in["ScanBy"] != cbor.String("TimestampAscending") {
		return metricstest.Reply{}, fmt.Errorf("the request is %v", in)
	}
	begins := metricstest.Begins(from, to, time.Minute)
	out := cbor.Map{}
	if half := len(begins) / 2; in["NextToken"] == nil {
		out["NextToken"], begins = cbor.String("more"), begins[:half]
	} else {
		begins = begins[half:]
	}
	var results cbor.List
	for i := range w.Series {
		var times, values cbor.List
		for _, at := range begins {
			if v := w.Value(at); !math.IsNaN(v) {
				times, values = append(times, stamp(at)), append(values, cbor.Float64(v))
			}
		}
		results = append(results, cbor.Map{"Id": cbor.String("q"), "Label": cbor.String(fmt.Sprint("host", i)), "StatusCode": cbor.String("Complete"), "Timestamps": times, "Values": values})
	}
	out["MetricDataResults"] = results
	return reply(200, out), nil
}

// known takes the two queries of the tests.
func known(in cbor.Map) error {
	all, ok := in["MetricDataQueries"].(cbor.List)
	if !ok || len(all) != 1 {
		return fmt.Errorf("the queries are %v", in["MetricDataQueries"])
	}
	q, _ := all[0].(cbor.Map)
	stat, _ := q["MetricStat"].(cbor.Map)
	if q["Expression"] == cbor.String(insights) && q["Period"] == cbor.Uint(60) || stat["Stat"] == cbor.String("Sum") && stat["Period"] == cbor.Uint(60) {
		return nil
	}
	return fmt.Errorf("the query is %v", q)
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
				Refusal: func(words string) metricstest.Reply {
					return refusal("ValidationError", strings.ReplaceAll(words, `\u0007`, "\a"))
				},
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
		return reply(200, cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("q"), "StatusCode": cbor.String(status), "Timestamps": cbor.List{}, "Values": cbor.List{},
			"Messages": cbor.List{cbor.Map{"Code": cbor.String("Why"), "Value": cbor.String("because")}}}}})
	}
	for name, tt := range map[string]struct {
		query     string
		reply     metricstest.Reply
		permanent bool
		want      string
	}{
		"too many questions":           {insights, refusal("ThrottlingException", "Rate exceeded"), false, "is asked too much (400): ThrottlingException Rate exceeded"},
		"credentials that have ended":  {insights, refusal("ExpiredToken", "The security token is expired"), false, "refuses to answer (403)"},
		"a right that is missing":      {insights, refusal("AccessDeniedException", "not authorized"), false, "refuses to answer (403)"},
		"data of an account not open":  {insights, result("Forbidden"), false, "refuses to answer (403)"},
		"data that is not complete":    {insights, result("PartialData"), false, "not complete Why because"},
		"an error inside":              {insights, result("InternalError"), false, "not complete"},
		"a query that is wrong":        {insights, refusal("ValidationError", "bad"), true, "does not take the query (400): ValidationError bad"},
		"JSON that is no list of them": {`[{"Name": "a"}]`, metricstest.Reply{}, true, "list of MetricDataQueries"},
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
