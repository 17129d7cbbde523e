package deploy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestDifferencesAreTheFieldsThatChange(t *testing.T) {
	const deployment = "kind: Deployment\napiVersion: apps/v1\n"
	const secret = "kind: Secret\napiVersion: v1\n"
	cases := []struct{ name, from, to, want string }{
		{"nothing", "a: {b: 1, c: {}}", "a: {b: 1}\nd: []", ""},
		{"a value", "a: {b: 1}", "a: {b: 2}", `a.b: 1 → 2`},
		{"a new and a gone value", "a: {b: x}", "a: {c: z}", `a.b: - "x"` + "\n" + `a.c: + "z"`},
		{"a kind of value", "a: {b: 1}", "a: one", `a: {"b":1} → "one"`},
		{"what the cluster writes", "metadata: {uid: 1, resourceVersion: 2, generation: 3, managedFields: [a], creationTimestamp: 4}\nstatus: {a: b}", "metadata: {uid: 2}", ""},
		{"our own marks", "metadata: {labels: {slipway.dev/project: 7, app.kubernetes.io/managed-by: slipway}, annotations: {slipway.dev/release: r}}", "metadata: {}", ""},
		{"a key that has dots", "metadata: {labels: {a.b/c: d}}", "metadata: {labels: {a.b/c: e}}", `metadata.labels[a.b/c]: "d" → "e"`},
		{"an item with a name", "c: [{name: a, image: x:1}, {name: b}]", "c: [{name: b}, {name: a, image: x:2}, {name: c}]", `c[a].image: "x:1" → "x:2"` + "\n" + `c[c].name: + "c"`},
		{"an image that was pinned", "c: [{name: a, image: 'x:1@sha256:abc'}]", "c: [{name: a, image: x:1}]", ""},
		{"an image that was pinned to another", "c: [{name: a, image: 'x:1@sha256:abc'}]", "c: [{name: a, image: 'x:1@sha256:def'}]", `c[a].image: "x:1@sha256:abc" → "x:1@sha256:def"`},
		{"items without names", "ports: [{port: 80}]", "ports: [{port: 81}]", `ports[0].port: 80 → 81`},
		{"a list that grows", "ports: [{port: 80}]", "ports: [{port: 80}, {port: 81}]", `ports: [{"port":80}] → [{"port":80},{"port":81}]`},
		{"plain items", "args: [a, b]", "args: [a, c]", `args: ["a","b"] → ["a","c"]`},
		{"control characters", "a: b", `a: "x\e[31my` + "\u202e\"", `a: "b" → "x\u001b[31my"`},
		{"a secret's values", secret + "data: {a: aHVudGVyMg==, b: eA==}\ntype: Opaque", secret + "data: {a: aHVudGVyMw==, c: eA==}\ntype: other",
			"data.a: (secret, changed)\ndata.b: (secret, gone)\ndata.c: (secret, new)\ntype: \"Opaque\" → \"other\""},
		{"all values of a secret", secret + "data: {a: aHVudGVyMg==}", secret, "data.a: (secret, gone)"},
		{"the kind of nothing else", deployment + "data: {a: b}", deployment + "data: {a: c}", `data.a: "b" → "c"`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			parse := func(text string) *unstructured.Unstructured {
				u := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
					t.Fatal(err)
				}
				return u
			}
			lines := strings.Split(Change{Fields: Differences(parse(tc.from), parse(tc.to))}.String(), "\n    ")
			if diff := cmp.Diff(tc.want, strings.Join(lines[1:], "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
