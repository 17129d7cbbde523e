package pipeline

import (
	"fmt"
	"slices"
	"time"
)

// EnvironmentSchema is the version of the stored form of Environment.
const EnvironmentSchema = 2

// KeptReleases is how many releases an environment remembers.
const KeptReleases = 20

// MostKept is how many failed releases an environment keeps for people to look at: their pods cost what they cost.
const MostKept = 3

// EnvironmentID names the aggregate of one environment of one project.
func EnvironmentID(project int64, name string) string {
	return fmt.Sprintf("%d/%s", project, name)
}

// Environment owns the lock on one GitLab environment, the queue of deliveries that
// want it, and the history of its releases.
type Environment struct {
	Schema  int    `json:"schema"`
	ID      string `json:"id"`
	Project int64  `json:"project"`
	Name    string `json:"name"`
	Holder  *Claim `json:"holder,omitempty"`
	// Queue holds who waits, first come first served.
	Queue []Claim `json:"queue,omitempty"`
	// Enrolled are live deliveries that will want the environment and have not had it.
	Enrolled []Enrolment `json:"enrolled,omitempty"`
	// Newest is the order of the newest delivery that was granted the environment to deploy.
	Newest     int64  `json:"newest,omitempty"`
	NewestID   string `json:"newest_id,omitempty"`
	NewestName string `json:"newest_name,omitempty"` // for people: "!12 (3f2a91c0)"
	// Kept are releases that failed and are still there for people to look at.
	Kept []Kept `json:"kept,omitempty"`
	// Releases, oldest first; the last one runs, unless the environment is empty, or unsure.
	Releases []Release `json:"releases,omitempty"`
	// Unsure: nobody knows what runs, nil if it is known.
	Unsure  *Unsure   `json:"unsure,omitempty"`
	Updated time.Time `json:"updated,omitzero"`
	Sent    int       `json:"sent,omitempty"` // messages, so that each gets a key of its own
}

// Claim is one stage's wish for the environment.
type Claim struct {
	Delivery string    `json:"delivery"`
	Stage    string    `json:"stage"`
	Attempt  int       `json:"attempt"`
	Order    int64     `json:"order"`
	Name     string    `json:"name"`              // of the delivery, for people
	Back     bool      `json:"back,omitempty"`    // to go back, not forward
	Of       string    `json:"of,omitempty"`      // the delivery that a rollback undoes
	To       string    `json:"to,omitempty"`      // the release that a rollback wants, "" lets the environment choose
	Down     bool      `json:"down,omitempty"`    // to remove what runs there
	Compare  string    `json:"compare,omitempty"` // the release that a canary wants to be compared with
	Since    time.Time `json:"since"`
}

// Unsure says since when nobody knows what runs in an environment: a rollback has failed half-way.
type Unsure struct {
	Since time.Time `json:"since"`
	Of    string    `json:"of"` // the delivery that was to be taken back
	By    string    `json:"by"` // whose rollback it was, for people
	// Left is the release that was to be taken away, nil if it was never recorded.
	Left *Release `json:"left,omitempty"`
	// Apart: pods of several releases may be beside each other, and any of them may have the traffic.
	Apart bool `json:"apart,omitempty"`
}

// apart is false where all is known.
func (u *Unsure) apart() bool { return u != nil && u.Apart }

// left is nil where all is known.
func (u *Unsure) left() *Release {
	if u == nil {
		return nil
	}
	return u.Left
}

// Kept is a release without traffic that is removed when its time is over.
type Kept struct {
	Delivery string    `json:"delivery"` // that brought it, and removes it
	Release  Release   `json:"release"`
	Until    time.Time `json:"until"`
}

// Enrolment is a delivery that will come.
type Enrolment struct {
	Delivery string `json:"delivery"`
	Order    int64  `json:"order"`
}

// Current is the release that was recorded last, and that runs unless the environment is Unsure. nil if there is none.
func (e *Environment) Current() *Release {
	if len(e.Releases) == 0 {
		return nil
	}
	r := e.Releases[len(e.Releases)-1]
	return &r
}

// Empty tells that nothing runs there, as far as Slipway knows.
func (e *Environment) Empty() bool { return len(e.Releases) == 0 && e.Unsure == nil }

// LastGood is the release to build on and to go back to: the one that runs, or the last one that ran well where that is
// unsure. nil if there is none.
func (e *Environment) LastGood() *Release {
	if e.Unsure == nil {
		return e.Current()
	}
	for _, r := range slices.Backward(e.Releases) {
		if !e.bad(r) {
			return &r
		}
	}
	return nil
}

// bad tells that a release has failed, here or when it was brought back.
func (e *Environment) bad(r Release) bool {
	return slices.ContainsFunc(e.Releases, func(o Release) bool { return o.ID == r.ID && o.Bad })
}
