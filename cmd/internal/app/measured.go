package app

import (
	"slices"
	"sync"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// maxMeasured is how many bytes of measurements are kept, counted as they are stored: without their compression, as JSON.
const maxMeasured = 16 << 20

// measurements are those that pages showed last, since a page asks for each of its pictures by itself. Blobs never
// change, so their references name them for good.
type measurements struct {
	mu   sync.Mutex
	kept []measurement // the one that was asked for last at the end
}

type measurement struct {
	ref  string
	size int
	m    *pipeline.Measurement // never changed
}

// get is nil for one that is not kept.
func (c *measurements) get(ref string) *pipeline.Measurement {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(k measurement) bool { return k.ref == ref })
	if i < 0 {
		return nil
	}
	found := c.kept[i]
	c.kept = append(slices.Delete(c.kept, i, i+1), found)
	return found.m
}

// put keeps one, and forgets those that nobody asked for longest where there is no room for all.
func (c *measurements) put(ref string, size int, m *pipeline.Measurement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(slices.DeleteFunc(c.kept, func(k measurement) bool { return k.ref == ref }), measurement{ref, size, m})
	sum := 0
	for _, k := range c.kept {
		sum += k.size
	}
	for sum > maxMeasured {
		sum -= c.kept[0].size
		c.kept = slices.Delete(c.kept, 0, 1)
	}
}
