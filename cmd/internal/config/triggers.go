package config

import (
	"fmt"
	"path"
)

// Trigger lets trigger stages of some projects start CI pipelines on more than the branch that was merged into. They are
// started by Slipway's GitLab user, also on branches on which whoever wrote the pipeline file may not start any.
type Trigger struct {
	Projects []string `yaml:"projects"` // paths; * stands for one part, ** for one or more
	Refs     []string `yaml:"refs"`     // branches and tags, such as release/*
}

func (c *Config) checkTriggers() error {
	for i, t := range c.Triggers {
		switch {
		case len(t.Projects) == 0:
			return fmt.Errorf("triggers[%d].projects: missing; name the projects that this is for", i)
		case len(t.Refs) == 0:
			return fmt.Errorf("triggers[%d].refs: missing; name branches or tags", i)
		}
		if err := checkEach(t.Projects); err != nil {
			return fmt.Errorf("triggers[%d].projects: %w", i, err)
		}
		for _, r := range t.Refs {
			if _, err := path.Match(r, ""); err != nil || r == "" {
				return fmt.Errorf("triggers[%d].refs: %q is not a pattern", i, r)
			}
		}
	}
	return nil
}

// TriggerRefs are the patterns that a project's trigger stages may start CI pipelines on.
func (c *Config) TriggerRefs(project string) []string {
	var refs []string
	for _, t := range c.Triggers {
		if anyAllows(t.Projects, project) {
			refs = append(refs, t.Refs...)
		}
	}
	return refs
}
