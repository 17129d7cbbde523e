package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// checker says what the types of the file cannot: how its parts go together.
type checker struct {
	f           *File
	problems    *problems
	graph       *graph
	lang        *language
	expressions int
}

func (c *checker) at(path string) position {
	for path != "" {
		if sp, ok := c.f.spots[path]; ok {
			return sp.at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return position{1, 1}
}

func (c *checker) add(path, what, hint string) { c.problems.add(c.at(path), what, hint) }

func (c *checker) check() {
	c.f.templates = map[string]*template{}
	c.graph = newGraph(c.f.Stages)
	c.checkGraph()
	for i, l := range c.f.Links {
		path := fmt.Sprintf("links[%d]", i)
		c.template(path+".title", string(l.Title), nil)
		c.template(path+".url", string(l.URL), nil)
	}
	c.template("slack", string(c.f.Slack), nil)
	for i := range c.f.Stages {
		c.checkStage(i, &c.f.Stages[i])
	}
}

func (c *checker) checkStage(i int, s *Stage) {
	path := fmt.Sprintf("stages[%d]", i)
	kinds := s.kinds()
	switch len(kinds) {
	case 0:
		if c.tried(path) {
			break
		}
		c.add(path, "this stage does nothing", "give it one of deploy, judgement, wait and job")
	case 1:
		c.checkKeys(path, s, pipeline.StageKind(kinds[0]))
	default:
		c.add(path+"."+kinds[1], "this stage does two things: "+listed(kinds), "make a stage of each")
	}
	if s.If != "" {
		c.condition(path+".if", string(s.If), i)
	}
	where := &scope{stage: i, before: c.graph.before(i)}
	if s.Deploy != nil {
		c.template(path+".deploy.environment", string(s.Deploy.Environment), &scope{stage: i, frozen: "environments are asked for when the delivery starts"})
		c.template(path+".deploy.manifests", string(s.Deploy.Manifests), where)
		c.images(path+".deploy.images", s.Deploy.Images, where)
	}
	if s.Judgement != nil {
		c.template(path+".judgement.ask", string(s.Judgement.Ask), where)
	}
	if s.Job != nil {
		c.template(path+".job.name", string(s.Job.Name), where)
	}
}

// tried tells that the stage cannot be read, or what it does: that was said already.
func (c *checker) tried(path string) bool {
	if _, mapping := c.f.spots[path].node.(ast.MapNode); !mapping {
		return true
	}
	for _, key := range []string{"deploy", "judgement", "wait", "job", "canary", "validate", "trigger", "webhook", "run", "rollback"} {
		if _, given := c.f.spots[path+"."+key]; given {
			return true
		}
	}
	return false
}

// kinds lists what the stage does.
func (s *Stage) kinds() []string {
	var kinds []string
	for _, k := range []struct {
		kind  pipeline.StageKind
		given bool
	}{
		{pipeline.KindDeploy, s.Deploy != nil}, {pipeline.KindJudgement, s.Judgement != nil},
		{pipeline.KindWait, s.Wait != nil}, {pipeline.KindJob, s.Job != nil},
	} {
		if k.given {
			kinds = append(kinds, string(k.kind))
		}
	}
	return kinds
}

// checkKeys refuses keys that mean nothing to this kind of stage.
func (c *checker) checkKeys(path string, s *Stage, kind pipeline.StageKind) {
	if kind == pipeline.KindDeploy || kind == pipeline.KindJob {
		return
	}
	hint := "a wait lasts as long as it says"
	if kind == pipeline.KindJudgement {
		hint = "expires in judgement says how long people have"
	}
	if s.Timeout != "" {
		c.add(path+".timeout", "timeout is for deploy and job", hint)
	}
	if _, given := c.f.spots[path+".retry"]; given {
		c.add(path+".retry", "retry is for deploy and job", "remove it")
	}
}

func (c *checker) images(path string, images map[string]Image, where *scope) {
	for _, name := range slices.Sorted(keys(images)) {
		if what, hint := Image("").check(name); what != "" {
			c.problems.add(c.f.spots[join(path, name)+"#key"].at, what, hint)
		}
		c.template(join(path, name), string(images[name]), where)
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// scope says which earlier stages an expression may ask for. A nil scope has none.
type scope struct {
	stage  int
	before map[int]bool
	frozen string // why none may be asked for
}

func (c *checker) template(path, text string, where *scope) {
	n := strings.Count(text, opening)
	if n == 0 || !c.ready(path, n) {
		return
	}
	t, flaws := c.lang.template(text)
	c.keep(path, t, flaws, where)
}

func (c *checker) condition(path, text string, stage int) {
	if !c.ready(path, 1) {
		return
	}
	t, flaws := c.lang.condition(text)
	c.keep(path, t, flaws, &scope{stage: stage, before: c.graph.before(stage)})
}

// ready prepares the language when the first expression is met, and counts them.
func (c *checker) ready(path string, expressions int) bool {
	before := c.expressions
	c.expressions += expressions
	if c.expressions > maxExpressions {
		if before <= maxExpressions {
			c.add(path, fmt.Sprintf("the file has more than %d expressions", maxExpressions), "")
		}
		return false
	}
	if c.lang == nil {
		lang, err := newLanguage()
		if err != nil {
			c.add(path, "expressions cannot be read here: "+err.Error(), "")
			return false
		}
		c.lang = lang
	}
	return true
}

func (c *checker) keep(path string, t *template, flaws []flaw, where *scope) {
	sp := c.f.spots[path]
	for _, f := range flaws {
		c.problems.add(c.f.source.within(sp, f.offset), f.what, f.hint)
	}
	if t == nil {
		return
	}
	for _, p := range t.parts {
		if p.expr == nil {
			continue
		}
		if p.expr.dynamic && (where == nil || where.frozen != "") {
			why := "it is filled in when the delivery starts"
			if where != nil {
				why = where.frozen
			}
			c.problems.add(c.f.source.within(sp, p.offset), "stages cannot be asked for here", why)
			continue
		}
		for _, u := range p.expr.uses {
			c.checkUse(sp, u, where)
		}
	}
	if len(flaws) == 0 {
		c.f.templates[path] = t
	}
}

// checkUse refuses a stage that does not exist, or may not have ended by then.
func (c *checker) checkUse(sp spot, u use, where *scope) {
	var earlier []string
	for j, s := range c.f.Stages {
		switch {
		case where.before[j] && j != where.stage:
			if string(s.Name) == u.stage {
				return
			}
			earlier = append(earlier, string(s.Name))
		case string(s.Name) == u.stage:
			what, hint := "stage "+quote(u.stage)+" does not come before this one", "add it to needs"
			if j == where.stage {
				what, hint = "a stage cannot ask for itself", ""
			}
			c.problems.add(c.f.source.within(sp, u.offset), what, hint)
			return
		}
	}
	c.problems.add(c.f.source.within(sp, u.offset), "there is no stage "+quote(u.stage), didYouMean(u.stage, earlier))
}
