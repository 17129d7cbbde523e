package app

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	tidyLook     = time.Second
	tidyQuiet    = 2       // looks in a row
	tidyRestless = 1 << 19 // bytes allocated between two looks of a program that isn't quiet
	tidyWorth    = 8 << 20 // bytes allocated since memory was given back, at least
	tidyShare    = 4       // and this part of the live heap, as giving back looks at all of that
)

// tidy gives the machine its memory back each time that the program gets quiet after some work, until ctx ends. The
// runtime collects a quiet program's garbage after minutes only, and keeps what a burst took for longer.
func tidy(ctx context.Context) {
	heap := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	var work workload
	for pause(ctx, tidyLook); ctx.Err() == nil; pause(ctx, tidyLook) {
		runtimemetrics.Read(heap)
		if work.over(heap[0].Value.Uint64(), heap[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}

// workload tells by what was allocated whether the program has worked, and has ended.
type workload struct {
	last, tidied uint64 // bytes ever allocated: at the look before, and when memory was given back
	quiet        int    // looks in a row
}

// over tells that it is time to give memory back, and counts as having done so. live are the bytes that the last collection
// found in use.
func (w *workload) over(allocated, live uint64) bool {
	w.quiet++
	if allocated-w.last >= tidyRestless {
		w.quiet = 0
	}
	w.last = allocated
	if w.quiet < tidyQuiet || allocated-w.tidied < max(tidyWorth, live/tidyShare) {
		return false
	}
	w.tidied = allocated
	return true
}
