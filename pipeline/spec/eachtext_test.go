package spec

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// everyText uses every key of a stage that takes expressions.
const everyText = `version: 1
application: shop
stages:
  - {name: ci, job: {name: x}}
  - name: canary
    canary:
      environment: ENV
      from: 2026-02-01T10:00:00Z
      to: 2026-02-01T11:00:00Z
      marginal: {ask: TEXT}
      metrics: [{name: m, source: m, query: 'x{version="v"}', total: 'y', kind: count}]
      offset: 1d
  - name: deploy
    deploy:
      environment: ENV
      manifests: TEXT
      images: {shop: TEXT}
      hosts: {shop: TEXT}
      helm: {values: [TEXT], set: {a.b: TEXT}}
  - name: run
    run:
      environment: ENV
      manifests: TEXT
      images: {shop: TEXT}
      helm: {values: [TEXT], set: {a.b: TEXT}}
  - name: image
    run: {environment: ENV, image: TEXT, command: [TEXT], args: [TEXT], env: {A: TEXT}}
  - {name: ask, judgement: {ask: TEXT}}
  - {name: job, job: {name: TEXT}}
  - {name: trigger, trigger: {ref: TEXT, variables: {A: TEXT}}}
  - {name: notify, notify: {slack: "#TEXT", text: TEXT}}
  - name: validate
    validate:
      - http: {url: "https://TEXT/", body: TEXT}
      - report: TEXT
      - metric: {source: m, query: TEXT, max: 1}
      - job: {environment: ENV, manifests: TEXT, images: {shop: TEXT}, helm: {values: [TEXT], set: {a: TEXT}}}
      - job: {environment: ENV, image: TEXT, command: [TEXT], args: [TEXT], env: {A: TEXT}}
`

// anywhere is an operator who allows everything.
type anywhere struct{}

func (anywhere) Environment(_, name string) (pipeline.EnvironmentRules, error) {
	return pipeline.EnvironmentRules{Namespace: name, Branches: []string{"*"}}, nil
}
func (anywhere) Knows(string) bool { return true }
func (anywhere) Defaults(string) Defaults {
	return Defaults{Sources: []string{"m"}, TriggerRefs: []string{"*"}}
}

