package pipeline

import "gitlab.com/slipway-cd/slipway/pipeline/policy"

// definition is the stage as it applies now: resolved, if it had to be.
func (d *Delivery) definition(plan *Plan, s *StageState) Stage {
	if s.Resolved != nil {
		return *s.Resolved
	}
	def, _ := plan.Stage(s.Name)
	return def
}

// judgementRules are the rules that must all agree to an answer.
func judgementRules(plan *Plan, def Stage) []policy.Rule {
	rules := []policy.Rule{def.Judgement.Rule}
	if env, ok := plan.Environments[def.Judgement.Environment]; ok && !env.Rule.IsZero() {
		rules = append(rules, env.Rule)
	}
	return rules
}

// retryable tells that a retry would have something to do.
func (d *Delivery) retryable() bool { return false }

// Deployed tells that the delivery has changed an environment.
func (d *Delivery) Deployed() bool { return false }
