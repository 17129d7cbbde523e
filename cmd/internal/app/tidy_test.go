package app

import "testing"

func TestMemoryIsGivenBackOnceTheProgramIsQuiet(t *testing.T) {
	const mb = 1 << 20
	var w workload
	for i, look := range []struct {
		allocated, live uint64
		over            bool
	}{
		{30 * mb, 5 * mb, false}, // the start
		{30 * mb, 5 * mb, false}, {30*mb + 100, 5 * mb, true},
		{33 * mb, 5 * mb, false}, {33 * mb, 5 * mb, false}, {33 * mb, 5 * mb, false}, {33 * mb, 5 * mb, false}, // too little to be worth it
		{45 * mb, 5 * mb, false}, {45 * mb, 5 * mb, false}, {46 * mb, 5 * mb, false}, {46 * mb, 5 * mb, false}, {46 * mb, 5 * mb, true},
		{46 * mb, 5 * mb, false}, {46 * mb, 5 * mb, false},
		{90 * mb, 400 * mb, false}, {90 * mb, 400 * mb, false}, {90 * mb, 400 * mb, false}, // too little for so much that is in use
		{146 * mb, 400 * mb, false}, {146 * mb, 400 * mb, false}, {146 * mb, 400 * mb, true},
	} {
		if over := w.over(look.allocated, look.live); over != look.over {
			t.Errorf("look %d, at %d bytes: %v, want %v", i, look.allocated, over, look.over)
		}
	}
}
