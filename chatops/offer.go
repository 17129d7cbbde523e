package chatops

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Offer is something that a person can do about a delivery at the press of a button.
type Offer struct {
	What   pipeline.Verb
	Token  string // opaque, for the value of the button: see ParseOffer
	Label  string
	Danger bool
	Ask    string // what is asked back, because a finger slips easily
	More   string // what then happens
}

// offers are the buttons beside those of questions: to roll back and to promote while a
// release is on standby, and to roll back what was delivered.
func offers(v pipeline.View) []Offer {
	s, standby := offered(v)
	if s == nil {
		return nil
	}
	environment, from, to := Line(s.Environment, maxLabel), pipeline.Short(v.SHA), Line(s.Previous, maxLabel)
	release := to
	if !shortForm.MatchString(release) {
		release = "" // what ran before was no release, and has no other name here than "before"
	}
	back := Offer{
		What: pipeline.VerbRollback, Token: offerToken(pipeline.VerbRollback, v.ID, release, s.Environment), Label: "Roll back " + environment,
		Danger: true, Ask: "Roll " + environment + " back?", More: fmt.Sprintf("%s goes back from %s to %s.", environment, from, to),
	}
	if !standby {
		return []Offer{back}
	}
	back.More = fmt.Sprintf("The traffic of %s goes back from %s to %s, and the delivery ends.", environment, from, to)
	if !v.MayPromote {
		return []Offer{back}
	}
	return []Offer{{
		What: pipeline.VerbPromote, Token: offerToken(pipeline.VerbPromote, v.ID, "", s.Environment), Label: "Promote now",
		Ask: "End the standby of " + to + "?", More: fmt.Sprintf("%s is removed from %s, and %s stays. After that a rollback takes longer.", to, environment, from),
	}, back}
}

// offered is the deploy that a button can take back, nil if there is none, and whether what
// it replaced is still on standby.
func offered(v pipeline.View) (s *pipeline.StageView, standby bool) {
	if !v.MayRollback {
		return nil, false
	}
	for i := range v.Stages {
		if s := &v.Stages[i]; !s.Standby.IsZero() && s.Previous != "" && s.Status == pipeline.StageRunning {
			return s, true
		}
	}
	if v.Status != pipeline.StatusSucceeded {
		return nil, false
	}
	for i := len(v.Stages) - 1; i >= 0; i-- { // the last one is what a rollback takes
		s := &v.Stages[i]
		if s.Kind != pipeline.KindDeploy || s.Status != pipeline.StageSucceeded || s.Now == "" {
			continue
		}
		if !shortForm.MatchString(s.Previous) || s.Previous == s.Now {
			return nil, false // there is no release to go back to, or a command has to say which
		}
		return s, false
	}
	return nil, false
}

// offerToken names an offer: verb/delivery/release/environment. Only the last may hold a
// slash. It says nothing about rights, which are looked up when it comes back.
func offerToken(what pipeline.Verb, delivery, release, environment string) string {
	return strings.Join([]string{string(what), delivery, release, environment}, "/")
}

var shortForm = regexp.MustCompile(`^[0-9a-zA-Z]{4,8}$`)

// ParseOffer reads the token of an offer: the delivery that it is about, and the wish.
func ParseOffer(token string) (delivery string, r pipeline.Request, err error) {
	parts := strings.SplitN(token, "/", 4)
	if len(parts) != 4 || parts[1] == "" || parts[3] == "" {
		return "", r, errors.New("parse offer: want verb/delivery/release/environment")
	}
	r = pipeline.Request{What: pipeline.Verb(parts[0]), Release: parts[2], Environment: parts[3]}
	switch {
	case r.What == pipeline.VerbRollback && (r.Release == "" || shortForm.MatchString(r.Release)), r.What == pipeline.VerbPromote && r.Release == "":
		return parts[1], r, nil
	}
	return "", pipeline.Request{}, errors.New("parse offer: want a rollback to a release, or a promotion")
}
