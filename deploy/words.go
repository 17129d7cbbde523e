package deploy

import "time"

// words hands on how far something is: only changes, and at most one in an interval. What was held back is handed on
// when the interval has passed, if it is still true.
type words struct {
	say      func(string)
	interval time.Duration
	said     string
	at       time.Time
	held     string
}

// tell takes the newest words. It returns when to call due, zero if there is nothing held back.
func (w *words) tell(text string, now time.Time) time.Time {
	switch {
	case text == "" || text == w.said:
		w.held = ""
		return time.Time{}
	case !w.at.IsZero() && now.Sub(w.at) < w.interval:
		w.held = text
		return w.at.Add(w.interval)
	}
	w.say(text)
	w.said, w.at, w.held = text, now, ""
	return time.Time{}
}
