package deploy

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// answers is a Comparer that says how one object is and how it would be.
type answers struct {
	live, wanted map[string]any
	err          error
}

func (a answers) Compare(context.Context, manifest.Object) (live, wanted *unstructured.Unstructured, err error) {
	if a.live == nil {
		return nil, nil, a.err
	}
	return &unstructured.Unstructured{Object: a.live}, &unstructured.Unstructured{Object: a.wanted}, a.err
}

func oneObject(kind string) manifest.Set {
	return manifest.Set{Objects: []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": "x"},
	}}}}}
}

func spec(v any) map[string]any { return map[string]any{"spec": v, "status": map[string]any{"a": v}} }

func TestDifferencesOfFields(t *testing.T) {
	type m = map[string]any
	type l = []any
	for name, c := range map[string]struct {
		live, wanted any
		field        string // "" for no difference
		shown, want  string
	}{
		"equal":                                {m{"a": "1"}, m{"a": "1"}, "", "", ""},
		"a value":                              {m{"a": int64(3)}, m{"a": int64(2)}, ".spec.a", "3", "2"},
		"a field that is gone":                 {m{}, m{"a": true}, ".spec.a", "", "true"},
		"a key with dots":                      {m{"x.y/z": "1"}, m{"x.y/z": "2"}, ".spec[x.y/z]", "1", "2"},
		"an item that is gone":                 {m{"c": l{}}, m{"c": l{m{"name": "web"}}}, ".spec.c[web]", "", `{"name":"web"}`},
		"an item in another order":             {m{"c": l{m{"name": "b"}, m{"name": "a"}}}, m{"c": l{m{"name": "a"}, m{"name": "b"}}}, "", "", ""},
		"a field of an item":                   {m{"c": l{m{"name": "a", "v": "1"}}}, m{"c": l{m{"name": "a", "v": "2"}}}, ".spec.c[a].v", "1", "2"},
		"a plain list":                         {m{"c": l{"a"}}, m{"c": l{"a", "b"}}, ".spec.c", `["a"]`, `["a","b"]`},
		"a secretive field":                    {m{"password": "a"}, m{"password": "b"}, ".spec.password", "[secret]", "[secret]"},
		"an address with a password":           {m{"u": "postgres://u:hush@db"}, m{"u": "x"}, ".spec.u", "postgres://u:[secret]@db", "x"},
		"a container with a secretive value":   {m{"c": l{}}, m{"c": l{m{"name": "web", "env": l{m{"name": "DB_PASSWORD", "value": "hush"}}}}}, ".spec.c[web]", "", `{"env":[{"name":"DB_PASSWORD","value":"[secret]"}],"name":"web"}`},
		"long values that differ at their end": {m{"a": strings.Repeat("x", 500) + "1"}, m{"a": strings.Repeat("x", 500) + "2"}, ".spec.a", strings.Repeat("x", 199) + "… …", strings.Repeat("x", 199) + "… …"},
	} {
		found, err := Drift(t.Context(), answers{live: spec(c.live), wanted: spec(c.wanted)}, "shop", oneObject("Widget"), Owner{})
		if err != nil {
			t.Fatal(err)
		}
		if c.field == "" {
			if len(found) != 0 {
				t.Errorf("%s: found %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Field != c.field || found[0].Live != c.shown || found[0].Recorded != c.want {
			t.Errorf("%s: found %+v", name, found)
		}
	}
}

func TestDriftOfASecretShowsNoValue(t *testing.T) {
	live, wanted := map[string]any{"data": map[string]any{"k": "aHVzaA=="}}, map[string]any{"data": map[string]any{"k": "b3RoZXI=", "l": "eA=="}}
	found, err := Drift(t.Context(), answers{live: live, wanted: wanted}, "shop", oneObject("Secret"), Owner{})
	if err != nil || len(found) != 2 {
		t.Fatalf("%v %+v", err, found)
	}
	for _, d := range found {
		if strings.Contains(d.Live+d.Recorded, "=") {
			t.Errorf("found %+v", d)
		}
	}
}

func TestDriftOutsideOfTheNamespaceIsRefused(t *testing.T) {
	set := oneObject("ConfigMap")
	set.Objects[0].SetNamespace("bank")
	if _, err := Drift(t.Context(), answers{}, "shop", set, Owner{}); err == nil {
		t.Error("another namespace is compared")
	}
	away := &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "cluster main doesn't answer"}
	if _, err := Drift(t.Context(), answers{err: away}, "shop", oneObject("ConfigMap"), Owner{}); err == nil {
		t.Error("a cluster that is away has no differences")
	}
}

// What another project has taken over is not taken back.
func TestDriftLeavesAnotherProjectsObjectsAlone(t *testing.T) {
	theirs := map[string]any{"metadata": map[string]any{"labels": map[string]any{LabelManagedBy: Manager, LabelProject: "8"}}}
	found, err := Drift(t.Context(), answers{live: theirs, wanted: spec("x")}, "shop", oneObject("ConfigMap"), Owner{Project: 7})
	if err != nil || len(found) != 1 || found[0].Trouble != "it is delivered by the GitLab project with the number 8 by now" || found[0].object.Unstructured != nil {
		t.Errorf("%v %+v", err, found)
	}
}

// A blue-green release is in the cluster under the name of its version, and not as it was recorded.
func TestABlueGreenReleaseIsExpectedUnderItsVersion(t *testing.T) {
	labels := map[string]any{"app": "shop"}
	object := func(kind, version string, spec map[string]any) manifest.Object {
		return manifest.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": "shop"}, "spec": spec,
		}}}
	}
	set := manifest.Set{Objects: []manifest.Object{
		object("Service", "v1", map[string]any{"selector": labels}),
		object("Deployment", "apps/v1", map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": map[string]any{"metadata": map[string]any{"labels": labels}}}),
		object("HTTPRoute", "gateway.networking.k8s.io/v1", map[string]any{}),
	}}
	for version, want := range map[string]string{"": "Service shop, Deployment shop, HTTPRoute shop", "3f2a91c-5e0d1": "Service shop, Deployment shop-3f2a91c-5e0d1"} {
		r := pipeline.Release{Version: version}
		if version != "" {
			r.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
		}
		placed, err := Placed(set, r)
		if err != nil {
			t.Fatal(err)
		}
		var titles []string
		for _, o := range placed.Objects {
			titles = append(titles, o.Title())
		}
		if got := strings.Join(titles, ", "); got != want {
			t.Errorf("version %q: got %s, want %s", version, got, want)
		}
	}
}
