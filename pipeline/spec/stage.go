package spec

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// stageKinds are what a stage of the file can do, in the order in which people are told.
func stageKinds() []pipeline.StageKind {
	return []pipeline.StageKind{
		pipeline.KindDeploy, pipeline.KindCanary, pipeline.KindRun, pipeline.KindJudgement, pipeline.KindWait,
		pipeline.KindJob, pipeline.KindTrigger, pipeline.KindNotify, pipeline.KindValidate,
	}
}

func words(kinds []pipeline.StageKind) string {
	list := make([]string, 0, len(kinds))
	for _, k := range kinds {
		list = append(list, string(k))
	}
	return listed(list)
}

// does tells whether the stage does this.
func (s *Stage) does(kind pipeline.StageKind) bool {
	switch kind {
	case pipeline.KindDeploy:
		return s.Deploy != nil
	case pipeline.KindCanary:
		return s.Canary != nil
	case pipeline.KindRun:
		return s.Run != nil
	case pipeline.KindJudgement:
		return s.Judgement != nil
	case pipeline.KindWait:
		return s.Wait != nil
	case pipeline.KindJob:
		return s.Job != nil
	case pipeline.KindTrigger:
		return s.Trigger != nil
	case pipeline.KindNotify:
		return s.Notify != nil
	case pipeline.KindValidate:
		return s.Validate != nil
	case pipeline.KindRollback, pipeline.KindTearDown: // not written in files
	}
	return false
}

// kinds lists what the stage does.
func (s *Stage) kinds() []pipeline.StageKind {
	return slices.DeleteFunc(stageKinds(), func(k pipeline.StageKind) bool { return !s.does(k) })
}

// checkStage holds a stage against what is so of all, and its kind against what only says of
// the place in the file; nil allows every kind.
func (c *checker) checkStage(path string, s *Stage, only func(path string, s *Stage, kind pipeline.StageKind)) {
	kinds := s.kinds()
	switch len(kinds) {
	case 0:
		if c.tried(path) {
			break
		}
		c.add(path, "this stage does nothing", "give it one of "+words(stageKinds()))
	case 1:
		c.checkKeys(path, s, kinds[0])
		if only != nil {
			only(path, s, kinds[0])
		}
	default:
		c.add(path+"."+string(kinds[1]), "this stage does two things: "+words(kinds), "make a stage of each")
	}
	if s.If != "" {
		c.condition(path+".if", string(s.If), c.scopes[path])
	}
	if s.Deploy != nil {
		c.checkDeploy(path+".deploy", s.Deploy)
	}
	if s.Canary != nil {
		c.checkCanary(path+".canary", s)
	}
	if s.Run != nil {
		c.checkRun(path + ".run")
		c.needsEnvironment(path + ".run")
	}
	c.checkChecks(path+".check", s.Check, s)
	c.checkChecks(path+".validate", s.Validate, s)
}

// tried tells that the stage cannot be read, or what it does: that was said already.
func (c *checker) tried(path string) bool {
	if !c.readable(path) {
		return true
	}
	keys := []string{"webhook"} // of later versions
	for _, k := range stageKinds() {
		keys = append(keys, string(k))
	}
	return slices.ContainsFunc(keys, func(key string) bool { return c.f.given(path + "." + key) })
}

// readable tells that there are keys and values at the path.
func (c *checker) readable(path string) bool {
	_, mapping := c.f.spots[path].node.(ast.MapNode)
	return mapping
}

// checkKeys refuses keys that mean nothing to this kind of stage.
func (c *checker) checkKeys(path string, s *Stage, kind pipeline.StageKind) {
	tried := []pipeline.StageKind{pipeline.KindDeploy, pipeline.KindCanary, pipeline.KindRun, pipeline.KindJob, pipeline.KindTrigger, pipeline.KindValidate}
	if !slices.Contains(tried, kind) {
		if s.Timeout != "" {
			hint := "remove it"
			switch kind {
			case pipeline.KindJudgement:
				hint = "expires in judgement says how long people have"
			case pipeline.KindWait:
				hint = "a wait lasts as long as it says"
			default: // a notify takes no time
			}
			c.add(path+".timeout", "timeout is for "+words(tried), hint)
		}
		if c.f.given(path + ".retry") {
			c.add(path+".retry", "retry is for "+words(tried), "remove it")
		}
	}
	lasting := []pipeline.StageKind{pipeline.KindDeploy, pipeline.KindRun, pipeline.KindJob}
	if s.Rollback != "" && !slices.Contains(lasting, kind) {
		c.add(path+".rollback", "rollback: never is for "+words(lasting), "write it where something is done that does not go back")
	}
	if kind == pipeline.KindCanary && s.Check != nil {
		c.add(path+".check", "a canary stage has metrics, and no checks", "make a validate stage of its own for it")
	}
	if kind == pipeline.KindValidate && s.Check != nil {
		c.add(path+".check", "a validate stage has its checks in validate", "move this one there")
	}
}

