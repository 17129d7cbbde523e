package spec

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// checkKinds are what a check can look at.
func checkKinds() []string { return []string{"http", "report", "metric", "job"} }

// kinds lists what the check looks at.
func (k *Check) kinds() []string {
	given := map[string]bool{"http": k.HTTP != nil, "report": k.Report != nil, "metric": k.Metric != nil, "job": k.Job != nil}
	return slices.DeleteFunc(checkKinds(), func(kind string) bool { return !given[kind] })
}

// maxRuns is how often a check may run: every 10 seconds for more than a day.
const maxRuns = 10_000

func (c *checker) checkChecks(path string, checks Checks, s *Stage) {
	names := map[Name]bool{}
	for i := range checks {
		k, path := &checks[i], fmt.Sprintf("%s[%d]", path, i)
		kinds := k.kinds()
		switch {
		case len(kinds) > 1:
			c.add(join(path, kinds[1]), "this check does two things: "+listed(kinds), "make a check of each")
		case len(kinds) == 0 && !c.triedCheck(path):
			c.add(path, "this check looks at nothing", "give it one of "+listed(checkKinds()))
		}
		if k.Name != "" && names[k.Name] {
			c.add(path+".name", fmt.Sprintf("there are two checks with the name %s", quote(string(k.Name))), "")
		}
		names[k.Name] = true
		c.checkTimes(path, k, s)
		c.checkLook(path, k, s)
	}
}

func (c *checker) triedCheck(path string) bool {
	return !c.readable(path) || slices.ContainsFunc(checkKinds(), func(key string) bool { return c.f.given(join(path, key)) })
}

func (c *checker) checkTimes(path string, k *Check, s *Stage) {
	every, span := k.interval(), k.span(s)
	if every > 0 && span/every > maxRuns {
		at := path + ".for"
		if k.For == "" {
			at = path + ".every"
		}
		c.add(at, fmt.Sprintf("the check would run more than %d times", maxRuns), "look less often, or for a shorter time")
	}
	if timeout := s.Timeout.Span(); s.Validate != nil && timeout > 0 && span >= timeout {
		c.add(path+".for", "the check takes longer than the timeout of its stage", "give the stage more time, or remove its timeout")
	}
}

// checkLook refuses what does not go together in what a check looks at.
func (c *checker) checkLook(path string, k *Check, s *Stage) {
	if h := k.HTTP; h != nil {
		if h.Pass > max(h.Requests, 1) {
			c.add(path+".http.pass", "pass is more than requests", "add requests, or lower it")
		}
		if h.Method == http.MethodHead && h.Body != "" {
			c.add(path+".http.body", "an answer to HEAD has no body", "use GET")
		}
	}
	if m := k.Metric; m != nil {
		switch {
		case c.readable(path+".metric") && !c.f.given(path+".metric.max") && !c.f.given(path+".metric.min"):
			c.add(path+".metric", "this metric has no bound", "add max or min")
		case m.Max != nil && m.Min != nil && *m.Min > *m.Max:
			c.add(path+".metric.min", "min is more than max", "")
		}
	}
	if k.Job == nil {
		return
	}
	path += ".job"
	c.checkRun(path)
	own := s.environment()
	switch {
	case own == "" && s.Deploy == nil && s.Run == nil:
		c.needsEnvironment(path)
	case k.Job.Environment != "" && k.Job.Environment != own:
		c.add(path+".environment", "the job of a check runs in the environment of its stage", "remove it, or make a stage of its own for it")
	}
}

// interval is how long after one run the next comes.
func (k *Check) interval() time.Duration {
	if k.Every == "" {
		return checkEvery
	}
	return k.Every.Span()
}

// span is how long the check has to hold. What changes while a release runs is looked at
// for as long as the one before stands by; a report does not change, and a job is done once.
func (k *Check) span(s *Stage) time.Duration {
	if k.For == "" && (k.HTTP != nil || k.Metric != nil) && s.Deploy != nil {
		return s.Deploy.standby()
	}
	return k.For.Span()
}

// standby is how long the release before stays ready.
func (d *Deploy) standby() time.Duration {
	if d.Strategy == pipeline.StrategyBlueGreen && d.Standby == "" {
		return standbyDefault
	}
	return d.Standby.Span()
}
