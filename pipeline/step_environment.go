package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// StepEnvironment applies one event to an environment. It is pure, like Step. An
// environment that does not exist yet is the zero Environment with its ID. Its only
// effects are Sends.
func StepEnvironment(before Environment, e Event, now time.Time) (Environment, []Effect, error) {
	now = now.UTC().Truncate(time.Millisecond)
	env := before.clone()
	if env.Schema != 0 {
		env.Schema = EnvironmentSchema
	}
	s := &environmentStepper{env: &env, now: now}
	switch e := e.(type) {
	case Enrolled:
		s.know(e.Environment)
		s.enrolled(e.Enrolment)
	case LockWanted:
		s.know(e.Environment)
		s.wanted(e)
	case LockReturned:
		s.returned(e)
	case Departed:
		s.departed(e.Delivery)
	case Tick:
		s.remind()
		s.clearKept()
	default:
		return before, nil, fmt.Errorf("step environment %s with %s: an environment does not understand it", before.ID, e.EventKind())
	}
	s.next()
	env.Updated = now
	return env, s.effects, nil
}

// Idle tells that nobody has the environment, waits for it or will.
func (e *Environment) Idle() bool {
	return e.Holder == nil && len(e.Queue) == 0 && len(e.Enrolled) == 0 && len(e.Kept) == 0
}

// Wake is when Tick is wanted next, zero if the environment is idle.
func (e *Environment) Wake() time.Time {
	if e.Idle() {
		return time.Time{}
	}
	wake := e.Updated.Add(heartbeat)
	if e.Holder != nil {
		wake = e.Updated.Add(heartbeat / 4)
	}
	for _, k := range e.Kept {
		if k.Until.Before(wake) {
			wake = k.Until
		}
	}
	return wake
}

type environmentStepper struct {
	env     *Environment
	now     time.Time
	effects []Effect
}

func (s *environmentStepper) know(ref EnvironmentRef) {
	if s.env.Schema == 0 {
		s.env.Schema, s.env.Project, s.env.Name = EnvironmentSchema, ref.Project, ref.Name
	}
}

func (s *environmentStepper) send(delivery string, e Event) {
	s.env.Sent++
	s.effects = append(s.effects, sendEffect(s.env.Sent, Send{Delivery: delivery}, e))
}

func (s *environmentStepper) enrolled(e Enrolment) {
	if !slices.ContainsFunc(s.env.Enrolled, func(o Enrolment) bool { return o.Delivery == e.Delivery }) {
		s.env.Enrolled = append(s.env.Enrolled, e)
	}
}

// wanted queues a claim, unless it comes too late: an older commit never replaces a
// newer one by itself.
func (s *environmentStepper) wanted(e LockWanted) {
	c := e.Claim
	same := func(o Claim) bool { return o.Delivery == c.Delivery && o.Stage == c.Stage && o.Attempt == c.Attempt }
	switch {
	case s.env.Holder != nil && same(*s.env.Holder):
		s.tellGranted()
		return
	case slices.ContainsFunc(s.env.Queue, same):
		return
	case s.outdated(c):
		s.supersede(c.Delivery, s.env.NewestName)
		return
	}
	if e.Supersede {
		s.supersedeOlder(c)
	}
	s.env.Queue = append(s.env.Queue, c)
	if s.env.Holder != nil {
		s.tellQueued(c)
	}
}

func (s *environmentStepper) outdated(c Claim) bool {
	return !c.Back && c.Order < s.env.Newest && c.Delivery != s.env.NewestID
}

// supersedeOlder ends the older deliveries that have not had the environment.
func (s *environmentStepper) supersedeOlder(newer Claim) {
	older := map[string]bool{}
	for _, o := range s.env.Enrolled {
		if o.Order < newer.Order {
			older[o.Delivery] = true
		}
	}
	for _, o := range s.env.Queue {
		if o.Order < newer.Order && !o.Back {
			older[o.Delivery] = true
		}
	}
	if s.env.Holder != nil {
		delete(older, s.env.Holder.Delivery)
	}
	delete(older, newer.Delivery)
	ids := make([]string, 0, len(older))
	for id := range older {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		s.supersede(id, newer.Name)
	}
}

