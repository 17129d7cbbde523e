package boltstore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type sleeper struct {
	alarm alarm
	at    int64
}

func TestAlarmsRingInTheOrderOfTheirTimes(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		h := &alarms[*sleeper]{of: func(s *sleeper) *alarm { return &s.alarm }}
		all := make([]sleeper, 60)
		in := map[*sleeper]bool{}
		for range 400 {
			s := &all[r.IntN(len(all))]
			if r.IntN(3) > 0 {
				s.at = 1 + r.Int64N(1000)
				h.set(s, s.at)
				in[s] = true
			} else {
				h.remove(s)
				delete(in, s)
			}
		}
		var want, got []int64
		for s := range in {
			want = append(want, s.at)
		}
		slices.Sort(want)
		for {
			s, ok := h.first()
			if !ok {
				break
			}
			got = append(got, s.alarm.at)
			h.remove(s)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}
