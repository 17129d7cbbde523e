package boltstore

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gitlab.com/slipway-cd/slipway/store"
)

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return rapid.OneOf(
			rapid.Just(time.Time{}),
			rapid.Map(rapid.Int64Range(-1e10, 1e12), func(s int64) time.Time { return time.Unix(s, s&0xffff).UTC() }),
		).Draw(t, "time")
	})
}

func anyData() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.IntRange(0, 5000), func(n int) []byte { return bytes.Repeat([]byte("ab"), n) }),
	)
}

func TestRowsComeBackAsTheyWere(t *testing.T) {
	p := &packer{}
	equal := cmp.Options{cmp.Comparer(bytes.Equal), cmp.AllowUnexported(document{}, attempt{})}
	rapid.Check(t, func(t *rapid.T) {
		s, n := rapid.String(), rapid.Int64()
		d := document{Document: store.Document{
			ID: "delivery/1", Version: rapid.Uint64().Draw(t, "version"), Data: anyData().Draw(t, "data"),
			Finished: rapid.Bool().Draw(t, "finished"), Due: anyTime().Draw(t, "due"), Updated: anyTime().Draw(t, "updated"),
			Index: store.Index{
				Project: n.Draw(t, "project"), MergeRequest: n.Draw(t, "mr"), SHA: s.Draw(t, "sha"), Status: s.Draw(t, "status"),
				Title: s.Draw(t, "title"), Started: anyTime().Draw(t, "started"), Hidden: rapid.Bool().Draw(t, "hidden"),
			},
		}, blobs: rapid.SliceOfN(s, 1, 4).Draw(t, "blobs")}
		gotD, err := decodeDocument(d.ID, p.encodeDocument(d))
		if diff := cmp.Diff(d, gotD, equal); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		e := store.Event{To: store.ID(s.Draw(t, "to")), Kind: s.Draw(t, "kind"), Key: s.Draw(t, "key"), At: d.Due, Data: d.Data}
		gotE, err := decodeEvent(p.encodeEvent(e))
		if diff := cmp.Diff(e, gotE, equal); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		h := store.Entry{At: d.Updated, Kind: e.Kind, Data: d.Data}
		gotH, err := decodeEntry(p.encodeEntry(h))
		if diff := cmp.Diff(h, gotH, equal); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		a := attempt{
			number: rapid.IntRange(0, 1e6).Draw(t, "attempt"), started: d.Finished, unknown: d.Index.Hidden,
			notBefore: d.Due, since: d.Updated, reason: d.Index.Title,
		}
		x := store.Effect{Key: e.Key, Of: e.To, Kind: e.Kind, Slot: d.Index.SHA, Latest: d.Finished, Data: d.Data}
		row, err := decodeEffect(encodeEffect(a, p.encodeEffectBody(x)))
		if err != nil {
			t.Fatal(err)
		}
		data, err := unpack(row.data)
		row.Data, x.NotBefore = data, a.notBefore
		if diff := cmp.Diff(x, row.Effect, equal) + cmp.Diff(a, row.attempt, equal); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	})
}

func TestLargeDataIsStoredSmallAndRandomDataAsItIs(t *testing.T) {
	p := &packer{}
	if got := p.pack(bytes.Repeat([]byte(`{"object_kind":"note"}`), 200)); len(got) > 200 {
		t.Errorf("4,400 bytes of JSON take %d", len(got))
	}
	if got := p.pack(make([]byte, compressFrom-1)); len(got) != compressFrom {
		t.Errorf("small data takes %d", len(got))
	}
}

// FuzzRows reads what a damaged file could hold: an error, never a panic.
func FuzzRows(f *testing.F) {
	p := &packer{}
	f.Add(p.encodeDocument(document{Document: store.Document{Version: 1, Data: []byte("x")}, blobs: []string{"a"}}))
	f.Add(p.encodeEvent(store.Event{To: "delivery/1", Kind: "k", Data: bytes.Repeat([]byte("ab"), 500)}))
	f.Add(encodeEffect(attempt{number: 1, reason: "r"}, p.encodeEffectBody(store.Effect{Key: "a", Kind: "k"})))
	f.Add(p.encodeEntry(store.Entry{Kind: "k"}))
	f.Add([]byte{rowVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, row []byte) {
		kept := bytes.Clone(row)
		_, err1 := decodeDocument("delivery/1", row)
		_, err2 := decodeEvent(row)
		_, err3 := decodeEntry(row)
		_, err4 := decodeEffect(row)
		if len(row) < 4 && (err1 == nil || err2 == nil || err3 == nil || err4 == nil) {
			t.Errorf("%x is no row", row)
		}
		if !bytes.Equal(kept, row) {
			t.Error("the row was changed, which would fault on the file's map")
		}
	})
}

func TestNumbersOfTimesAreInTheOrderOfTheTimes(t *testing.T) {
	times := []time.Time{
		{}, time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1, 0), time.Unix(1e9, 1), time.Unix(1e9, 2),
		time.Date(2261, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	var got []int64
	for _, at := range times {
		got = append(got, nanos(at))
	}
	if !slices.IsSorted(got) || got[0] != 0 || got[6] != math.MaxInt64 || got[1] == 0 {
		t.Errorf("%v", got)
	}
}