func (s *environmentStepper) supersede(delivery, by string) {
	s.forget(delivery)
	s.send(delivery, Superseded{Environment: s.env.Name, By: by})
}

// forget drops a delivery's wishes, but not the lock that it holds.
func (s *environmentStepper) forget(delivery string) {
	s.env.Queue = slices.DeleteFunc(s.env.Queue, func(c Claim) bool { return c.Delivery == delivery && !c.Back })
	s.env.Enrolled = slices.DeleteFunc(s.env.Enrolled, func(o Enrolment) bool { return o.Delivery == delivery })
}

func (s *environmentStepper) returned(e LockReturned) {
	mine := func(c Claim) bool { return c.Delivery == e.Delivery && c.Stage == e.Stage && c.Attempt == e.Attempt }
	s.env.Queue = slices.DeleteFunc(s.env.Queue, mine)
	if s.env.Holder == nil || !mine(*s.env.Holder) {
		return
	}
	holder := *s.env.Holder
	s.env.Holder = nil
	if e.Kept != nil {
		s.env.Kept = append(s.env.Kept, *e.Kept)
		s.clearKept()
	}
	if e.Failed != nil {
		s.condemn(e.Failed.ID)
	}
	switch {
	case e.Emptied:
		s.env.Releases, s.env.Unsure = nil, nil
	case e.Unsure:
		s.env.Unsure = &Unsure{Since: s.now, Of: firstNonEmpty(holder.Of, holder.Delivery), By: holder.Name, Left: e.Left, Apart: e.Apart}
	case e.Released != nil:
		s.released(*e.Released, holder)
	}
}

// condemn marks a release that is never gone back to.
func (s *environmentStepper) condemn(id string) {
	for i := range s.env.Releases {
		if s.env.Releases[i].ID == id {
			s.env.Releases[i].Bad = true
		}
	}
}

// released records what runs from now on.
func (s *environmentStepper) released(r Release, by Claim) {
	was, unsure := s.env.Current(), s.env.Unsure
	s.env.Releases, s.env.Unsure = append(s.env.Releases, r), nil
	if n := len(s.env.Releases); n > KeptReleases {
		s.env.Releases = s.env.Releases[n-KeptReleases:]
	}
	s.tellReplaced(was, r, by)
	if unsure != nil && unsure.Of != r.Delivery && unsure.Of != by.Delivery {
		s.send(unsure.Of, Replaced{Environment: s.env.Name, By: by.Name})
	}
}

// tellReplaced lets deliveries know whether what they brought runs. The one that changed it knows.
func (s *environmentStepper) tellReplaced(was *Release, is Release, by Claim) {
	if was != nil && was.ID == is.ID {
		return
	}
	if was != nil && was.Delivery != by.Delivery {
		s.send(was.Delivery, Replaced{Environment: s.env.Name, Release: was.ID, By: by.Name})
	}
	before := s.env.Releases[:len(s.env.Releases)-1]
	if slices.ContainsFunc(before, func(r Release) bool { return r.ID == is.ID }) {
		s.send(is.Delivery, Replaced{Environment: s.env.Name, Release: is.ID})
	}
}

func (s *environmentStepper) departed(delivery string) {
	s.env.Queue = slices.DeleteFunc(s.env.Queue, func(c Claim) bool { return c.Delivery == delivery })
	s.forget(delivery)
	if s.env.Holder != nil && s.env.Holder.Delivery == delivery {
		s.env.Holder = nil
	}
}

// next hands the environment to who is first in the queue.
func (s *environmentStepper) next() {
	granted := false
	for s.env.Holder == nil && len(s.env.Queue) > 0 {
		c := s.env.Queue[0]
		s.env.Queue = slices.Delete(s.env.Queue, 0, 1)
		if s.outdated(c) {
			s.supersede(c.Delivery, s.env.NewestName)
			continue
		}
		s.env.Holder, granted = &c, true
		if !c.Back && !c.Down {
			s.env.Enrolled = slices.DeleteFunc(s.env.Enrolled, func(o Enrolment) bool { return o.Delivery == c.Delivery })
			if c.Order >= s.env.Newest {
				s.env.Newest, s.env.NewestID, s.env.NewestName = c.Order, c.Delivery, c.Name
			}
		}
		s.tellGranted()
	}
	if !granted {
		return
	}
	for _, c := range s.env.Queue { // they wait for somebody else now
		s.tellQueued(c)
	}
}

