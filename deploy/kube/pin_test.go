package kube_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/registry"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestImagesAreAppliedAndRecordedWithTheirDigests(t *testing.T) {
	w := simulated(t)
	s := httptest.NewServer(server.New(server.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	ref, err := name.ParseReference(host + "/shop:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	digest, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if w.registry, err = registry.New(registry.Options{Registries: []registry.Registry{{Host: host, Insecure: true}}}); err != nil {
		t.Fatal(err)
	}
	want := host + "/shop:1@" + digest.String()
	w.commit("aaaa1111", deployment(host+"/shop:1", 1, ""))
	r := w.mustApply("aaaa1111")
	if len(r.Images) != 1 || r.Images[0] != (pipeline.Image{Name: want, Digest: digest.String()}) {
		t.Errorf("recorded images are %+v", r.Images)
	}
	live, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || live.Spec.Template.Spec.Containers[0].Image != want {
		t.Errorf("%s runs, error %v", live.Spec.Template.Spec.Containers[0].Image, err)
	}
	w.restore("aaaa1111", &r, nil) // from what was recorded
	if got := w.preview("aaaa1111", ""); got != "" {
		t.Errorf("the same commit would change:\n%s", got)
	}

	w.commit("bbbb2222", configMap("first", "x")+deployment(host+"/shop:2", 1, ""))
	_, err = w.apply("bbbb2222")
	if f := w.permanent(err); f.Code != pipeline.ReasonImagePull || !f.Unchanged || f.Detail != host+"/shop:2: the image isn't there" {
		t.Errorf("got %s, unchanged %v: %s", f.Code, f.Unchanged, f.Detail)
	}
	if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "first", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the first object was applied: %v", err)
	}
	s.Close()
	_, err = w.apply("bbbb2222")
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.Code != pipeline.ReasonUnreachable {
		t.Errorf("a registry that is away: %v", err)
	}
}

// A tag that has moved since the canary ran changes nothing, nor does what the manifests pin themselves.
func TestWhatACanaryHasTestedIsDeployed(t *testing.T) {
	w := simulated(t)
	const tested, moved, pinned = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	for _, c := range []struct {
		name, manifest, want string
		images               []pipeline.Image
	}{
		{"as a tag", "shop:1", "shop:1@" + tested, []pipeline.Image{{Name: "other:1", Digest: moved}, {Name: "shop:1", Digest: tested}}},
		{"as it was pinned for the canary", "shop:1", "shop:1@" + tested, []pipeline.Image{{Name: "shop:1@" + tested, Digest: tested}}},
		{"with a digest of the manifests' own", "shop@" + pinned, "shop@" + pinned, []pipeline.Image{{Name: "shop", Digest: tested}}},
		{"without a digest that the cluster told", "shop:1", "shop:1", []pipeline.Image{{Name: "shop:1"}}},
	} {
		w.commit("aaaa1111", deployment(c.manifest, 1, ""))
		do := pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "7-1-aaaa1111/" + stageName + "/1", Images: c.images}
		event, err := w.executor().Execute(w.context(), w.task("aaaa1111", do))
		if err != nil {
			t.Fatal(err)
		}
		live, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := live.Spec.Template.Spec.Containers[0].Image; got != c.want {
			t.Errorf("%s: %s is deployed, want %s", c.name, got, c.want)
		}
		if r := event.(pipeline.Applied).Release; len(r.Images) != 1 || r.Images[0].Name != c.want {
			t.Errorf("%s: recorded are %+v", c.name, r.Images)
		}
	}
}