// checkAfter refuses what a stage of rollback cannot do: it comes when the environments
// are given back, and after everything else.
func (c *checker) checkAfter(path string, s *Stage, kind pipeline.StageKind) {
	able := []pipeline.StageKind{pipeline.KindJob, pipeline.KindTrigger, pipeline.KindNotify, pipeline.KindWait, pipeline.KindValidate}
	if !slices.Contains(able, kind) {
		c.add(path+"."+string(kind), fmt.Sprintf("a stage of rollback cannot be a %s", kind), "use one of "+words(able))
	}
	if s.Needs != nil {
		c.add(path+".needs", "the stages of rollback run one after the other", "remove needs")
	}
	if s.OnFailure == pipeline.FailRollback {
		c.add(path+".on_failure", "after a rollback there is nothing to roll back", "use stop or continue")
	}
	if s.Rollback != "" {
		c.add(path+".rollback", "after a rollback there is nothing to roll back", "remove it")
	}
	for key, checks := range map[string]Checks{".check": s.Check, ".validate": s.Validate} {
		for i, k := range checks {
			for _, what := range k.kinds() {
				if what != "http" {
					c.add(fmt.Sprintf("%s%s[%d].%s", path, key, i, what), "a stage of rollback can only have http checks", "")
				}
			}
		}
	}
}

// checkReview refuses what a review cannot do: nobody waits for it, and nothing is kept for
// its way back. Jobs and CI pipelines would run as Slipway's own user, by the word of whoever
// can push a branch.
func (c *checker) checkReview(path string, s *Stage, kind pipeline.StageKind) {
	able := []pipeline.StageKind{pipeline.KindDeploy, pipeline.KindRun, pipeline.KindWait, pipeline.KindNotify, pipeline.KindValidate}
	if !slices.Contains(able, kind) {
		c.add(path+"."+string(kind), fmt.Sprintf("a stage of review cannot be a %s", kind), "use one of "+words(able))
	}
	if s.Deploy != nil && s.Deploy.Strategy != "" && s.Deploy.Strategy != pipeline.StrategyRolling {
		c.add(path+".deploy.strategy", "a review is deployed rolling", "remove strategy")
	}
	if s.Rollback != "" {
		c.add(path+".rollback", "what a review did goes with it", "remove it")
	}
}

func (c *checker) checkDeploy(path string, d *Deploy) {
	if d.Strategy == pipeline.StrategyBlueGreen || d.Strategy == "" && c.f.given(path+".strategy") {
		return
	}
	for _, key := range []string{"standby", "keep_failed", "traffic"} {
		if c.f.given(join(path, key)) {
			c.add(join(path, key), key+" is for the strategy blue-green", "add strategy: blue-green, or remove it")
		}
	}
}

// checkRun holds the two ways to write a Kubernetes Job apart.
func (c *checker) checkRun(path string) {
	manifests, image := c.f.given(path+".manifests"), c.f.given(path+".image")
	wrong, right := []string{}, ""
	switch {
	case manifests && image:
		c.add(path+".image", "the Job comes from manifests or is made of an image, not both", "remove one of them")
	case manifests:
		wrong, right = []string{"command", "args", "env", "service_account"}, "image"
	case image:
		wrong, right = []string{"images", "helm", "job"}, "manifests"
	case c.readable(path):
		c.add(path, "it is not said what is run", "add manifests or image")
	}
	for _, key := range wrong {
		if c.f.given(join(path, key)) {
			c.add(join(path, key), fmt.Sprintf("%s goes with %s", key, right), "remove it")
		}
	}
}

func (c *checker) needsEnvironment(path string) {
	if c.readable(path) && !c.f.given(path+".environment") {
		c.add(path, "it is not said in which environment this is run", "add environment")
	}
}

// environment is what the stage's deploy or run names.
func (s *Stage) environment() Environment {
	switch {
	case s.Deploy != nil:
		return s.Deploy.Environment
	case s.Canary != nil:
		return s.Canary.Environment
	case s.Run != nil:
		return s.Run.Environment
	}
	return ""
}
