package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"
)

// ErrNotAccepted is a person's token that GitLab does not accept.
var ErrNotAccepted = errors.New("GitLab does not accept this token")

// ErrReadsOnly is a person's token that may only read.
var ErrReadsOnly = errors.New("this token may only read")

// ErrNoProject is a project that does not exist, or that the person may not see.
var ErrNoProject = errors.New("there is no such project, or you may not see it")

// Caller asks GitLab, with a person's own access token, who the person is and which project
// they mean by its path. The token is used for these questions and kept nowhere. It takes the
// scope api, by which they could also write a comment that asks for the same: whoever has
// only been lent a token to read with must not get anything done by it.
func (c *Client) Caller(ctx context.Context, token, path string) (who Me, project int64, err error) {
	theirs, err := c.as(token)
	if err != nil {
		return Me{}, 0, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	u, resp, err := theirs.Users.CurrentUser(api.WithContext(ctx))
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Me{}, 0, ErrNotAccepted
	case err != nil:
		return Me{}, 0, c.failed(ctx, call{doing: "ask GitLab whose token this is"}, resp, err)
	}
	own, resp, err := theirs.PersonalAccessTokens.GetSinglePersonalAccessToken(api.WithContext(ctx))
	switch status := statusOf(err); {
	case status == http.StatusForbidden, status == http.StatusNotFound, err == nil && !slices.Contains(own.Scopes, "api"):
		return Me{}, 0, ErrReadsOnly
	case err != nil:
		return Me{}, 0, c.failed(ctx, call{doing: "ask GitLab what this token may do"}, resp, err)
	}
	p, resp, err := theirs.Projects.GetProject(path, nil, api.WithContext(ctx))
	switch status := statusOf(err); {
	case status == http.StatusNotFound, status == http.StatusForbidden:
		return Me{}, 0, ErrNoProject
	case err != nil:
		return Me{}, 0, c.failed(ctx, call{doing: "look up the project"}, resp, err)
	}
	return Me{ID: u.ID, Username: u.Username}, p.ID, nil
}

// as is a client for a person's own token.
func (c *Client) as(token string) (*api.Client, error) {
	if strings.TrimSpace(token) == "" {
		return nil, ErrNotAccepted
	}
	theirs, err := api.NewClient(token,
		api.WithBaseURL(strings.TrimRight(c.o.URL, "/")),
		api.WithHTTPClient(&http.Client{
			Transport:     &transport{next: c.o.Transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		api.WithoutRetries(), api.WithCustomLeveledLogger(quiet{}), api.WithUserAgent("slipway"),
	)
	if err != nil {
		return nil, fmt.Errorf("gitlab: make a client: %w", err)
	}
	return theirs, nil
}
