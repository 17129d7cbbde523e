// Package googlecloud asks Google Cloud Monitoring by PromQL, which it takes for all its metrics, through the part of
// its API that is like Prometheus'. What is said of the times of package prometheus is true here, too.
//
// Source: https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.location.prometheus.api.v1/query_range
package googlecloud

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/prometheus"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// scope lets read, and nothing else: https://developers.google.com/identity/protocols/oauth2/scopes#monitoring
const scope = "https://www.googleapis.com/auth/monitoring.read"

// Options for New. Project and Credentials are required.
type Options struct {
	URL     string // https://monitoring.googleapis.com where ""
	Project string // id or number
	// Credentials are the JSON key of a service account. Others, such as those of the machine, are never looked for.
	Credentials string
	Limits      wire.Limits
}

var project = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`)

// New makes a source. It asks nothing yet.
func New(o Options) (metrics.Sampler, error) {
	if o.URL == "" {
		o.URL = "https://monitoring.googleapis.com"
	}
	if !project.MatchString(o.Project) {
		return nil, fmt.Errorf("googlecloud: %q is not the id of a project", o.Project)
	}
	var account struct {
		Type        string
		ClientEmail string `json:"client_email"`
		KeyID       string `json:"private_key_id"`
		Key         string `json:"private_key"`
		TokenURI    string `json:"token_uri"`
	}
	err := json.Unmarshal([]byte(o.Credentials), &account)
	if block, _ := pem.Decode([]byte(account.Key)); err != nil || account.Type != "service_account" || account.ClientEmail == "" || block == nil {
		return nil, errors.New("googlecloud: the credentials are not the JSON key of a service account")
	}
	// The signed request for a token goes to the address that the file names; without https anybody could read the token.
	if err := wire.Secure("Google", account.TokenURI); err != nil {
		return nil, err
	}
	tokens := &tokens{account: jwt.Config{
		Email: account.ClientEmail, PrivateKey: []byte(account.Key), PrivateKeyID: account.KeyID, Scopes: []string{scope}, TokenURL: account.TokenURI,
	}, client: &http.Client{
		Timeout: 10 * time.Second,
		// Following a redirect would carry the signed request to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return prometheus.New(prometheus.Options{
		URL:    o.URL + "/v1/projects/" + url.PathEscape(o.Project) + "/location/global/prometheus",
		System: "Google Cloud Monitoring", Internet: true, ByGET: true, Limits: o.Limits,
		Sign: tokens.sign,
	})
}

// tokens are those of a service account, each of which is used as long as it is valid. The package oauth2/google would
// do the same, but brings code that looks for credentials of the machine.
type tokens struct {
	account jwt.Config
	client  *http.Client

	mu   sync.Mutex
	last *oauth2.Token
}

func (t *tokens) sign(req *http.Request, _ []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.Valid() {
		token, err := t.account.TokenSource(context.WithValue(req.Context(), oauth2.HTTPClient, t.client)).Token()
		var refused *oauth2.RetrieveError
		switch {
		case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500: // its words may have what was sent
			return errors.New("there is no token for the service account")
		case err != nil: // which passes
			return wire.Later(errors.New("the token of the service account could not be asked for"))
		}
		t.last = token
	}
	t.last.SetAuthHeader(req)
	return nil
}
