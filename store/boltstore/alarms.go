package boltstore

// alarm is a place in a heap; index is one-based, 0 says that it is in none.
type alarm struct {
	at    int64
	index int32
}

// alarms is a binary heap of T by time, with removal from the middle.
type alarms[T any] struct {
	items []T
	of    func(T) *alarm
}

func (h *alarms[T]) first() (T, bool) {
	if len(h.items) == 0 {
		var zero T
		return zero, false
	}
	return h.items[0], true
}

// set enters v, or moves it to another time.
func (h *alarms[T]) set(v T, at int64) {
	a := h.of(v)
	if a.index == 0 {
		h.items = append(h.items, v)
		a.at, a.index = at, int32(len(h.items))
		h.up(len(h.items) - 1)
		return
	}
	a.at = at
	i := int(a.index) - 1
	h.down(i)
	h.up(int(a.index) - 1)
}

func (h *alarms[T]) remove(v T) {
	a := h.of(v)
	if a.index == 0 {
		return
	}
	i, last := int(a.index)-1, len(h.items)-1
	h.swap(i, last)
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	a.index = 0
	if i < last {
		moved := h.items[i]
		h.down(i)
		h.up(int(h.of(moved).index) - 1)
	}
}

func (h *alarms[T]) at(i int) int64 { return h.of(h.items[i]).at }

func (h *alarms[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.of(h.items[i]).index = int32(i + 1)
	h.of(h.items[j]).index = int32(j + 1)
}

func (h *alarms[T]) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h.at(p) <= h.at(i) {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h *alarms[T]) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h.items) {
			return
		}
		if c+1 < len(h.items) && h.at(c+1) < h.at(c) {
			c++
		}
		if h.at(i) <= h.at(c) {
			return
		}
		h.swap(i, c)
		i = c
	}
}
