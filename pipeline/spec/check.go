package spec

import (
	"fmt"
	"maps"
	"strings"
)

// checker says what the types of the file cannot: how its parts go together.
type checker struct {
	f           *File
	problems    *problems
	lang        *language
	expressions int
	texts       []written
	scopes      map[string]*scope // of the stages, by their path
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
	c.scopes = map[string]*scope{}
	for _, l := range c.f.lanes() {
		names := c.stageNames(l)
		c.checkNames(names)
		c.checkGraph(l)
		c.findScopes(l, names)
		for i := range l.stages {
			if l.review {
				c.checkStage(l.at(i), &l.stages[i], c.checkReview)
			} else {
				c.checkStage(l.at(i), &l.stages[i], nil)
			}
		}
		for i := range l.then {
			c.checkStage(thenPath(i), &l.then[i], c.checkAfter)
		}
	}
	for _, t := range c.texts {
		c.template(t)
	}
}

// lane is the stages of one way through the file: of a merge, or of a review.
type lane struct {
	path         string
	stages, then []Stage
	review       bool
}

func (f *File) mergeLane() lane {
	l := lane{path: "stages", stages: f.Stages}
	if f.Rollback != nil {
		l.then = f.Rollback.Then
	}
	return l
}

// reviewLane is empty where the file has no review.
func (f *File) reviewLane() lane {
	l := lane{path: "review.stages", review: true}
	if f.Review != nil {
		l.stages = f.Review.Stages
	}
	return l
}

func (f *File) lanes() []lane { return []lane{f.mergeLane(), f.reviewLane()} }

// at is where a stage is in the file, as thenPath is for those of rollback.
func (l lane) at(i int) string { return fmt.Sprintf("%s[%d]", l.path, i) }
func thenPath(i int) string    { return fmt.Sprintf("rollback.then[%d]", i) }

// scope says which earlier stages an expression of a stage may ask for.
type scope struct {
	name   Name
	names  []named // of all stages of its lane
	before map[Name]bool
	after  bool // it is a stage of rollback
}

func (c *checker) findScopes(l lane, names []named) {
	all, graph := map[Name]bool{}, newGraph(l.stages)
	for i, s := range l.stages {
		all[s.Name] = true
		before := map[Name]bool{}
		for j := range graph.before(i) {
			before[l.stages[j].Name] = j != i
		}
		c.scopes[l.at(i)] = &scope{name: s.Name, names: names, before: before}
	}
	for i, s := range l.then {
		c.scopes[thenPath(i)] = &scope{name: s.Name, names: names, before: maps.Clone(all), after: true}
		all[s.Name] = true
	}
}

// template checks a text with expressions. Those that are filled in when the delivery
// starts may not ask for stages.
func (c *checker) template(w written) {
	if !c.ready(w.path, strings.Count(w.text, opening)) {
		return
	}
	t, flaws := c.lang.template(w.text)
	stage, _, _ := strings.Cut(w.path, "].")
	where, why := c.scopes[stage+"]"], ""
	_, query := w.rule.(Query)
	switch _, environment := w.rule.(Environment); {
	case environment:
		why = "environments are asked for when the delivery starts"
	case query:
		why = "a query knows the commit and the track, and no more"
	case where == nil:
		why = "it is filled in when the delivery starts"
	}
	if !query {
		c.checkTracks(w.path, t)
	}
	c.keep(w.path, t, flaws, where, why)
}

func (c *checker) condition(path, text string, where *scope) {
	if !c.ready(path, 1) {
		return
	}
	t, flaws := c.lang.condition(text)
	if t != nil {
		c.checkTracks(path, t)
	}
	c.keep(path, t, flaws, where, "")
}

// checkTracks refuses what only the queries of a canary know.
func (c *checker) checkTracks(path string, t *template) {
	for _, p := range t.parts {
		if p.expr != nil && p.expr.tracks {
			c.problems.add(c.f.source.within(c.f.spots[path], p.offset+p.expr.trackAt), "the track of a canary is not known here", "track, version and release are for the queries of a canary's metrics")
		}
	}
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

// keep holds the stages that a text asks for against those that it may. frozen says why
// it may ask for none.
func (c *checker) keep(path string, t *template, flaws []flaw, where *scope, frozen string) {
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
		if p.expr.dynamic && frozen != "" {
			c.problems.add(c.f.source.within(sp, p.offset), "stages cannot be asked for here", frozen)
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
	if where.before[Name(u.stage)] {
		return
	}
	var earlier []string
	what, hint := "", ""
	for _, n := range where.names {
		switch {
		case where.before[n.name]:
			earlier = append(earlier, string(n.name))
		case string(n.name) != u.stage:
		case n.name == where.name:
			what = "a stage cannot ask for itself"
		case n.after || where.after:
			what = "stage " + quote(u.stage) + " does not come before this one"
		default:
			what, hint = "stage "+quote(u.stage)+" does not come before this one", "add it to needs"
		}
	}
	if what == "" {
		what, hint = "there is no stage "+quote(u.stage), didYouMean(u.stage, earlier)
	}
	c.problems.add(c.f.source.within(sp, u.offset), what, hint)
}

// named is a stage of the file, with the path of its name.
type named struct {
	path  string
	name  Name
	after bool
}

func (c *checker) stageNames(l lane) []named {
	var names []named
	for i, s := range l.stages {
		names = append(names, named{l.at(i) + ".name", s.Name, false})
	}
	for i, s := range l.then {
		names = append(names, named{thenPath(i) + ".name", s.Name, true})
	}
	return names
}

func (c *checker) checkNames(names []named) {
	first := map[Name]string{}
	for _, n := range names {
		if n.name == "" {
			continue
		}
		if other, twice := first[n.name]; twice {
			c.add(n.path, fmt.Sprintf("there are two stages with the name %s", quote(string(n.name))),
				fmt.Sprintf("the other one is in line %d", c.at(other).line))
			continue
		}
		first[n.name] = n.path
	}
}
