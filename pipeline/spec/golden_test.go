package spec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// operator has four environments; production is judged and has approvers of its own.
type operator struct{}

func (operator) Environment(project, name string) (pipeline.EnvironmentRules, error) {
	switch name {
	case "staging", "review/feature-x":
		return pipeline.EnvironmentRules{Cluster: "main", Namespace: "shop-staging", Tier: "staging"}, nil
	case "production":
		return pipeline.EnvironmentRules{Cluster: "main", Namespace: "shop", URL: "https://shop.example.com", Tier: "production",
			Judged: true, Rule: policy.Rule{Approvers: []string{"group:shop/maintainers"}}}, nil
	case "review/mr-12":
		return pipeline.EnvironmentRules{Cluster: "main", Namespace: "shop-review", URL: "https://mr-12.example.com", Review: true, Slug: "review-mr-12-abcdef"}, nil
	case "live":
		return pipeline.EnvironmentRules{Cluster: "main", Namespace: "live", Tier: "production"}, nil
	case "guarded":
		return pipeline.EnvironmentRules{Cluster: "main", Namespace: "guarded", Judged: true}, nil
	}
	return pipeline.EnvironmentRules{}, fmt.Errorf("project %s may not deploy to %q; it may use guarded, live, production and staging", project, name)
}

func (operator) Knows(project string) bool { return project == "shop/api" }

func (operator) Defaults(string) spec.Defaults {
	return spec.Defaults{Channel: "#deploys", TurnRed: true, Sources: []string{"prometheus", "datadog"}, TriggerRefs: []string{"feature-*", "v*"},
		Metrics: map[string]pipeline.CanaryMetric{
			"http-errors": {
				Source: "prometheus", Query: `sum(increase(errors{project="${{ project.path }}",app="${{ application }}",track="${{ track }}"}[1m]))`, Total: `sum(increase(requests{track="${{ track }}"}[1m]))`,
				Step: time.Minute, Rule: canary.Metric{Kind: canary.Count, Direction: canary.Increase, Critical: true, Groups: []string{"errors"}},
			},
			"by-title": {Source: "prometheus", Query: `errors{track="${{ track }}",title="${{ merge_request.title }}"}`, Step: time.Minute},
		},
		Channels: []string{"#deploys", "#shop"}}
}

func input() spec.Input {
	return spec.Input{
		Project: pipeline.Project{ID: 7, Path: "shop/api", URL: "https://gitlab.example.com/shop/api", DefaultBranch: "main"},
		Commit: pipeline.Commit{SHA: "3f2a91c0d4e5f60718293a4b5c6d7e8f90a1b2c3", ShortSHA: "3f2a91c0", Ref: "main",
			Title: "Faster checkout", Author: "Ada", AuthorEmail: "ada@example.com"},
		MergeRequest: pipeline.MergeRequest{IID: 12, Title: `Faster "checkout"`, URL: "https://gitlab.example.com/shop/api/-/merge_requests/12",
			SourceBranch: "feature-x", TargetBranch: "main", Labels: []string{"fast", "risky"}, AuthorUsername: "ada", MergedBy: "bob",
			MergedAt: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)},
	}
}

// Each archive has a pipeline file and the plan it compiles to.
func TestGoodFilesCompileToTheirPlan(t *testing.T) {
	for _, path := range goldenFiles(t, "good") {
		t.Run(caseName(path), func(t *testing.T) {
			a := readArchive(t, path)
			file, problems := spec.Parse(a.Files[0].Name, a.Files[0].Data)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			in := input()
			compile := spec.Compile
			if file.Review != nil { // its other stages are as in the other cases
				compile = spec.CompileReview
			}
			plan, problems := compile(file, in, operator{})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if plan.Project != in.Project || plan.Commit != in.Commit || cmp.Diff(plan.MergeRequest, in.MergeRequest) != "" {
				t.Error("the plan is for something else")
			}
			encoded, err := spec.EncodePlan(plan)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := spec.DecodePlan(encoded)
			if err != nil {
				t.Fatal(err)
			}
			again, err := spec.EncodePlan(decoded)
			if err != nil || !bytes.Equal(encoded, again) {
				t.Errorf("the plan does not survive being stored: %v", err)
			}
			golden(t, path, a, "plan.json", shown(t, encoded))
		})
	}
}

// shown is the plan without what every case has in common.
func shown(t *testing.T, encoded []byte) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(encoded, &m); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"project", "commit", "merge_request", "schema"} {
		delete(m, key)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each archive has a pipeline file and the problems that people are told, of Parse
// or, if that finds none, of Compile.
func TestBadFilesAreRefusedWithPlaceAndHint(t *testing.T) {
	for _, path := range goldenFiles(t, "bad") {
		t.Run(caseName(path), func(t *testing.T) {
			a := readArchive(t, path)
			file, problems := spec.Parse(a.Files[0].Name, a.Files[0].Data)
			if len(problems) == 0 {
				var plan *pipeline.Plan
				plan, problems = spec.Compile(file, input(), operator{})
				if file.Review != nil {
					var more []pipeline.Problem
					plan, more = spec.CompileReview(file, input(), operator{})
					problems = append(problems, more...)
				}
				if plan != nil || len(problems) == 0 {
					t.Fatal("the file is taken")
				}
			}
			checkPositions(t, a.Files[0].Data, problems)
			var b strings.Builder
			for _, p := range problems {
				fmt.Fprintln(&b, p)
			}
			golden(t, path, a, "problems", b.String())
		})
	}
}

func checkPositions(t *testing.T, data []byte, problems []pipeline.Problem) {
	t.Helper()
	lines := strings.Split(string(data), "\n")
	if len(problems) > spec.MaxProblems {
		t.Errorf("%d problems are too many", len(problems))
	}
	for _, p := range problems {
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1 {
			t.Errorf("%s is outside of the file", p)
		}
		if p.What == "" {
			t.Errorf("%s says nothing", p)
		}
	}
}

func golden(t *testing.T, path string, a *txtar.Archive, name, got string) {
	t.Helper()
	if *update {
		a.Files = append(a.Files[:1], txtar.File{Name: name, Data: []byte(got)})
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.Files) < 2 || a.Files[1].Name != name {
		t.Fatalf("%s has no file %s; run the test with -update and read the result", path, name)
	}
	if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestLineEndsAndByteOrderMarkChangeNothing(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		for _, path := range goldenFiles(t, kind) {
			t.Run(caseName(path), func(t *testing.T) {
				data := readArchive(t, path).Files[0].Data
				_, want := spec.Parse("f", data)
				_, got := spec.Parse("f", append([]byte("\ufeff"), bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))...))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestDocumentedFilesParse(t *testing.T) {
	data, err := os.ReadFile("../../docs/pipeline-file.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i, block := range strings.Split(string(data), "```") {
		yaml, ok := strings.CutPrefix(block, "yaml\n")
		if i%2 == 0 || !ok {
			continue
		}
		found++
		if !strings.Contains(yaml, "stages:\n") {
			yaml = "version: 1\napplication: shop\nstages:\n" + yaml
		}
		if _, problems := spec.Parse("docs", []byte(yaml)); len(problems) > 0 {
			t.Errorf("%v in:\n%s", problems, yaml)
		}
	}
	if found < 2 {
		t.Errorf("found %d files in the documentation", found)
	}
}
