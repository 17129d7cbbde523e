package app

import (
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often a second wishes may make Slipway ask GitLab: each caller, all whose token GitLab has not accepted yet, and all
// together.
const (
	wishesEach      = 5
	wishesAtOnce    = 20
	wishesStrangers = 20
	strangersAtOnce = 50
	wishesAll       = 50
	allAtOnce       = 100
	maxCallers      = 1000
)

// crowd bounds wishes by caller, so that one who asks too often holds up nobody else. Whoever GitLab has accepted once is
// known by the token; strangers are told apart by their addresses, and share a bound of their own, because they can make up
// tokens as they like.
type crowd struct {
	now func() time.Time

	mu             sync.Mutex
	known          map[[sha256.Size]byte]*caller
	strangers      map[string]*caller
	unknown, total *rate.Limiter
}

type caller struct {
	limit *rate.Limiter
	seen  time.Time
}

func newCrowd(now func() time.Time) *crowd {
	return &crowd{
		now: now, known: map[[sha256.Size]byte]*caller{}, strangers: map[string]*caller{},
		unknown: rate.NewLimiter(wishesStrangers, strangersAtOnce), total: rate.NewLimiter(wishesAll, allAtOnce),
	}
}

// allows tells whether a caller may ask now.
func (c *crowd) allows(token, address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if who := c.known[sha256.Sum256([]byte(token))]; who != nil {
		who.seen = now
		return who.limit.AllowN(now, 1) && c.total.AllowN(now, 1)
	}
	return one(c.strangers, address, now).limit.AllowN(now, 1) && c.unknown.AllowN(now, 1) && c.total.AllowN(now, 1)
}

// accepted remembers a token that GitLab has accepted.
func (c *crowd) accepted(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one(c.known, sha256.Sum256([]byte(token)), c.now())
}

// one finds or makes a caller. Of too many the one goes who was not seen for longest.
func one[K comparable](callers map[K]*caller, key K, now time.Time) *caller {
	who := callers[key]
	if who == nil {
		if len(callers) >= maxCallers {
			forgetOldest(callers)
		}
		who = &caller{limit: rate.NewLimiter(wishesEach, wishesAtOnce)}
		callers[key] = who
	}
	who.seen = now
	return who
}

func forgetOldest[K comparable](callers map[K]*caller) {
	var oldest K
	var seen time.Time
	for key, who := range callers {
		if seen.IsZero() || who.seen.Before(seen) {
			oldest, seen = key, who.seen
		}
	}
	delete(callers, oldest)
}
