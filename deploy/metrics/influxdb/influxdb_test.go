package influxdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const (
	token = "secret-token-of-influxdb=="
	query = `from(bucket: "shop") |> range(start: v.timeRangeStart, stop: v.timeRangeStop) |> aggregateWindow(every: v.windowPeriod, fn: sum)`
	head  = "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string\r\n#group,false,false,true,true,false,false,true\r\n" +
		"#default,_result,,,,,,\r\n,result,table,_start,_stop,_time,_value,host\r\n"
)

// flux answers with the windows in [start, stop), each called by its end.
func flux(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var q struct {
		Query, Type string
		Dialect     struct{ Annotations []string }
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return metricstest.Reply{}, err
	}
	before, after, _ := strings.Cut(q.Query, ", stop: ")
	from, err1 := time.Parse(time.RFC3339, before[strings.LastIndex(before, " ")+1:])
	to, err2 := time.Parse(time.RFC3339, strings.SplitN(after, ")", 2)[0])
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return metricstest.Reply{}, fmt.Errorf("the query is %s: %w", q.Query, err)
	case r.Header.Get("Authorization") != "Token "+token:
		return metricstest.Reply{}, errors.New("not signed in")
	case r.Method != http.MethodPost || r.URL.String() != "/api/v2/query?org=my+shop" || r.Header.Get("Accept") != "application/csv" || r.Header.Get("Content-Type") != "application/json":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case q.Type != "flux" || len(q.Dialect.Annotations) != 3 || !strings.HasSuffix(q.Query, "aggregateWindow(every: 60s, fn: sum)"):
		return metricstest.Reply{}, fmt.Errorf("the request is %s", body)
	}
	var out strings.Builder
	for i := range w.Series {
		if i == 0 {
			out.WriteString(head)
		}
		for _, at := range metricstest.Begins(from, to, time.Minute) {
			value := strings.TrimPrefix(metricstest.JSON(w.Value(at)), "null")
			fmt.Fprintf(&out, ",,%d,%s,%s,%s,%s,h%d\r\n", i, from.Format(time.RFC3339), to.Format(time.RFC3339), at.Add(time.Minute).UTC().Format(time.RFC3339), value, i)
		}
	}
	return metricstest.Reply{Type: "text/csv; charset=utf-8", Body: out.String() + "\r\n"}, nil
}

func made(t *testing.T, address string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, Org: "my shop", Token: token, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			return made(t, address, limits)
		},
		Query: query, Secrets: []string{token}, Answer: flux, Uncut: true,
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Body: `{"code":"invalid","message":"compilation failed: ` + words + `"}`}
		},
	})
}

func TestAnnotatedCSVIsRead(t *testing.T) {
	at := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	line := func(table int, minute int, value string) string {
		return fmt.Sprintf(",,%d,,,%s,%s,h\r\n", table, at.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339Nano), value)
	}
	for name, tt := range map[string]struct{ body, fails string }{
		"one table in two parts":       {head + line(0, 1, "1") + "\r\n" + head + line(0, 2, "2"), ""},
		"an order of its own":          {"#default,_result,,,\r\n,result,table,_value,_time\r\n,,0,1,2027-01-15T08:01:00Z\r\n,,0,2,2027-01-15T08:02:00.000Z\r\n", ""},
		"two tables":                   {head + line(0, 1, "1") + line(1, 1, "2"), "2 numbers"},
		"two results":                  {head + line(0, 1, "1") + "\r\n" + strings.Replace(head, "_result", "other", 1) + line(0, 1, "2"), "2 numbers"},
		"windows that are too short":   {head + line(0, 1, "1") + line(0, 1, "2"), "aggregateWindow(every: v.windowPeriod"},
		"an error in the middle":       {head + line(0, 1, "1") + "\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,out of memory,897\r\n", "does not take the query: out of memory"},
		"a value that is a text":       {head + line(0, 1, "red"), `the value "red" is no number`},
		"rows without times":           {"#default,_result,,\r\n,result,table,_value\r\n,,0,1\r\n", "no _time and _value"},
		"a time that is none":          {"#default,_result,,,\r\n,result,table,_value,_time\r\n,,0,1,noon\r\n", "a _time is none"},
		"quotes that are never closed": {head + `,,0,"`, "it is no CSV"},
	} {
		t.Run(name, func(t *testing.T) {
			s := made(t, metricstest.Serve(t, metricstest.Reply{Type: "text/csv", Body: tt.body}), wire.Limits{Now: func() time.Time { return at.Add(time.Hour) }})
			got, err := s.Samples(t.Context(), metrics.Range{Query: query, Start: at, End: at.Add(2 * time.Minute), Step: time.Minute})
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, want %q", err, tt.fails)
				}
			case err != nil || got.Values[0] != 1 || got.Values[1] != 2:
				t.Errorf("got %v and %v", got.Values, err)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"are required": {URL: "http://a", Org: "o"}, "an organisation and": {URL: "http://a", Token: token}, "not an http or https": {Org: "o", Token: token, URL: "a:8086"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
