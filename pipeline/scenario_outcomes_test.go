package pipeline_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/pipelinetest"
)

// do ends an effect: "do A staging/1/apply fail manifest "no such file" unchanged".
func (s *script) do(id, key string, words []string, o map[string]string) error {
	p, ok := s.world.Find(id, key)
	if !ok {
		return fmt.Errorf("%s does not wait for %s:\n%s", s.name(id), key, s.world.Show(id, s.name))
	}
	if len(words) == 0 {
		words = []string{"good"}
	}
	stage, attempt := pipeline.StageOf(p.Effect.Do)
	var e pipeline.Event
	var err error
	switch words[0] {
	case "good":
		e, err = s.outcome(p)
	case "silently":
	case "fail":
		f := pipeline.Failed{Effect: p.Kind(), Key: key, Stage: stage, Attempt: attempt, Code: pipeline.ReasonCode(words[1])}
		if len(words) > 2 {
			f.Detail = strings.ReplaceAll(words[2], `\n`, "\n")
		}
		f.Unchanged = len(words) > 3 && words[3] == "unchanged"
		e = f
	case "delayed": // delayed DETAIL [CODE]: it stays, and is tried again
		d := pipeline.Delayed{Effect: p.Kind(), Stage: stage, Attempt: attempt, Detail: words[1]}
		if len(words) > 2 {
			d.Code = pipeline.ReasonCode(words[2])
		}
		return s.world.Send(id, d)
	case "progress":
		return s.world.Send(id, pipeline.Progressed{Stage: stage, Attempt: attempt, Words: words[1]})
	case "checked": // checked yes|no SAW
		do := p.Effect.Do.(pipeline.RunCheck)
		e = pipeline.Checked{Stage: stage, Attempt: attempt, Check: do.Check, Run: do.Run, Passed: words[1] == "yes", Saw: words[2]}
	case "sampled": // sampled same|worse|mixed|none, or sampled unwell|unequal WHY
		e, err = s.sampledAs(id, p.Effect.Do.(pipeline.Measure), words[1:])
	case "unwell": // unwell WHY
		e = pipeline.PairUnwell{Stage: stage, Attempt: attempt, Words: words[1]}
	case "ran": // ran yes|no DETAIL
		e = pipeline.JobRan{Stage: stage, Attempt: attempt, Passed: words[1] == "yes", Ran: pipeline.Ran{Job: stage, ExitCode: 1}, Detail: words[2]}
	case "adopted": // adopted WHAT
		if e, err = s.outcome(p); err == nil {
			applied := e.(pipeline.Applied)
			applied.Adopted = words[1]
			e = applied
		}
	case "alone":
		if e, err = s.outcome(p); err == nil {
			applied := e.(pipeline.Applied)
			applied.Alone = true
			e = applied
		}
	case "open", "closed", "merged": // what GitLab says of the merge request
		ended := s.world.Now.Truncate(time.Minute)
		if len(words) > 1 { // some time ago
			ago, _ := time.ParseDuration(words[1])
			ended = ended.Add(-ago)
		}
		e = pipeline.MergeRequestSeen{Open: words[0] == "open", Merged: words[0] == "merged", Ended: ended}
	case "gone":
		e = pipeline.Failed{Effect: p.Kind(), Key: key, Stage: stage, Attempt: attempt, Code: pipeline.ReasonRunLost, Detail: words[1]}
	case "serving":
		e = pipeline.Restored{Stage: stage, Attempt: attempt, Serving: true}
	case "job":
		e = pipeline.JobSeen{Stage: stage, Attempt: attempt, Job: pipeline.JobHandle{ID: number(words[1]), Status: words[2]}}
	case "ci":
		ci := pipeline.CIPipeline{ID: 100, Status: words[1]}
		if words[1] == "none" {
			ci = pipeline.CIPipeline{}
		}
		e = pipeline.CISeen{CI: ci}
	case "problems":
		refused := pipeline.PlanRefused{}
		for i, what := range words[1:] {
			refused.Problems = append(refused.Problems, pipeline.Problem{File: ".slipway.yml", Line: i + 3, Column: 5, What: what})
		}
		e = refused
	case "run", "skip", "error":
		e = pipeline.Evaluated{
			Stage: stage, Attempt: attempt, Run: words[0] == "run", Error: words[0] == "error",
			Why: strings.Join(words[1:], " "), Resolved: pipelinetest.Resolve(s.world.Plan(id), stage),
		}
	default:
		return fmt.Errorf("outcome %q", words[0])
	}
	if err != nil {
		return err
	}
	return s.world.Finish(p, e)
}

