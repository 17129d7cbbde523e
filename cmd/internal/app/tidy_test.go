package app

import "testing"

func TestMemoryIsGivenBackOnceTheProgramIsQuiet(t *testing.T) {
	const mb = 1 << 20
	var w workload
	for i, look := range []struct {
		allocated uint64
		over      bool
	}{
		{30 * mb, false}, // the start
		{30 * mb, false}, {30*mb + 100, true},
		{31 * mb, false}, {31 * mb, false}, {31 * mb, false}, {31 * mb, false}, // too little to be worth it
		{45 * mb, false}, {45 * mb, false}, {46 * mb, false}, {46 * mb, false}, {46 * mb, true}, {46 * mb, false}, {46 * mb, false},
	} {
		if over := w.over(look.allocated); over != look.over {
			t.Errorf("look %d, at %d bytes: %v, want %v", i, look.allocated, over, look.over)
		}
	}
}
