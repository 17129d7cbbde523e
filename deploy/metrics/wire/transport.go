package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"
)

var errTooLarge = errors.New("the answer is too large")

// transport sends a request as often as it takes. An answer is read to its end, so that one that breaks off counts as
// none.
type transport struct {
	o       *Options
	limiter *rate.Limiter
	next    http.RoundTripper
}

// RoundTrip answers with the last response if there was one, whatever its status.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		defer req.Body.Close()
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, fmt.Errorf("read the question: %w", err)
		}
	}
	ctx := req.Context()
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.Multiplier = t.o.Limits.Pause, 2
	within := longest
	if deadline, ok := ctx.Deadline(); ok {
		within = max(min(within, time.Until(deadline)), time.Nanosecond)
	}
	resp, err := backoff.Retry(ctx, func() (*http.Response, error) { return t.try(req, body) }, backoff.WithBackOff(pauses),
		backoff.WithMaxTries(uint(t.o.Limits.Tries)), backoff.WithMaxElapsedTime(within))
	if err == nil || resp != nil && ctx.Err() == nil {
		return resp, nil
	}
	return nil, err
}

// try sends the request once. With a response that may be another one next time there is an error as well.
func (t *transport) try(req *http.Request, body []byte) (*http.Response, error) {
	resp, read, err := t.once(req, body)
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errUnsigned), req.Context().Err() != nil:
		return nil, backoff.Permanent(err)
	case err != nil:
		return nil, err
	case !again(resp.StatusCode) && (t.o.Busy == nil || !t.o.Busy(resp.StatusCode, read)):
		return resp, nil
	}
	err = fmt.Errorf("status %d", resp.StatusCode)
	if after := pauseWanted(resp.Header, t.o.Limits.Now()); after > 0 {
		err = &backoff.RetryAfterError{Duration: after}
	}
	return resp, err
}

var errUnsigned = errors.New("the question cannot be signed")

// later is an error of Sign that may be gone at the next try.
type later struct{ error }

func (l later) Unwrap() error { return l.error }

// Later marks an error of Sign as one that passes.
func Later(err error) error { return later{err} }

func (t *transport) once(req *http.Request, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.o.Limits.Timeout)
	defer cancel()
	if err := t.limiter.Wait(ctx); err != nil {
		return nil, nil, fmt.Errorf("wait for a turn: %w", err)
	}
	req = req.Clone(ctx)
	req.Body, req.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	for name, value := range t.o.Header {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "slipway")
	if t.o.Sign != nil {
		err := t.o.Sign(req, body)
		var passes later
		switch {
		case errors.As(err, &passes):
			return nil, nil, err
		case err != nil:
			return nil, nil, fmt.Errorf("%w: %w", errUnsigned, err)
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil {
		return nil, nil, err
	}
	if len(read) > MaxAnswer {
		return nil, nil, errTooLarge
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(read)), int64(len(read))
	return resp, read, nil
}

// again says which statuses may be others in a moment.
func again(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status >= 500 && status != http.StatusNotImplemented
}

// pauseWanted is how long the system wants not to be asked, 0 if it doesn't say. Datadog says it in a header of its own
// (https://docs.datadoghq.com/api/latest/rate-limits/).
func pauseWanted(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After", "X-RateLimit-Reset"} {
		text := h.Get(name)
		if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 && seconds < 1<<20 {
			return time.Duration(seconds) * time.Second
		}
		if at, err := http.ParseTime(text); err == nil && at.After(now) {
			return at.Sub(now)
		}
	}
	return 0
}
