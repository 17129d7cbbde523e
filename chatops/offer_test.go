package chatops

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const newSHA = "3f2a91c04b7d5e6f3f2a91c04b7d5e6f3f2a91c0"

// deployed is a delivery with one deploy, which has succeeded.
func deployed() pipeline.View {
	return pipeline.View{
		ID: "7-12-3f2a91c0", SHA: newSHA, Status: pipeline.StatusSucceeded, MayRollback: true,
		Stages: []pipeline.StageView{{
			Name: "live", Kind: pipeline.KindDeploy, Status: pipeline.StageSucceeded, Environment: "review/eu", Previous: "1a2b3c4d", Now: "3f2a91c0",
		}},
	}
}

// standby is the same one while what ran before is on standby.
func standby() pipeline.View {
	v := deployed()
	v.Status, v.MayPromote = pipeline.StatusRunning, true
	s := &v.Stages[0]
	s.Status, s.Now, s.Standby = pipeline.StageRunning, "", time.Date(2026, 3, 2, 14, 5, 0, 0, time.UTC)
	return v
}

func TestOffersAreMadeWhereTheyCanBeKept(t *testing.T) {
	edited := func(v pipeline.View, edit func(*pipeline.View)) pipeline.View {
		edit(&v)
		return v
	}
	for _, c := range []struct {
		name string
		view pipeline.View
		want string
	}{
		{"delivered", deployed(), "Roll back review/eu"},
		{"on standby", standby(), "Promote now, Roll back review/eu"},
		{"on standby, with a check that has not passed", edited(standby(), func(v *pipeline.View) { v.MayPromote = false }), "Roll back review/eu"},
		{"under way", edited(standby(), func(v *pipeline.View) { v.Stages[0].Standby = time.Time{} }), ""},
		{"not to be rolled back", edited(deployed(), func(v *pipeline.View) { v.MayRollback = false }), ""},
		{"the first release", edited(deployed(), func(v *pipeline.View) { v.Stages[0].Previous = "" }), ""},
		{"on standby is what was no release", edited(standby(), func(v *pipeline.View) { v.Stages[0].Previous = "Deployment shop" }), "Promote now, Roll back review/eu"},
		{"it took over from what was no release", edited(deployed(), func(v *pipeline.View) { v.Stages[0].Previous = "Deployment shop" }), ""},
		{"the same commit once more", edited(deployed(), func(v *pipeline.View) { v.Stages[0].Previous = "3f2a91c0" }), ""},
		{"nothing was changed", edited(deployed(), func(v *pipeline.View) { v.Stages[0].Now = "" }), ""},
		{"failed", edited(deployed(), func(v *pipeline.View) { v.Status = pipeline.StatusFailed }), ""},
		{"the last deploy is what goes back", edited(deployed(), func(v *pipeline.View) {
			v.Stages = append(v.Stages, pipeline.StageView{Kind: pipeline.KindDeploy, Status: pipeline.StageSucceeded, Environment: "us", Previous: "9d9d9d9d", Now: "3f2a91c0"})
		}), "Roll back us"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var labels []string
			for _, o := range NewCard(c.view, "", "").Offers {
				labels = append(labels, o.Label)
			}
			if got := strings.Join(labels, ", "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnOfferSaysFromWhatToWhat(t *testing.T) {
	want := []Offer{
		{
			What: pipeline.VerbPromote, Token: "promote/7-12-3f2a91c0//review/eu", Label: "Promote now", Ask: "End the standby of 1a2b3c4d?",
			More: "1a2b3c4d is removed from review/eu, and 3f2a91c0 stays. After that a rollback takes longer.",
		},
		{
			What: pipeline.VerbRollback, Token: "rollback/7-12-3f2a91c0/1a2b3c4d/review/eu", Label: "Roll back review/eu", Danger: true,
			Ask: "Roll review/eu back?", More: "The traffic of review/eu goes back from 3f2a91c0 to 1a2b3c4d, and the delivery ends.",
		},
	}
	if diff := cmp.Diff(want, NewCard(standby(), "", "").Offers); diff != "" {
		t.Error(diff)
	}
	if got, want := NewCard(deployed(), "", "").Offers[0].More, "review/eu goes back from 3f2a91c0 to 1a2b3c4d."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOffersAreReadBack(t *testing.T) {
	for token, want := range map[string]pipeline.Request{
		"rollback/7-12-3f2a91c0/1a2b3c4d/review/eu": {What: pipeline.VerbRollback, Release: "1a2b3c4d", Environment: "review/eu"},
		"rollback/7-12-3f2a91c0//production":        {What: pipeline.VerbRollback, Environment: "production"},
		"promote/7-12-3f2a91c0//production":         {What: pipeline.VerbPromote, Environment: "production"},
	} {
		delivery, got, err := ParseOffer(token)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || delivery != "7-12-3f2a91c0" {
			t.Errorf("%s: %q, %v\n%s", token, delivery, err, diff)
		}
	}
	for _, token := range []string{
		"", "7-12-3f2a91c0/go-live/1", "rollback/7-12-3f2a91c0/production", "rollback/7-12-3f2a91c0/Deployment shop/production", "rollback//1a2b3c4d/production",
		"rollback/7-12-3f2a91c0/1a2b3c4d/", "promote/7-12-3f2a91c0/1a2b3c4d/production", "cancel/7-12-3f2a91c0//production",
		"approve/7-12-3f2a91c0//production", "rollback/7-12-3f2a91c0/../production", "/7-12-3f2a91c0//production",
	} {
		if delivery, r, err := ParseOffer(token); err == nil || delivery != "" || r != (pipeline.Request{}) {
			t.Errorf("%q was read as %q, %+v", token, delivery, r)
		}
	}
}
