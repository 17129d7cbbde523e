// Package contract checks that requests are what GitLab's published OpenAPI document says they may be.
//
// The document describes requests well and answers badly, so requests are checked more strictly than OpenAPI asks
// for (no unknown query parameter, no unknown body property) and answers not at all.
package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// Contract is a loaded and patched OpenAPI document. It is safe for concurrent use.
type Contract struct {
	router routers.Router
}

// New loads the document (YAML), patches its known errors (see [patches]) and makes its bodies closed.
func New(openapiYAML []byte) (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapiYAML)
	if err != nil {
		return nil, fmt.Errorf("load OpenAPI document: %w", err)
	}
	doc.Servers = nil
	doc.Security = nil
	for _, p := range patches() {
		if err := p.apply(doc); err != nil {
			return nil, fmt.Errorf("patch OpenAPI document, %s: %w", p.What, err)
		}
	}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			closeBodies(op)
		}
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	return &Contract{router: router}, nil
}

// closeBodies refuses properties that the document doesn't name.
func closeBodies(op *openapi3.Operation) {
	if op.RequestBody == nil || op.RequestBody.Value == nil {
		return
	}
	for _, media := range op.RequestBody.Value.Content {
		closeSchema(media.Schema)
	}
}

func closeSchema(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil {
		return
	}
	s := ref.Value
	if len(s.Properties) > 0 {
		closed := false
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: &closed}
	}
	for _, p := range s.Properties {
		closeSchema(p)
	}
	closeSchema(s.Items)
}

// Check says what is wrong with a request. The URL needs the path as it was sent (escaped) and the query; the body
// may be nil. An operation that the document doesn't have is an error unless [extra] names it.
func (c *Contract) Check(method, rawURL string, header http.Header, body []byte) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return fmt.Errorf("check request: %w", err)
	}
	if allowed(method, u.EscapedPath()) {
		return nil
	}
	if string(bytes.TrimSpace(body)) == "null" {
		body = nil // what Go clients send for options that are nil; GitLab reads it as nothing
	}
	query := u.Query()
	u.RawPath = strings.TrimSuffix(u.EscapedPath(), ".tar.gz")
	u.Path = strings.TrimSuffix(u.Path, ".tar.gz")
	u.RawQuery = plainArrays(query).Encode()
	req, err := http.NewRequest(method, u.String(), io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return fmt.Errorf("check request: %w", err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.ContentLength = int64(len(body))
	found, vars, err := c.router.FindRoute(req)
	if err != nil {
		return fmt.Errorf("check %s %s: the contract has no such operation: %w", method, u.EscapedPath(), err)
	}
	if err := known(found.Operation, query); err != nil {
		return fmt.Errorf("check %s %s: %w", method, u.EscapedPath(), err)
	}
	if len(body) > 0 && (found.Operation.RequestBody == nil || found.Operation.RequestBody.Value == nil) {
		return fmt.Errorf("check %s %s: the operation takes no body", method, u.EscapedPath())
	}
	if len(body) == 0 && optionalBody(found.Operation) {
		req.Header.Del("Content-Type")
	}
	err = openapi3filter.ValidateRequest(req.Context(), &openapi3filter.RequestValidationInput{
		Request: req, PathParams: vars, Route: found,
		Options: &openapi3filter.Options{
			MultiError: true, SkipSettingDefaults: true,
			AuthenticationFunc: func(context.Context, *openapi3filter.AuthenticationInput) error { return nil },
		},
	})
	if err != nil {
		return fmt.Errorf("check %s %s: %w", method, u.EscapedPath(), err)
	}
	return nil
}

// optionalBody says that no body has to be sent: GitLab's document marks bodies required also where no property is.
func optionalBody(op *openapi3.Operation) bool {
	if op.RequestBody == nil || op.RequestBody.Value == nil {
		return false
	}
	for _, media := range op.RequestBody.Value.Content {
		if media.Schema != nil && media.Schema.Value != nil && len(media.Schema.Value.Required) > 0 {
			return false
		}
	}
	return true
}

// plainArrays writes name[]=a as name=a, the way that the document names array parameters.
func plainArrays(query url.Values) url.Values {
	plain := url.Values{}
	for name, values := range query {
		bare := strings.TrimSuffix(name, "[]")
		plain[bare] = append(plain[bare], values...)
		if bare != name && len(values) > 1 {
			plain[bare] = []string{strings.Join(values, ",")}
		}
	}
	return plain
}

func known(op *openapi3.Operation, query url.Values) error {
	var errs []error
	for name := range query {
		bare := strings.TrimSuffix(name, "[]")
		if op.Parameters.GetByInAndName(openapi3.ParameterInQuery, bare) == nil {
			errs = append(errs, fmt.Errorf("the operation has no query parameter %q", name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
