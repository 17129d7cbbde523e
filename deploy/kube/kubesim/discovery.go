package kubesim

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

const authorizationGroup = "authorization.k8s.io"

// serveDiscovery answers what tells clients about the API; it reports whether the path was one of those.
func (s *Sim) serveDiscovery(w http.ResponseWriter, r *http.Request, path string) bool {
	parts := strings.Split(path, "/")
	switch {
	case path == "version":
		writeJSON(w, http.StatusOK, version.Info{
			Major: "1", Minor: "37", GitVersion: "v1.37.2", GitTreeState: "clean", Platform: "linux/amd64", GoVersion: "go1.26", Compiler: "gc",
		})
	case path == "api":
		writeJSON(w, http.StatusOK, metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
		})
	case path == "apis":
		writeJSON(w, http.StatusOK, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: s.groups()})
	case len(parts) == 2 && parts[0] == "apis":
		for _, g := range s.groups() {
			if g.Name == parts[1] {
				g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				writeJSON(w, http.StatusOK, g)
				return true
			}
		}
		notThere(w)
	case len(parts) == 2 && parts[0] == "api":
		s.serveResources(w, parts[1])
	case len(parts) == 3 && parts[0] == "apis":
		s.serveResources(w, parts[1]+"/"+parts[2])
	case path == "openapi/v3":
		writeJSON(w, http.StatusOK, map[string]any{"paths": map[string]any{}})
	case path == "openapi/v2":
		writeJSON(w, http.StatusOK, map[string]any{
			"swagger": "2.0", "info": map[string]any{"title": "kubesim", "version": "v1.37.2"}, "paths": map[string]any{},
		})
	default:
		return false
	}
	return true
}

func (s *Sim) groups() []metav1.APIGroup {
	var out []metav1.APIGroup
	add := func(name, version string) {
		for _, g := range out {
			if g.Name == name {
				return
			}
		}
		v := metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + version, Version: version}
		out = append(out, metav1.APIGroup{Name: name, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	for _, k := range s.reg.Kinds() {
		if k.Group != "" {
			add(k.Group, k.Version)
		}
	}
	add(authorizationGroup, "v1")
	return out
}

func (s *Sim) serveResources(w http.ResponseWriter, gv string) {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv, APIResources: []metav1.APIResource{}}
	for _, k := range s.reg.Kinds() {
		if k.GroupVersion().String() == gv {
			list.APIResources = append(list.APIResources, describe(k)...)
		}
	}
	if gv == authorizationGroup+"/v1" {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: accessReviews, SingularName: "selfsubjectaccessreview", Kind: "SelfSubjectAccessReview", Verbs: metav1.Verbs{"create"},
		}, metav1.APIResource{
			Name: rulesReviews, SingularName: "selfsubjectrulesreview", Kind: "SelfSubjectRulesReview", Verbs: metav1.Verbs{"create"},
		})
	}
	if len(list.APIResources) == 0 {
		notThere(w)
		return
	}
	writeJSON(w, http.StatusOK, list)
}

func describe(k *registry.Kind) []metav1.APIResource {
	main := metav1.APIResource{
		Name: k.Resource, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Kind, ShortNames: k.Short,
		Verbs: metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
	}
	out := []metav1.APIResource{main}
	sub := func(name, kind string, verbs ...string) {
		out = append(out, metav1.APIResource{Name: k.Resource + "/" + name, Namespaced: k.Namespaced, Kind: kind, Verbs: verbs})
	}
	if k.Status {
		sub("status", k.Kind, "get", "patch", "update")
	}
	if k.Scale {
		sub("scale", "Scale", "get", "patch", "update")
		out[len(out)-1].Group, out[len(out)-1].Version = "autoscaling", "v1"
	}
	if k.Resource == registry.Pods {
		sub("log", k.Kind, "get")
	}
	return out
}
