package pipeline

import (
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// TestAJudgedEnvironmentTakesDevelopers: whoever can merge can name anybody in the pipeline
// file, and must not let in somebody whom the operator's rules would not.
func TestAJudgedEnvironmentTakesDevelopers(t *testing.T) {
	def := Stage{Kind: KindJudgement, Judgement: &Judgement{Environment: "production", Rule: policy.Rule{Approvers: []string{"user:gus"}}}}
	for _, c := range []struct {
		name   string
		judged bool
		access policy.AccessLevel
		want   bool
	}{
		{"a guest whom the file names, where the operator asks for a judgement", true, policy.Guest, false},
		{"a developer whom the file names", true, policy.Developer, true},
		{"a guest where the operator asks for nothing", false, policy.Guest, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := &Plan{Environments: map[string]EnvironmentRules{"production": {Judged: c.judged}}}
			gus := policy.Person{ID: 7, Username: "gus", Access: c.access}
			if a := policy.MayJudge(gus, policy.Facts{}, judgementRules(plan, def)...); a.Allowed != c.want {
				t.Errorf("got %+v, want %v", a, c.want)
			}
		})
	}
}
