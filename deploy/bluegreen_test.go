package deploy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// objects reads YAML documents.
func objects(t *testing.T, text string) []manifest.Object {
	t.Helper()
	var list []manifest.Object
	for _, doc := range strings.Split(text, "---\n") {
		o := &unstructured.Unstructured{}
		data, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		list = append(list, manifest.Object{Unstructured: o})
	}
	return list
}

const shop = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec: {selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop, tier: web}}, spec: {containers: [{name: app, image: shop}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec: {selector: {matchLabels: {app: worker}}, template: {metadata: {labels: {app: worker}}, spec: {containers: [{name: app, image: shop}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: worker}
spec: {minAvailable: 1, selector: {matchLabels: {app: worker}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
`

const shopVersion = `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop, slipway.dev/version: abc-1}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-abc-1, labels: {slipway.dev/version: abc-1}}
spec:
  selector: {matchLabels: {app: shop, slipway.dev/version: abc-1}, matchExpressions: [{key: slipway.dev/track, operator: NotIn, values: [baseline, canary]}]}
  template: {metadata: {labels: {app: shop, tier: web, slipway.dev/version: abc-1}}, spec: {containers: [{name: app, image: shop}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec: {selector: {matchLabels: {app: worker}}, template: {metadata: {labels: {app: worker}}, spec: {containers: [{name: app, image: shop}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop-abc-1}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: shop, slipway.dev/version: abc-1}, matchExpressions: [{key: slipway.dev/track, operator: NotIn, values: [baseline, canary]}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: worker}
spec: {minAvailable: 1, selector: {matchLabels: {app: worker}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
`

func TestABlueGreenReleaseHasDeploymentsOfItsOwn(t *testing.T) {
	given := objects(t, shop)
	a, err := arrange(given, pipeline.Release{Version: "abc-1", Apart: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contents(objects(t, shopVersion)), contents(a.set().Objects)); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
	if diff := cmp.Diff(contents(objects(t, shop)), contents(given)); diff != "" {
		t.Errorf("the manifests themselves were changed:\n%s", diff)
	}
	rolling, err := arrange(given, pipeline.Release{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contents(given), contents(rolling.set().Objects)); diff != "" {
		t.Errorf("a rolling release was changed:\n%s", diff)
	}
	for _, a := range []arrangement{a, rolling} {
		if len(a.only(gate)) != 1 || len(a.only(versioned)) != 1 || len(a.only(follower)) != 2 {
			t.Errorf("the roles are %v", a.parts)
		}
	}
}

func contents(list []manifest.Object) []map[string]any {
	var all []map[string]any
	for _, o := range list {
		all = append(all, o.Object)
	}
	return all
}

func TestNamesOfVersions(t *testing.T) {
	version := versionOf("3F2A91C0FFEE", []byte("content"))
	if version != versionOf("3F2A91C0FFEE", []byte("content")) || version == versionOf("3F2A91C0FFEE", []byte("other")) {
		t.Error("a version doesn't follow from the content")
	}
	if !strings.HasPrefix(version, "3f2a91c-") || len(version) != 13 {
		t.Errorf("the version is %s", version)
	}
	if name := versionedName("shop", version); name != "shop-"+version {
		t.Errorf("the name is %s", name)
	}
	long := strings.Repeat("a-very-long-name-", 5)
	one, two := versionedName(long+"one", version), versionedName(long+"two", version)
	if len(one) > 63 || !strings.HasSuffix(one, "-"+version) || one == two {
		t.Errorf("long names become %s and %s", one, two)
	}
}

func TestRulesOfARoute(t *testing.T) {
	const given = `
rules:
- matches: [{path: {value: /a}}, {path: {value: /b}}]
  backendRefs: [{name: shop, port: 80, weight: 6}, {name: other, port: 80, weight: 4}]
- backendRefs: [{name: shop, port: 80}]
- backendRefs: [{name: other, port: 80}]
- backendRefs: [{name: shop, kind: Bucket, group: storage.example.com}]
`
	const with = `
rules:
- matches: [{path: {value: /a}, headers: [{type: Exact, name: X-Preview, value: "yes"}]}, {path: {value: /b}, headers: [{type: Exact, name: X-Preview, value: "yes"}]}]
  backendRefs: [{name: shop-preview, port: 80, weight: 1}]
- matches: [{path: {value: /a}}, {path: {value: /b}}]
  backendRefs: [{name: shop, port: 80, weight: 6}, {name: other, port: 80, weight: 4}, {name: shop-preview, port: 80, weight: 0}]
- matches: [{headers: [{type: Exact, name: X-Preview, value: "yes"}]}]
  backendRefs: [{name: shop-preview, port: 80, weight: 1}]
- backendRefs: [{name: shop, port: 80}, {name: shop-preview, port: 80, weight: 0}]
- backendRefs: [{name: other, port: 80}]
- backendRefs: [{name: shop, kind: Bucket, group: storage.example.com}]
`
	r := routing{Traffic: pipeline.Traffic{PreviewHeader: "X-Preview", PreviewValue: "yes"}, services: []string{"shop"}}
	added := r.with(rules(t, given))
	wantJSON(t, "with previews", added, rules(t, with))
	wantJSON(t, "with previews twice", r.with(added), rules(t, with))
	if r.previewing(added) {
		t.Error("previews serve before the traffic has moved")
	}
	moved := r.moved(added, true)
	if !r.previewing(moved) || weight(find(moved[1], "shop")) != 0 || weight(find(moved[1], "shop-preview")) != 6 || weight(find(moved[1], "other")) != 4 {
		t.Errorf("moved to %v", moved[1])
	}
	wantJSON(t, "moved twice", r.moved(moved, true), moved)
	const explicit = "{name: shop, port: 80, weight: 1}" // that it was 1 by default isn't remembered
	back := strings.Replace(given, "{name: shop, port: 80}", explicit, 1)
	wantJSON(t, "taken away again", r.without(moved), rules(t, back))
	wantJSON(t, "taken away twice", r.without(r.without(moved)), rules(t, back))
}

func rules(t *testing.T, text string) []any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m["rules"].([]any)
}

func wantJSON(t *testing.T, what string, got, want []any) {
	t.Helper()
	if !sameJSON(got, want) {
		g, _ := yaml.Marshal(got)
		w, _ := yaml.Marshal(want)
		t.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}
