package gitlabsim

import (
	"fmt"
	"regexp"
)

var variableName = regexp.MustCompile(`^[a-zA-Z0-9_]{1,255}$`)

// createPipeline starts a CI pipeline for a branch. GitLab answers 400 for everything that keeps it from running.
func createPipeline(c *call) answer {
	if err := c.required("ref"); err != nil {
		return *err
	}
	variables, bad := c.variables()
	if bad != nil {
		return *bad
	}
	refuse := func(why string) answer { return rejected(obj{"base": []string{why}}) }
	ref := c.str("ref")
	needed := c.p.ci.VariablesRole
	if needed == 0 {
		needed = Developer
	}
	switch sha := c.p.branches[ref]; {
	case sha == "":
		return refuse("Reference not found")
	case len(variables) > 0 && c.g.level(c.p, c.user.ID) < needed:
		return refuse("Insufficient permissions to set pipeline variables")
	case len(c.p.ci.Jobs) == 0:
		return refuse("Missing CI config file")
	default:
		pl := c.g.startPipeline(c.p, Pipeline{Ref: ref, SHA: sha, Source: "api", UserID: c.user.ID, Variables: variables})
		return created(c.fullPipeline(pl))
	}
}

// variables reads the list of {key, value, variable_type}.
func (c *call) variables() ([]Variable, *answer) {
	given, ok := c.json["variables"]
	if !ok {
		return nil, nil
	}
	wrong := func(why string) ([]Variable, *answer) {
		a := invalid(why)
		return nil, &a
	}
	list, ok := given.([]any)
	if !ok {
		return wrong("variables is invalid")
	}
	var all []Variable
	seen := map[string]bool{}
	for i, entry := range list {
		fields, ok := entry.(map[string]any)
		if !ok {
			return wrong(fmt.Sprintf("variables[%d] is invalid", i))
		}
		key, _ := fields["key"].(string)
		value, isText := fields["value"].(string)
		kind, typed := fields["variable_type"]
		switch {
		case !isText || typed && kind != "env_var" && kind != "file":
			return wrong(fmt.Sprintf("variables[%d] does not have a valid value", i))
		case !variableName.MatchString(key):
			a := rejected(obj{"variables.key": []string{"can contain only letters, digits and '_'."}})
			return nil, &a
		case seen[key]:
			a := rejected(obj{"base": []string{"Duplicate variable name: " + key}})
			return nil, &a
		}
		seen[key] = true
		all = append(all, Variable{Key: key, Value: value, File: kind == "file"})
	}
	return all, nil
}

// listVariables shows them to whoever started the CI pipeline, and to Maintainers, as GitLab's policy of CI pipelines says.
func listVariables(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	level := c.g.level(c.p, c.user.ID)
	own := level >= Developer && pl.UserID == c.user.ID
	if level < Maintainer && !own {
		return forbidden("")
	}
	all := []any{} // GitLab gives them in one page
	for _, v := range pl.Variables {
		kind := "env_var"
		if v.File {
			kind = "file"
		}
		all = append(all, obj{"key": v.Key, "value": v.Value, "variable_type": kind, "raw": false})
	}
	return ok(all)
}
