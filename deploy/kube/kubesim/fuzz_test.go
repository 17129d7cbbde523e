package kubesim_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
)

// FuzzRequests holds that no request makes the server panic or blame itself.
func FuzzRequests(f *testing.F) {
	const app = "/apis/apps/v1/namespaces/shop/deployments/app?fieldManager=f&force=true"
	f.Add("PATCH", app, "application/apply-patch+yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec: {replicas: 1}")
	f.Add("PATCH", app, "application/apply-patch+yaml", "- 1")
	f.Add("PATCH", "/api/v1/namespaces/shop/services/kubernetes", "application/json-patch+json", `[{"op":"add"}]`)
	f.Add("POST", "/api/v1/namespaces/shop/pods", "application/json", `{"metadata":{"name":"a"},"spec":{"containers":[null]}}`)
	f.Add("POST", "/apis/apps/v1/namespaces/shop/deployments", "application/json", `{"spec":{"strategy":{"rollingUpdate":null}}}`)
	f.Add("PUT", "/apis/apps/v1/namespaces/shop/deployments/app/scale", "application/json", `{"spec":{"replicas":-1}}`)
	f.Add("GET", "/api/v1/pods?labelSelector=a+in+(&fieldSelector=b", "", "")
	f.Add("DELETE", "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes", "application/json", `{"propagationPolicy":"Odd"}`)
	f.Add("POST", "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes", "application/json", `{"kind":"HTTPRoute","spec":{"rules":{"a":1}}}`)
	sim, err := kubesim.New(kubesim.Options{Token: "t", Namespaces: []string{"shop"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = sim.Close() })
	handler := sim.Handler()
	f.Fuzz(func(t *testing.T, method, target, mediaType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(u.Path, "/") || strings.Contains(u.RawQuery, "watch=") || strings.Contains(u.RawQuery, "follow=") {
			t.Skip()
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody}
		if body != "" {
			r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Method, r.URL = method, u
		}
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("Content-Type", mediaType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		// The real server, too, answers an apply that doesn't fit the schema with a plain 500.
		if w.Code >= 500 && !strings.Contains(w.Body.String(), "failed to create typed") {
			t.Errorf("%s %s answers %d %s", method, target, w.Code, w.Body)
		}
	})
}
