package pipelinetest

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Names shortens the ids of deliveries in what is printed.
type Names func(id string) string

// Print writes a step as a reviewer reads it: what came in, what changed, what follows.
func Print(t Taken, name Names) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s < %s\n", name(t.ID), event(t.Event, name))
	if t.After != nil {
		printDelivery(&b, t, name)
	} else {
		printEnvironment(&b, t, name)
	}
	printEffects(&b, t.Effects, name)
	return b.String()
}

func printDelivery(b *strings.Builder, t Taken, name Names) {
	was, is := t.Before, t.After
	if was.Status != is.Status || was.Reason != is.Reason || was.Winding != is.Winding {
		fmt.Fprintf(b, "  %s\n", headline(is, name))
	}
	for i := range is.Stages {
		st := &is.Stages[i]
		line := stage(st)
		if before := was.Stage(st.Name); before == nil && st.Attempt == 0 || before != nil && stage(before) == line {
			continue
		}
		fmt.Fprintf(b, "  %s\n", line)
	}
	for _, d := range is.Decisions[min(len(was.Decisions), len(is.Decisions)):] {
		fmt.Fprintf(b, "  decided: %s\n", decision(d))
	}
	for _, warning := range is.Warnings {
		if len(was.Warnings) < len(is.Warnings) {
			fmt.Fprintf(b, "  warning: %s: %s\n", warning.Effect, warning.Detail)
		}
	}
}

