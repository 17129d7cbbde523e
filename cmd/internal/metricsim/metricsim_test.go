package metricsim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func ask(t *testing.T, s *Sim, query string, start, end time.Time) (status int, values int, says string) {
	t.Helper()
	resp, err := http.PostForm(s.URL()+"/api/v1/query_range", url.Values{
		"query": {query}, "start": {strconv.FormatInt(start.Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)}, "step": {"1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Error string
		Data  struct{ Result []struct{ Values [][2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Data.Result {
		values += len(r.Values)
	}
	return resp.StatusCode, values, got.Error
}

func TestOnlyTimesAreMeasuredInWhichATrackWasThere(t *testing.T) {
	s, err := Start(Options{
		Running: func() []Track { return nil },
		Changed: func() (<-chan struct{}, func()) { return make(chan struct{}), func() {} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	from := time.Now().Truncate(time.Second).Add(-time.Minute)
	s.mu.Lock()
	s.seen["canary/v1"] = &span{Track: Track{Name: "canary", Version: "v1", Behaviour: Behaviour{Errors: 0.1, Latency: time.Second}}, from: from, to: from.Add(10 * time.Second)}
	s.mu.Unlock()
	query := `sum(increase(http_requests_total{app="shop",track="canary",version="v1"}[1s]))`
	if code, n, says := ask(t, s, query, from.Add(-5*time.Second), time.Now()); code != http.StatusOK || n != 10 {
		t.Errorf("got %d, %d values and %q, want one for each of 10 seconds", code, n, says)
	}
	if code, n, _ := ask(t, s, strings.Replace(query, "canary", "baseline", 1), from, time.Now()); code != http.StatusOK || n != 0 {
		t.Errorf("got %d and %d values of a track that never was", code, n)
	}
	if code, _, says := ask(t, s, "up", from, time.Now()); code != http.StatusBadRequest || !strings.Contains(says, "not \"up\"") {
		t.Errorf("got %d %q for a query that it does not know", code, says)
	}
}

func TestTheSameSeedGivesTheSameNoise(t *testing.T) {
	one := &span{Track: Track{Name: "canary", Behaviour: Behaviour{Errors: 0.01, Latency: time.Second}}, from: time.Unix(1, 0)}
	two := &span{Track: one.Track, from: time.Unix(99, 0)}
	if one.at(latencyOf, 7, 3) != two.at(latencyOf, 7, 3) || one.at(latencyOf, 7, 3) == one.at(latencyOf, 7, 4) {
		t.Error("the third second differs between two runs, or is like the fourth")
	}
}

func TestQueriesWaitWhileTheyAreHeld(t *testing.T) {
	s, err := Start(Options{
		Running: func() []Track { return nil },
		Changed: func() (<-chan struct{}, func()) { return make(chan struct{}), func() {} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	asked, release := s.Hold()
	impatient := http.Client{Timeout: 100 * time.Millisecond}
	if resp, err := impatient.Get(s.URL() + "/api/v1/query?query=up"); err == nil {
		resp.Body.Close()
		t.Fatal("the query was answered while it was held")
	}
	<-asked
	release()
	if code, _, _ := ask(t, s, "up", time.Now(), time.Now()); code != http.StatusBadRequest {
		t.Errorf("got %d after the release", code)
	}
}
