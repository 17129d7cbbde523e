package contract

import (
	"errors"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// patch is a known error of the published document and its correction.
type patch struct {
	What  string
	apply func(*openapi3.T) error
}

// patches are all corrections that [New] makes.
func patches() []patch {
	return []patch{
		{
			What: "POST /projects/{id}/trigger/pipeline takes a ref, which its body lacks",
			apply: func(doc *openapi3.T) error {
				schema, err := body(doc, "/api/v4/projects/{id}/trigger/pipeline")
				if err != nil {
					return err
				}
				schema.Properties["ref"] = openapi3.NewStringSchema().NewRef()
				schema.Required = append(schema.Required, "ref")
				return nil
			},
		},
		{
			What: "array parameters of the merge request lists have no items: they are strings",
			apply: func(doc *openapi3.T) error {
				each(doc, func(s *openapi3.Schema) {
					if s.Type.Is(openapi3.TypeArray) && s.Items == nil {
						s.Items = openapi3.NewStringSchema().NewRef()
					}
				})
				return nil
			},
		},
		{
			What: "GET …/pipelines/{pipeline_id}/jobs takes scope as a list of names: its schema matches one name twice",
			apply: func(doc *openapi3.T) error {
				p, err := parameter(doc, "/api/v4/projects/{id}/pipelines/{pipeline_id}/jobs", "scope")
				if err != nil {
					return err
				}
				one := openapi3.NewStringSchema()
				for _, option := range p.Schema.Value.OneOf {
					if len(option.Value.Enum) > 0 {
						one.Enum = option.Value.Enum
					}
				}
				p.Schema = openapi3.NewArraySchema().WithItems(one).NewRef()
				explode := false
				p.Explode, p.Style = &explode, openapi3.SerializationForm
				return nil
			},
		},
		{
			What: "GET /groups/{id}/members/{user_id}, of direct members, is left out: it takes what …/members/all/{user_id} takes",
			apply: func(doc *openapi3.T) error {
				all := doc.Paths.Value("/api/v4/groups/{id}/members/all/{user_id}")
				if all == nil || all.Get == nil {
					return errors.New("the document has no such operation")
				}
				direct := *all.Get
				direct.OperationID = "getApiV4GroupsIdMembersUserId"
				doc.Paths.Set("/api/v4/groups/{id}/members/{user_id}", &openapi3.PathItem{Get: &direct})
				return nil
			},
		},
		{
			What: "a path parameter that may be a number or a string matches both: it is a string",
			apply: func(doc *openapi3.T) error {
				for _, item := range doc.Paths.Map() {
					for _, op := range item.Operations() {
						for _, p := range op.Parameters {
							if p.Value.In == openapi3.ParameterInPath && len(p.Value.Schema.Value.OneOf) > 0 {
								p.Value.Schema = openapi3.NewStringSchema().NewRef()
							}
						}
					}
				}
				return nil
			},
		},
	}
}

func body(doc *openapi3.T, path string) (*openapi3.Schema, error) {
	item := doc.Paths.Value(path)
	if item == nil || item.Post == nil || item.Post.RequestBody == nil {
		return nil, errors.New("the document has no such operation")
	}
	media := item.Post.RequestBody.Value.Content.Get("application/json")
	if media == nil {
		return nil, errors.New("the operation has no JSON body")
	}
	return media.Schema.Value, nil
}

func parameter(doc *openapi3.T, path, name string) (*openapi3.Parameter, error) {
	item := doc.Paths.Value(path)
	if item == nil || item.Get == nil {
		return nil, errors.New("the document has no such operation")
	}
	p := item.Get.Parameters.GetByInAndName(openapi3.ParameterInQuery, name)
	if p == nil {
		return nil, errors.New("the operation has no such parameter")
	}
	return p, nil
}

// each visits the schemas of all parameters.
func each(doc *openapi3.T, visit func(*openapi3.Schema)) {
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range op.Parameters {
				if p.Value != nil && p.Value.Schema != nil && p.Value.Schema.Value != nil {
					visit(p.Value.Schema.Value)
				}
			}
		}
	}
}

// operation is a method and a path below /api/v4 in which * stands for one segment.
type operation struct {
	Method string
	Path   string
	Why    string
}

// extra are the operations that Slipway may call though the subset doesn't have them. [Contract.Check] accepts them
// without looking at parameters.
func extra() []operation {
	return []operation{
		{http.MethodPost, "projects/*/merge_requests/*/discussions/*/notes", "answers in the thread of a command; not in the published document's subset"},
		{http.MethodGet, "projects/*/merge_requests/*/discussions/*", "looks for such an answer before writing it"},
		{http.MethodGet, "projects/*/merge_requests/*/discussions/*/notes", "the same"},
		{http.MethodGet, "projects/*/pipelines/*/variables", "finds a CI pipeline that was started before, by its variable"},
		{http.MethodGet, "projects/*/pipelines/*/test_report", "names the tests that failed; the document's subset has only the summary"},
		{http.MethodGet, "personal_access_tokens/self", "slipway doctor: the token's scopes; not in the subset"},
		{http.MethodGet, "version", "slipway doctor: GitLab's version; not in the subset"},
		{http.MethodGet, "groups/*/hooks", "slipway doctor: hooks of groups, which the published document lacks"},
	}
}

func allowed(method, escapedPath string) bool {
	got := strings.Split(strings.TrimPrefix(escapedPath, "/api/v4/"), "/")
	for _, op := range extra() {
		want := strings.Split(op.Path, "/")
		if op.Method != method || len(want) != len(got) {
			continue
		}
		fits := true
		for i := range want {
			fits = fits && (want[i] == "*" || want[i] == got[i])
		}
		if fits {
			return true
		}
	}
	return false
}
