package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab"
)

const soon = 14 * 24 * time.Hour // before a token ends

func (s *Sources) gitlab(ctx context.Context) []Finding {
	url := s.Config.GitLab.URL
	me, err := s.GitLab.Me(ctx)
	if err != nil {
		return []Finding{broken(url+": "+words(err), "check gitlab.url and gitlab.token; the same question, by hand:",
			`curl --header "PRIVATE-TOKEN: $TOKEN" `+url+"/api/v4/user")}
	}
	version, err := s.GitLab.Version(ctx)
	if err != nil {
		return []Finding{broken(url+": "+words(err), "check gitlab.url: it is GitLab's own address, without /api/v4")}
	}
	who := fmt.Sprintf("%s is GitLab %s and knows us as @%s", url, version, me.Username)
	token, err := s.GitLab.Token(ctx)
	switch {
	case errors.Is(err, gitlab.ErrHidden):
		return []Finding{note(who + "; GitLab doesn't tell what the token may do")}
	case err != nil:
		return []Finding{broken(who + ", but " + words(err))}
	case !slices.Contains(token.Scopes, "api"):
		return []Finding{broken(fmt.Sprintf("%s, but the token has the scopes %s", who, orNone(token.Scopes)),
			"make a token with the scope api and the role Developer, and put it into gitlab.token (docs/gitlab.md)")}
	}
	if token.Expires.IsZero() {
		return []Finding{fine(who + "; the token has the scope api and doesn't end")}
	}
	who += "; the token has the scope api and ends on " + token.Expires.Format(time.DateOnly)
	if token.Expires.Sub(s.Now()) < soon {
		return []Finding{note(who, "rotate it before, and put the new one into gitlab.token")}
	}
	return []Finding{fine(who)}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
