package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

// countedBlobs counts how often each blob is read.
type countedBlobs struct {
	store.Store
	read map[string]int
}

func (c *countedBlobs) GetBlob(ctx context.Context, ref string) ([]byte, error) {
	c.read[ref]++
	return c.Store.GetBlob(ctx, ref)
}

func TestTheSamplesOfACanaryAreReadOnceForAllItsPictures(t *testing.T) {
	pages, from, at := canaryIn(t, measuredOf(2))
	counted := &countedBlobs{Store: from.store, read: map[string]int{}}
	from.store = counted
	for _, part := range []string{"", "/lines-0.svg", "/spread-0.svg", "/lines-1.svg", "/samples.csv", "/samples.json"} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, at+part, nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: got %d: %s", part, w.Code, w.Body)
		}
	}
	d, err := from.Delivery(t.Context(), "7-12-3f2a91c0")
	if err != nil {
		t.Fatal(err)
	}
	if n := counted.read[d.Stages[0].Analysis.Samples]; n != 1 {
		t.Errorf("the samples were read %d times", n)
	}
	if _, err := from.Samples(t.Context(), "7-99-3f2a91c0", "canary"); !errors.Is(err, web.ErrNotFound) {
		t.Errorf("another delivery's: got %v", err)
	}
}

func TestMeasurementsThatWereNotAskedForAreForgottenFirst(t *testing.T) {
	var c measurements
	of := map[string]*pipeline.Measurement{"a": {}, "b": {}, "c": {}, "more": {}, "large": {}}
	has := func(want ...string) {
		t.Helper()
		wanted := map[string]bool{}
		for _, ref := range want {
			wanted[ref] = true
		}
		sum := 0
		for _, k := range c.kept {
			sum += k.size
			if !wanted[k.ref] || k.m != of[k.ref] {
				t.Errorf("%s is kept", k.ref)
			}
		}
		if len(c.kept) != len(want) || sum > maxMeasured {
			t.Errorf("%d are kept, with %d bytes; want %v", len(c.kept), sum, want)
		}
	}
	const third = maxMeasured / 3
	for _, ref := range []string{"a", "b", "c", "a"} { // a twice, as two requests at the same time do
		c.put(ref, third, of[ref])
	}
	has("a", "b", "c")
	if c.get("b") != of["b"] || c.get("nothing") != nil {
		t.Error("another is given than was kept")
	}
	c.put("more", 2*third, of["more"])
	has("b", "more")
	c.put("large", maxMeasured+1, of["large"])
	has()
}
