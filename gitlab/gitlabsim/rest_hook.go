package gitlabsim

import (
	"net/http"
	"slices"
	"strconv"
)

func (c *call) hook() (*Hook, *answer) {
	id, err := c.varID("hook_id")
	if err != nil {
		return nil, err
	}
	for _, h := range c.p.hooks {
		if h.ID == id {
			return h, nil
		}
	}
	a := notFound("")
	return nil, &a
}

func listHooks(c *call) answer {
	return paginate(c, c.p.hooks, func(h *Hook) any { return c.g.hookEntity(c.p, h) })
}

func createHook(c *call) answer {
	if err := c.required("url"); err != nil {
		return *err
	}
	h := &Hook{Events: map[string]bool{"push_events": true}}
	c.configure(h)
	if why := checkHook(h); why != "" {
		return answer{status: http.StatusUnprocessableEntity, body: obj{"error": why}}
	}
	c.g.addHook(c.p, h)
	return created(c.g.hookEntity(c.p, h))
}

func updateHook(c *call) answer {
	h, err := c.hook()
	if err != nil {
		return *err
	}
	changed := *h
	changed.Events = map[string]bool{}
	for toggle, on := range h.Events {
		changed.Events[toggle] = on
	}
	c.configure(&changed)
	if why := checkHook(&changed); why != "" {
		return answer{status: http.StatusUnprocessableEntity, body: obj{"error": why}}
	}
	*h = changed
	return ok(c.g.hookEntity(c.p, h))
}

func (c *call) configure(h *Hook) {
	for name, into := range map[string]*string{
		"url": &h.URL, "name": &h.Name, "description": &h.Description, "token": &h.Token, "signing_token": &h.SigningToken,
	} {
		if s, given := c.text(name); given {
			*into = s
		}
	}
	if _, given := c.text("enable_ssl_verification"); given {
		h.SkipVerification = !c.flag("enable_ssl_verification")
	}
	for _, toggle := range hookToggles() {
		if _, given := c.text(toggle); given {
			h.Events[toggle] = c.flag(toggle)
		}
	}
}

func deleteHook(c *call) answer {
	h, err := c.hook()
	if err != nil {
		return *err
	}
	c.p.hooks = slices.DeleteFunc(c.p.hooks, func(other *Hook) bool { return other == h })
	return noContent()
}

// listHookEvents answers the log of a hook, newest first.
func listHookEvents(c *call) answer {
	h, err := c.hook()
	if err != nil {
		return *err
	}
	if n, given, bad := c.number("per_page"); bad != nil || given && n > 20 {
		return invalid("per_page does not have a valid value")
	}
	status := c.list("status")
	var found []*delivery
	for _, d := range slices.Backward(c.g.sent) {
		if d.hook == h && (len(status) == 0 || slices.ContainsFunc(status, d.has)) {
			found = append(found, d)
		}
	}
	return paginate(c, found, deliveryEntity)
}

func (d *delivery) has(status string) bool {
	switch status {
	case "successful":
		return d.Status >= 200 && d.Status < 300
	case "client_failure":
		return d.Status >= 400 && d.Status < 500
	case "server_failure":
		return d.Status >= 500 || d.Status == 0
	}
	return status == strconv.Itoa(d.Status)
}

// resendHook waits for the answer, as GitLab does, without holding everything else up.
func resendHook(c *call) answer {
	h, err := c.hook()
	if err != nil {
		return *err
	}
	id, err := c.varID("hook_log_id")
	if err != nil {
		return *err
	}
	for _, d := range c.g.sent {
		if d.ID != id || d.hook != h {
			continue
		}
		again := c.g.resend(d)
		c.g.mu.Unlock()
		select {
		case <-again.done:
		case <-c.r.Context().Done():
		}
		c.g.mu.Lock()
		if again.Status == 0 {
			return answer{status: http.StatusUnprocessableEntity, body: obj{"message": again.Answer}}
		}
		return created(obj{"response_status": again.Status})
	}
	return notFound("")
}
