package config

import (
	"errors"
	"fmt"
	"path"
)

// Jobs names the jobs that job stages of some projects may play. They are played by Slipway's GitLab user, who may be
// allowed more than whoever wrote the pipeline file.
type Jobs struct {
	Projects []string `yaml:"projects"` // paths; * stands for one part, ** for one or more
	Names    []string `yaml:"names"`    // such as smoke-test or e2e-*
}

// Channels names the Slack channels that pipeline files of some projects may name.
type Channels struct {
	Projects []string `yaml:"projects"` // paths; * stands for one part, ** for one or more
	Names    []string `yaml:"names"`    // such as "#shop-*", or a channel's id
}

func (c *Config) checkNames() error {
	for i, j := range c.Jobs {
		if err := checkNamed(j.Projects, j.Names); err != nil {
			return fmt.Errorf("jobs[%d]%w", i, err)
		}
	}
	if c.Slack == nil {
		return nil
	}
	for i, ch := range c.Slack.Channels {
		if err := checkNamed(ch.Projects, ch.Names); err != nil {
			return fmt.Errorf("slack.channels[%d]%w", i, err)
		}
	}
	return nil
}

func checkNamed(projects, names []string) error {
	switch {
	case len(projects) == 0:
		return errors.New(".projects: missing; name the projects that this is for")
	case len(names) == 0:
		return errors.New(".names: missing")
	}
	if err := checkEach(projects); err != nil {
		return fmt.Errorf(".projects: %w", err)
	}
	for _, name := range names {
		if _, err := path.Match(name, ""); err != nil || name == "" {
			return fmt.Errorf(".names: %q is not a pattern", name)
		}
	}
	return nil
}

// JobNames are patterns of the jobs that a project's job stages may play; nil if the operator holds it to none.
func (c *Config) JobNames(project string) []string {
	var names []string
	for _, j := range c.Jobs {
		if anyAllows(j.Projects, project) {
			names = append(names, j.Names...)
		}
	}
	return names
}

// ChannelNames are patterns of the Slack channels that a project's pipeline file may name. held tells that it may name no
// others; else those of merged commits may name any.
func (c *Config) ChannelNames(project string) (names []string, held bool) {
	if c.Slack == nil {
		return nil, false
	}
	if c.Slack.Channel != "" {
		names = append(names, literally(c.Slack.Channel))
	}
	for _, ch := range c.Slack.Channels {
		if anyAllows(ch.Projects, project) {
			names = append(names, ch.Names...)
		}
	}
	return names, len(c.Slack.Channels) > 0
}

// literally is the pattern of this very name.
func literally(name string) string {
	var out []rune
	for _, r := range name {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// SourceNames are the metrics sources that a project's checks may ask.
func (c *Config) SourceNames(project string) []string {
	var names []string
	for _, s := range c.Sources {
		if len(s.Projects) == 0 || anyAllows(s.Projects, project) {
			names = append(names, s.Name)
		}
	}
	return names
}