func (s *environmentStepper) tellQueued(c Claim) {
	s.send(c.Delivery, LockQueued{Environment: s.env.Name, Stage: c.Stage, Attempt: c.Attempt, Holder: s.env.Holder.Name})
}

func (s *environmentStepper) tellGranted() {
	c := s.env.Holder
	target, why := s.target(*c)
	granted := LockGranted{
		Environment: s.env.Name, Stage: c.Stage, Attempt: c.Attempt, Current: s.env.LastGood(), Unsure: s.env.Unsure, Target: target, Why: why,
	}
	if c.Down {
		granted.Releases = s.env.Releases
	}
	if c.Compare != "" {
		granted.Compare, granted.Why = s.compared(c.Compare)
	}
	s.send(c.Delivery, granted)
}

// remind tells the holder again that it holds: one that has forgotten gives back.
func (s *environmentStepper) remind() {
	if s.env.Holder != nil {
		s.tellGranted()
	}
}

// target is the release that a rollback goes to: the one asked for, or the newest good
// one that neither runs nor is of the delivery that is undone. If there is none it is nil,
// and why says why.
func (s *environmentStepper) target(c Claim) (to *Release, why string) {
	current := s.env.Current()
	if !c.Back || current == nil {
		return nil, ""
	}
	for _, r := range slices.Backward(s.env.Releases) {
		runs := s.env.Unsure == nil && r.ID == current.ID
		switch {
		case !r.named(c.To) || c.To == "" && (s.env.bad(r) || c.Of != "" && r.Delivery == c.Of):
		case runs && c.To != "":
			return nil, fmt.Sprintf("%s runs in %s already", Short(r.SHA), s.env.Name)
		case runs:
		case s.env.bad(r):
			return nil, fmt.Sprintf("release %s of %s has failed or was rolled back, and is never gone back to", Short(r.SHA), s.env.Name)
		default:
			return &r, ""
		}
	}
	if c.To != "" {
		return nil, fmt.Sprintf("%s remembers no release %s", s.env.Name, c.To)
	}
	return nil, ""
}

// compared is the release with which a canary wants to be compared: never one that has failed,
// because its pods get traffic again. If there is none it is nil, and why says why.
func (s *environmentStepper) compared(name string) (with *Release, why string) {
	for _, r := range slices.Backward(s.env.Releases) {
		switch {
		case !r.named(name):
		case s.env.bad(r):
			return nil, fmt.Sprintf("release %s of %s has failed or was rolled back, and nothing is compared with it", Short(r.SHA), s.env.Name)
		default:
			return &r, ""
		}
	}
	return nil, fmt.Sprintf("%s remembers no release %s to compare with", s.env.Name, name)
}

// clearKept lets the releases go whose time to be looked at is over, and the oldest of too many.
func (s *environmentStepper) clearKept() {
	tooMany := len(s.env.Kept) - MostKept
	s.env.Kept = slices.DeleteFunc(s.env.Kept, func(k Kept) bool {
		over := !s.now.Before(k.Until) || tooMany > 0
		tooMany--
		if over {
			s.send(k.Delivery, KeepEnded{Environment: s.env.Name, Release: k.Release})
		}
		return over
	})
}

func (e *Environment) clone() Environment {
	c := *e
	c.Queue, c.Enrolled, c.Releases, c.Kept = slices.Clone(e.Queue), slices.Clone(e.Enrolled), slices.Clone(e.Releases), slices.Clone(e.Kept)
	if e.Holder != nil {
		holder := *e.Holder
		c.Holder = &holder
	}
	return c
}

// Encode is the stored form of the state.
func (e *Environment) Encode() ([]byte, error) { return json.Marshal(e) }

// DecodeEnvironment reads the stored form. A newer schema is an error.
func DecodeEnvironment(data []byte) (Environment, error) {
	var e Environment
	if err := json.Unmarshal(data, &e); err != nil {
		return Environment{}, fmt.Errorf("decode environment: %w", err)
	}
	if e.Schema > EnvironmentSchema {
		return Environment{}, fmt.Errorf("decode environment %s: schema %d is newer than %d", e.ID, e.Schema, EnvironmentSchema)
	}
	return e, nil
}
