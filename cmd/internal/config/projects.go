package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Allows tells whether a pattern of `projects` covers a project's path. A pattern is
// compared part by part, so that shop/** never covers shop-evil/x; letters count as they
// are written, and what GitLab would not call a project is covered by nothing.
func Allows(pattern, project string) bool {
	parts := strings.Split(project, "/")
	for _, part := range parts {
		if !projectPart.MatchString(part) || part == "." || part == ".." {
			return false
		}
	}
	return covers(strings.Split(pattern, "/"), parts)
}

func anyAllows(patterns []string, project string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Allows(pattern, project) })
}

// checkEach finds what is wrong with one of several patterns.
func checkEach(patterns []string) error {
	for _, p := range patterns {
		if why := checkProjects(p); why != "" {
			return fmt.Errorf("%q %s", p, why)
		}
	}
	return nil
}

func covers(pattern, parts []string) bool {
	if len(pattern) == 0 || len(parts) == 0 {
		return len(pattern) == len(parts)
	}
	if pattern[0] == "**" { // takes one part, and then more or none
		return covers(pattern[1:], parts[1:]) || covers(pattern, parts[1:])
	}
	ok, err := path.Match(pattern[0], parts[0])
	return err == nil && ok && covers(pattern[1:], parts[1:])
}

// checkProjects says what is wrong with a pattern, "" if nothing is.
func checkProjects(pattern string) string {
	parts := strings.Split(pattern, "/")
	stars := 0
	for _, part := range parts {
		switch _, err := path.Match(part, ""); {
		case part == "":
			return "has a slash too many: a project's path is such as shop/web"
		case err != nil:
			return "is not a pattern"
		case part == "**":
			stars++
		case strings.Contains(part, "**"):
			return "has a ** beside other characters: it stands for whole parts, as in shop/**"
		}
	}
	if stars > 2 { // more say nothing new, and take long to compare
		return "has more than two **"
	}
	if len(parts) == 1 && stars == 0 {
		return "is not the path of a project, which has a group: write shop/web, shop/* or shop/**"
	}
	return ""
}

// Group is the group that all projects of a pattern are in, "" if the pattern does not
// say; exact tells that the pattern is one project's path.
func Group(pattern string) (group string, exact bool) {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if strings.ContainsAny(part, `*?[\`) {
			return strings.Join(parts[:i], "/"), false
		}
	}
	return strings.Join(parts[:len(parts)-1], "/"), true
}
