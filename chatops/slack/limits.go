package slack

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// limits keeps below Slack's own, so that twenty deliveries at once slow down and do not
// fail. Source: https://docs.slack.dev/apis/web-api/rate-limits
type limits struct {
	updates    *rate.Limiter // 50 a minute, tier 3
	ephemerals *rate.Limiter // 100 a minute, tier 4
	lookups    *rate.Limiter // users.info, conversations.history: tier 3 and 4
	lists      *rate.Limiter // conversations.list: tier 2

	mu    *sync.Mutex
	posts map[string]*rate.Limiter // about one a second for each channel
}

const manyChannels = 1000

func newLimits() limits {
	perMinute := func(n int) rate.Limit { return rate.Every(time.Minute / time.Duration(n)) }
	return limits{
		updates:    rate.NewLimiter(perMinute(45), 20), // a delivery that moves fast is shown at once, and many of them slowly
		ephemerals: rate.NewLimiter(perMinute(90), 10),
		lookups:    rate.NewLimiter(perMinute(45), 5),
		lists:      rate.NewLimiter(perMinute(18), 2),
		mu:         &sync.Mutex{},
		posts:      map[string]*rate.Limiter{},
	}
}

// postsTo is the limiter of one channel.
func (l limits) postsTo(channel string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posts) > manyChannels {
		clear(l.posts)
	}
	if l.posts[channel] == nil {
		l.posts[channel] = rate.NewLimiter(rate.Every(time.Second), 2)
	}
	return l.posts[channel]
}

// wait takes a turn. When the context would end before it comes, nothing was done.
func wait(ctx context.Context, l *rate.Limiter) error {
	err := l.Wait(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &pipeline.Failure{
		Code: pipeline.ReasonUnreachable, Detail: "Slack is sent as much as it takes; this waits for its turn", After: 2 * time.Second, Err: err,
	}
}