func printEnvironment(b *strings.Builder, t Taken, name Names) {
	if line := environment(t.AfterE, name); line != environment(t.BeforeE, name) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

func headline(d *pipeline.Delivery, name Names) string {
	line := string(d.Status)
	if d.Winding != "" {
		line += ", ending as " + string(d.Winding)
	}
	if why := d.Reason.String(); why != "" {
		line += ": " + why
	}
	return replaceIDs(line, d.ID, name)
}

func replaceIDs(s, id string, name Names) string { return strings.ReplaceAll(s, id, name(id)) }

func stage(st *pipeline.StageState) string {
	line := fmt.Sprintf("%s/%d %s", st.Name, st.Attempt, st.Status)
	if st.Phase != "" && !st.Status.Finished() && st.Status != pipeline.StagePending {
		line += " (" + string(st.Phase) + ")"
	}
	if why := st.Reason.String(); why != "" {
		line += ": " + strings.ReplaceAll(why, "\n", "⏎")
	}
	if st.Progress != "" {
		line += " [" + st.Progress + "]"
	}
	return line
}

func decision(d pipeline.Decision) string {
	line := fmt.Sprintf("%s by %s via %s", d.What, d.By.Label(), d.Via)
	if d.Stage != "" {
		line = fmt.Sprintf("%s/%d %s", d.Stage, d.Attempt, line)
	}
	if d.Reason != "" {
		line += fmt.Sprintf(" %q", d.Reason)
	}
	return line + ", as " + d.Rule
}

func environment(e *pipeline.Environment, name Names) string {
	var parts []string
	if e.Holder != nil {
		parts = append(parts, "held by "+claim(*e.Holder, name))
	} else {
		parts = append(parts, "free")
	}
	for _, c := range e.Queue {
		parts = append(parts, "queued "+claim(c, name))
	}
	for _, o := range e.Enrolled {
		parts = append(parts, "expected "+name(o.Delivery))
	}
	if r := e.Current(); r != nil {
		parts = append(parts, "runs "+release(r))
	}
	if u := e.Unsure; u != nil {
		parts = append(parts, "unsure since the rollback of "+name(u.Of)+", which left "+release(u.Left))
	}
	for _, k := range e.Kept {
		parts = append(parts, "keeps "+release(&k.Release))
	}
	return strings.Join(parts, ", ")
}

func claim(c pipeline.Claim, name Names) string {
	words := fmt.Sprintf("%s %s/%d", name(c.Delivery), c.Stage, c.Attempt)
	switch {
	case c.Back:
		words += " to go back"
	case c.Down:
		words += " to remove it"
	}
	return words
}

func release(r *pipeline.Release) string {
	if r == nil {
		return "nothing"
	}
	return pipeline.Short(r.SHA)
}

func printEffects(b *strings.Builder, effects []pipeline.Effect, name Names) {
	var reports []string
	for _, f := range effects {
		switch do := f.Do.(type) {
		case pipeline.WriteNote:
			reports = append(reports, "note")
		case pipeline.WriteMessage:
			reports = append(reports, "message")
		case pipeline.Ask:
			reports = append(reports, "ask "+do.Stage)
		case pipeline.WriteStatus:
			reports = append(reports, "status "+do.Stage)
		case pipeline.WriteDeployment:
			reports = append(reports, fmt.Sprintf("deployment %s/%d", do.Stage, do.Attempt))
		case pipeline.DrawChart:
			reports = append(reports, "chart "+do.Stage)
		case pipeline.Send:
			e, err := pipeline.DecodeEvent(do.Kind, do.Data)
			if err != nil {
				panic(err) // the core wrote it
			}
			to := name(do.Delivery)
			if do.Environment != "" {
				to = name(do.Environment)
			}
			fmt.Fprintf(b, "  > %s: %s\n", to, event(e, name))
		case pipeline.Withdraw:
			fmt.Fprintf(b, "  - %s\n", do.Key)
		default:
			fmt.Fprintf(b, "  + %s%s\n", f.Key, action(do, name))
		}
	}
	if len(reports) > 0 {
		fmt.Fprintf(b, "  ~ %s\n", strings.Join(reports, ", "))
	}
}

func action(a pipeline.Action, name Names) string {
	switch a := a.(type) {
	case pipeline.Answer:
		mood := "no"
		if a.Taken {
			mood = "yes"
		}
		return strings.TrimRight(fmt.Sprintf(" %s %s", mood, quoted(a.Text)), " ")
	case pipeline.Restore:
		return fmt.Sprintf(" to %s from %s", release(a.To), release(a.From))
	case pipeline.Observe:
		return " of " + release(&a.Release)
	case pipeline.Switch:
		return fmt.Sprintf(" to %s from %s", release(&a.To), release(a.From))
	case pipeline.Retire:
		words := fmt.Sprintf(" %s beside %s", release(a.Old), release(&a.Serving))
		if a.Also != nil {
			words += ", and " + release(a.Also)
		}
		if a.Keep {
			words += ", keeping its pods"
		}
		return words
	case pipeline.Apply:
		if len(a.Images) > 0 {
			return " with the canary's " + a.Images[0].Digest
		}
	case pipeline.StartPair:
		return fmt.Sprintf(" baseline %s beside %s%s", release(&a.Compare), release(&a.Stable), weight(a.Weight))
	case pipeline.WeighPair:
		return weight(a.Weight)
	case pipeline.Measure:
		return fmt.Sprintf(" look %d from %s to %s", a.Look, a.From.Format("15:04:05"), a.To.Format("15:04:05"))
	case pipeline.EndPair:
		return " beside " + release(a.Stable)
	case pipeline.Remove:
		return fmt.Sprintf(" %s from %s", release(&a.Release), a.Environment)
	case pipeline.LookAtPipeline:
		return fmt.Sprintf(" at %d", a.Pipeline)
	case pipeline.PlayJob:
		if a.Again != 0 {
			return fmt.Sprintf(" again %d", a.Again)
		}
	case pipeline.LookAtJob:
		return fmt.Sprintf(" at %d", a.Job)
	case pipeline.StartTearDown:
		return fmt.Sprintf(" of %s as %s", a.Environment, name(a.NewID))
	case pipeline.TearDown:
		words := " " + a.Environment
		for _, r := range a.Releases {
			words += " " + release(&r)
		}
		return words
	case pipeline.StopEnvironment:
		return " " + a.Environment
	case pipeline.StartRollback:
		words := fmt.Sprintf(" of %s as %s", a.Environment, name(a.NewID))
		if a.To != "" {
			words += " to " + a.To
		}
		return words
	}
	return ""
}

func weight(w int) string {
	if w == 0 {
		return ""
	}
	return fmt.Sprintf(" at %d %%", w)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func event(e pipeline.Event, name Names) string {
	words := e.EventKind()
	switch e := e.(type) {
	case pipeline.LockWanted:
		words += " " + claim(e.Claim, name)
		if e.Supersede {
			words += ", superseding"
		}
	case pipeline.LockGranted:
		words += fmt.Sprintf(" %s/%d, runs %s", e.Stage, e.Attempt, release(e.Current))
		if e.Unsure != nil {
			words += " or not"
		}
		if e.Target != nil {
			words += ", before " + release(e.Target)
		}
		if e.Compare != nil {
			words += ", to compare with " + release(e.Compare)
		}
		if e.Why != "" {
			words += ", " + quoted(e.Why)
		}
	case pipeline.LockQueued:
		words += fmt.Sprintf(" %s/%d behind %s", e.Stage, e.Attempt, e.Holder)
	case pipeline.LockReturned:
		words += fmt.Sprintf(" %s/%d", e.Stage, e.Attempt)
		if e.Released != nil {
			words += ", runs " + release(e.Released)
		}
		if e.Failed != nil {
			words += ", bad " + release(e.Failed)
		}
		if e.Unsure {
			words += ", unsure"
		}
		if e.Emptied {
			words += ", emptied"
		}
		if e.Kept != nil {
			words += ", keeping " + release(&e.Kept.Release) + " until " + e.Kept.Until.Format("15:04")
		}
	case pipeline.MergeRequestSeen:
		words += fmt.Sprintf(" open: %t", e.Open)
	case pipeline.Replaced:
		if words += fmt.Sprintf(" %s by %s", e.Environment, e.By); e.By == "" {
			words = "runs again"
		}
	case pipeline.Sampled:
		words += fmt.Sprintf(" %d", e.Look)
		if e.Unwell+e.Unequal != "" {
			words += " " + quoted(e.Unwell+e.Unequal)
		}
	case pipeline.PairUnwell:
		words += " " + quoted(e.Words)
	case pipeline.Weighed:
		words += weight(e.Weight)
	case pipeline.KeepEnded:
		words += " " + release(&e.Release)
	case pipeline.Checked:
		words += fmt.Sprintf(" %s %d, passed: %t, %q", e.Check, e.Run, e.Passed, e.Saw)
	case pipeline.JobRan:
		words += fmt.Sprintf(" passed: %t %s", e.Passed, quoted(e.Detail))
	case pipeline.PipelineSeen:
		words += fmt.Sprintf(" %d %s", e.CI.ID, e.CI.Status)
	case pipeline.Enrolled:
		words += " " + name(e.Enrolment.Delivery)
	case pipeline.Departed:
		words += " " + name(e.Delivery)
	case pipeline.Superseded:
		words += " by " + e.By
	case pipeline.Failed:
		words += fmt.Sprintf(" %s %s %q", e.Key, e.Code, e.Detail)
		if e.Unchanged {
			words += ", unchanged"
		}
	case pipeline.Identified:
		words += " " + e.Request + " " + e.Person.Label()
	case pipeline.Requested:
		words += " " + string(e.Request.What)
	case pipeline.CISeen:
		words += " " + e.CI.Status
	case pipeline.JobSeen:
		words += fmt.Sprintf(" %d %s", e.Job.ID, e.Job.Status)
	case pipeline.Progressed:
		words += " " + quoted(e.Words)
	}
	return words
}

// Show writes where everything stands.
func (w *World) Show(id string, name Names) string {
	var b strings.Builder
	if e := w.environments[id]; e != nil {
		fmt.Fprintf(&b, "%s: %s\n", name(id), environment(e, name))
		for _, r := range e.Releases {
			fmt.Fprintf(&b, "  %s of %s, bad: %t\n", release(&r), name(r.Delivery), r.Bad)
		}
		return b.String()
	}
	d := w.deliveries[id]
	if d == nil {
		return "there is no " + name(id) + "\n"
	}
	fmt.Fprintf(&b, "%s: %s\n", name(id), headline(d, name))
	v := pipeline.NewView(w.Plan(id), d)
	for i := range d.Stages {
		line := stage(&d.Stages[i])
		at := slices.IndexFunc(v.Stages, func(s pipeline.StageView) bool { return s.Name == d.Stages[i].Name })
		if at < 0 {
			continue // it was never needed
		}
		s := v.Stages[at]
		if s.Previous != "" || s.Now != "" {
			line += fmt.Sprintf(" {was %s, now %s}", s.Previous, s.Now)
		}
		fmt.Fprintf(&b, "  %s\n", line)
		if a := s.Analysis; a != nil {
			fmt.Fprintf(&b, "    canary: look %d of %d, missed %d%s\n", a.Look, a.Looks, a.Missed, weight(a.Weight))
			for _, l := range a.History {
				fmt.Fprintf(&b, "      %d at %s: %s %s\n", l.Number, l.At.Format("15:04:05"), l.Verdict, l.Detail)
			}
		}
		for _, c := range s.Checks {
			fmt.Fprintf(&b, "    check %s %s: %s\n", c.Name, c.Word, c.Saw)
		}
	}
	for _, q := range v.Questions {
		if q.Back {
			fmt.Fprintf(&b, "  %s\n", q.Ask)
		}
		fmt.Fprintf(&b, "  asks %s until %s, %d of %d, recording: %t\n", q.Token, q.Expires.Format("2006-01-02 15:04"), len(q.Approvals), q.Quorum, q.Recording)
	}
	for _, dec := range d.Decisions {
		fmt.Fprintf(&b, "  decided: %s\n", decision(dec))
	}
	for _, p := range d.Problems {
		fmt.Fprintf(&b, "  problem: %s\n", p)
	}
	for _, warning := range d.Warnings {
		fmt.Fprintf(&b, "  warning: %s: %s\n", warning.Effect, warning.Detail)
	}
	for _, p := range w.Pending() {
		if p.Of == id {
			fmt.Fprintf(&b, "  pending %s%s\n", p.Effect.Key, action(p.Effect.Do, name))
		}
	}
	fmt.Fprintf(&b, "  offers cancel: %t, retry: %t, rollback: %t\n", v.MayCancel, v.MayRetry, v.MayRollback)
	return replaceIDs(b.String(), id, name)
}