func planOf(t *testing.T, data, title string) (*File, *pipeline.Plan) {
	t.Helper()
	f, problems := Parse("f", []byte(data))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	plan, problems := Compile(f, Input{MergeRequest: pipeline.MergeRequest{Title: title, TargetBranch: "main"}}, anywhere{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return f, plan
}

// What can hold expressions is told by the types of the file, and once more by eachText for
// those of the plan. Here they are held together: every such key is used, and none may be
// left as it was written.
func TestEveryTextOfAStageIsFilledIn(t *testing.T) {
	named := map[string]bool{}
	for _, typ := range typesOf(reflect.TypeFor[Stage](), map[string]reflect.Type{}) {
		for f := range typ.Fields() {
			if takesExpressions(f.Type) {
				named[typ.Name()+"."+f.Name] = true
			}
		}
	}
	const written = `"${{ 'abc' }}${{ commit.title }}"`
	later := strings.NewReplacer(`"#TEXT"`, `"#${{ stages.ci.status }}"`, `"https://TEXT/"`, `"https://${{ stages.ci.status }}/"`,
		"TEXT", `"${{ stages.ci.status }}"`, "ENV", written)
	now := strings.NewReplacer(`"#TEXT"`, `"#${{ 'abc' }}"`, `"https://TEXT/"`, `"https://${{ 'abc' }}/"`, "TEXT", written, "ENV", written)
	f, plan := planOf(t, later.Replace(everyText), "")
	used := map[string]bool{}
	usedFields(reflect.ValueOf(f.Stages), used)
	for key := range named {
		if !used[key] {
			t.Errorf("%s takes expressions, and this test does not use it", key)
		}
	}
	if len(named) < 20 {
		t.Errorf("found only %d keys that take expressions", len(named))
	}

	e, err := NewEvaluator()
	if err != nil {
		t.Fatal(err)
	}
	d := pipeline.Delivery{Stages: []pipeline.StageState{{Name: "ci", Status: pipeline.StageSucceeded}}}
	for _, st := range plan.Stages[1:] {
		before := encoded(t, st)
		got, err := e.Execute(context.Background(), &pipeline.Task{Plan: plan, Delivery: d,
			Effect: pipeline.Effect{Do: pipeline.Evaluate{Stage: st.Name, Attempt: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		out, ok := got.(pipeline.Evaluated)
		if !ok || !out.Run {
			t.Errorf("%s: %+v", st.Name, got)
			continue
		}
		if text := encoded(t, *out.Resolved); strings.Contains(text, opening) || !strings.Contains(text, "succeeded") {
			t.Errorf("%s is resolved to %s", st.Name, text)
		}
		if encoded(t, st) != before {
			t.Errorf("%s was changed in the plan", st.Name)
		}
	}

	_, plan = planOf(t, now.Replace(everyText), "")
	if text := encoded(t, plan.Stages); strings.Contains(text, opening) || strings.Count(text, "abc") < 20 {
		t.Errorf("compiled to %s", text)
	}
}

// A title that looks like an expression must stay a text wherever it is filled in, also in a
// stage whose texts are read once more when its turn comes.
func TestATitleIsNeverAnExpression(t *testing.T) {
	const title = "${{ stages.ci.status }}"
	data := strings.NewReplacer(`"#TEXT"`, `"#x"`, `"https://TEXT/"`, `"https://x/?${{ merge_request.title }}"`, "ENV", "staging",
		"manifests: TEXT", "manifests: x", "hosts: {shop: TEXT}", "hosts: {shop: x}", "images: {shop: TEXT}", "images: {shop: x}", "ref: TEXT", "ref: x", "image: TEXT", "image: x",
		"body: TEXT", `body: '\Q${{ merge_request.title }}\E'`, "TEXT", `"${{ merge_request.title }}"`).Replace(everyText)
	conditional := strings.NewReplacer("\n  - {name: ci", "\n  - {name: ci", "\n  - {name", "\n  - {if: 'stages.ci.succeeded || true', name",
		"\n  - name", "\n  - if: stages.ci.succeeded || true\n    name").Replace(data)
	e, err := NewEvaluator()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"at once": data, "when their turn comes": conditional} {
		f, plan := planOf(t, data, title)
		want, found, dynamic := strings.Count(encoded(t, f.Stages), "merge_request.title"), 0, 0
		for _, st := range plan.Stages {
			if st.Dynamic {
				dynamic++
				resolved, err := e.resolve(st, variables(Input{}, "shop", nil))
				if err != nil {
					t.Fatal(err)
				}
				st = *resolved
			}
			found += strings.Count(encoded(t, st), title)
		}
		if found != want || want < 15 || (dynamic > 0) != (name != "at once") {
			t.Errorf("%s: the title is there %d times, want %d; %d stages were resolved", name, found, want, dynamic)
		}
	}
}

func takesExpressions(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return takesExpressions(t.Elem())
	case reflect.String:
		if t == reflect.TypeFor[Query]() { // which is filled in when it is asked
			return false
		}
		rule, ok := reflect.Zero(t).Interface().(scalar)
		return ok && rule.templated()
	default:
		return false
	}
}

func usedFields(v reflect.Value, used map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			usedFields(v.Elem(), used)
		}
	case reflect.Slice:
		for i := range v.Len() {
			usedFields(v.Index(i), used)
		}
	case reflect.Struct:
		for f, field := range v.Fields() {
			if takesExpressions(f.Type) && strings.Contains(fmt.Sprint(field), opening) {
				used[v.Type().Name()+"."+f.Name] = true
			}
			usedFields(field, used)
		}
	default:
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The application is known when a delivery starts, and when the turn of a stage comes.
func TestTheApplicationIsKnownInExpressions(t *testing.T) {
	_, plan := planOf(t, `version: 1
application: shop
stages:
  - {name: ci, job: {name: "test-${{ application }}"}}
  - {name: again, job: {name: "${{ application }}-${{ stages.ci.status }}"}}
`, "")
	if got := plan.Stages[0].Job.Name; got != "test-shop" {
		t.Errorf("the job is %q", got)
	}
	e, err := NewEvaluator()
	if err != nil {
		t.Fatal(err)
	}
	d := pipeline.Delivery{Stages: []pipeline.StageState{{Name: "ci", Status: pipeline.StageSucceeded}}}
	got, err := e.Execute(context.Background(), &pipeline.Task{Plan: plan, Delivery: d, Effect: pipeline.Effect{Do: pipeline.Evaluate{Stage: "again", Attempt: 1}}})
	if out, ok := got.(pipeline.Evaluated); err != nil || !ok || out.Resolved == nil || out.Resolved.Job.Name != "shop-succeeded" {
		t.Errorf("got %+v, %v", got, err)
	}
}