// ask sends a person's wish, and looks the person up at once unless "look=later".
func (s *script) ask(id string, verb pipeline.Verb, o map[string]string) error {
	r := pipeline.Request{
		What: verb, Via: pipeline.ViaComment, Username: o["by"], Stage: o["stage"], Attempt: int(number(o["attempt"])),
		Environment: o["for"], Reason: o["reason"], Release: o["release"],
	}
	switch o["via"] {
	case "slack":
		r.Via = pipeline.ViaSlack
	case "deployment":
		r.Via = pipeline.ViaDeployment
	}
	if err := s.world.Send(id, pipeline.Requested{Request: r}); err != nil {
		return err
	}
	if o["look"] == "later" {
		return nil
	}
	if err := s.world.Settle(); err != nil {
		return err
	}
	for _, p := range s.world.Pending() {
		if p.Of == id && p.Kind() == "identify" {
			return s.do(id, p.Effect.Key, []string{"good"}, nil)
		}
	}
	return nil
}

// send puts a hook or a late message into an inbox.
func (s *script) send(id, kind string, words []string, o map[string]string) error {
	var e pipeline.Event
	switch kind {
	case "ci-changed":
		e = pipeline.CIChanged{CI: pipeline.CIPipeline{ID: 100, Status: "running"}}
	case "job-changed":
		e = pipeline.JobChanged{Job: pipeline.JobHandle{ID: number(words[0]), Status: words[1]}}
	case "lock-granted":
		stage, attempt, _ := strings.Cut(words[1], "/")
		e = pipeline.LockGranted{Environment: words[0], Stage: stage, Attempt: int(number(attempt))}
	case "failed": // send A failed EFFECT KEY CODE DETAIL
		stage, rest, _ := strings.Cut(words[1], "/")
		attempt, _, _ := strings.Cut(rest, "/")
		e = pipeline.Failed{Effect: words[0], Key: words[1], Stage: stage, Attempt: int(number(attempt)), Code: pipeline.ReasonCode(words[2]), Detail: words[3]}
	case "rolled-out":
		stage, attempt, _ := strings.Cut(words[0], "/")
		e = pipeline.RolledOut{Stage: stage, Attempt: int(number(attempt))}
	case "pair-unwell": // send A pair-unwell STAGE/ATTEMPT WHY
		stage, attempt, _ := strings.Cut(words[0], "/")
		e = pipeline.PairUnwell{Stage: stage, Attempt: int(number(attempt)), Words: words[1]}
	case "superseded":
		e = pipeline.Superseded{Environment: words[0], By: o["by"]}
	case "tick":
		e = pipeline.Tick{}
	default:
		return fmt.Errorf("event %q", kind)
	}
	return s.world.Send(id, e)
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func list(s string) []string {
	if s == "" || s == "-" {
		return nil
	}
	return strings.Split(s, ",")
}

// parse splits a line into words and key=value options. Double quotes keep spaces.
func parse(line string) (words []string, options map[string]string) {
	options = map[string]string{}
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		inQuotes, end := false, len(line)
		for i, c := range line {
			if c == '"' {
				inQuotes = !inQuotes
			}
			if c == ' ' && !inQuotes {
				end = i
				break
			}
		}
		word := line[:end]
		line = line[end:]
		plain := strings.ReplaceAll(word, `"`, "")
		if key, value, ok := strings.Cut(plain, "="); ok && !strings.HasPrefix(word, `"`) {
			options[key] = value
		} else {
			words = append(words, plain)
		}
	}
	return words, options
}
