package contract

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

func load(t *testing.T) *Contract {
	t.Helper()
	doc, err := os.ReadFile("../../testdata/gitlab-openapi-subset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	c := load(t)
	const p = "/api/v4/projects/shop%2Fbackend"
	tests := []struct {
		name   string
		method string
		url    string
		body   string
		want   string // part of the error, empty for none
	}{
		{"a commit status is fine", "POST", p + "/statuses/0123456789012345678901234567890123456789", `{"state":"running","pipeline_id":7,"name":"slipway","target_url":"https://a.b/c"}`, ""},
		{"a commit status without state is refused", "POST", p + "/statuses/abc", `{"name":"slipway"}`, "state"},
		{"a commit status with an unknown state is refused", "POST", p + "/statuses/abc", `{"state":"great"}`, "state"},
		{"an unknown property is refused", "POST", p + "/statuses/abc", `{"state":"running","pipeline":7}`, "pipeline"},
		{"a property of another type is refused", "POST", p + "/statuses/abc", `{"state":"running","pipeline_id":"seven"}`, "pipeline_id"},
		{"a deployment is fine", "POST", "/api/v4/projects/7/deployments", `{"environment":"staging","sha":"abc","ref":"main","tag":false,"status":"running"}`, ""},
		{"a deployment without its tag flag is refused", "POST", "/api/v4/projects/7/deployments", `{"environment":"staging","sha":"abc","ref":"main","status":"running"}`, "tag"},
		{"a note is fine", "POST", p + "/merge_requests/3/notes", `{"body":"hello"}`, ""},
		{"a list of notes is fine", "GET", p + "/merge_requests/3/notes?order_by=created_at&sort=asc&page=2&per_page=100", "", ""},
		{"an unknown query parameter is refused", "GET", p + "/merge_requests/3/notes?author=me", "", "author"},
		{"a query parameter outside its set is refused", "GET", p + "/merge_requests/3/notes?sort=up", "", "sort"},
		{"merge requests by several numbers are fine", "GET", p + "/merge_requests?state=merged&iids[]=1&iids[]=2&updated_after=2026-01-01T00:00:00Z", "", ""},
		{"jobs in one scope are fine", "GET", p + "/pipelines/7/jobs?scope[]=manual", "", ""},
		{"jobs in two scopes are fine", "GET", p + "/pipelines/7/jobs?scope[]=manual&scope[]=success", "", ""},
		{"jobs in a scope that doesn't exist are refused", "GET", p + "/pipelines/7/jobs?scope[]=odd", "", "scope"},
		{"playing a job needs no body", "POST", p + "/jobs/7/play", "", ""},
		{"playing a job with an empty object is fine", "POST", p + "/jobs/7/play", "{}", ""},
		{"nothing, written as null, is no body", "POST", p + "/jobs/7/cancel", "null", ""},
		{"but where a body is needed it is missing", "POST", p + "/statuses/abc", "null", "body"},
		{"retrying a pipeline takes no body", "POST", p + "/pipelines/7/retry", `{"a":1}`, "takes no body"},
		{"a file with slashes and dots is fine", "GET", p + "/repository/files/deploy%2Fa%2Eyaml/raw?ref=abc", "", ""},
		{"an archive is fine", "GET", p + "/repository/archive.tar.gz?sha=abc&path=deploy", "", ""},
		{"a CI pipeline with variables is fine", "POST", p + "/pipeline", `{"ref":"main","variables":[{"key":"A","value":"1"}]}`, ""},
		{"a CI pipeline without ref is refused", "POST", p + "/pipeline", `{"variables":[]}`, "ref"},
		{"a trigger takes a ref", "POST", p + "/trigger/pipeline", `{"token":"t","ref":"main"}`, ""},
		{"answers in a thread are on the list of extras", "POST", p + "/merge_requests/3/discussions/abc/notes", `{"body":"x"}`, ""},
		{"an operation that nobody knows is refused", "GET", p + "/issues", "", "no such operation"},
		{"a method that the path doesn't have is refused", "PATCH", p, "", "no such operation"},
		{"a number that isn't one is refused", "GET", p + "/pipelines/seven", "", "pipeline_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.body != "" {
				header.Set("Content-Type", "application/json")
			}
			err := c.Check(tt.method, tt.url, header, []byte(tt.body))
			if tt.want == "" && err != nil {
				t.Errorf("got %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestNewRefusesWhatIsNoDocument(t *testing.T) {
	for _, doc := range []string{"", "openapi: 3.0.0\ninfo: {title: a, version: b}\npaths: {}\n", ":\n:"} {
		if _, err := New([]byte(doc)); err == nil {
			t.Errorf("%q is accepted", doc)
		}
	}
}
