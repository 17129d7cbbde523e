package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The checks that [Verifier.Verify] makes. Each error says which check refused the request and nothing
// about the expected value, so its text may be sent to the caller. All of them match [ErrUnauthorized].
var (
	ErrUnauthorized     = errors.New("hook is not authorised")
	errMissingSignature = refusal("the webhook-signature header is missing, and a signing token is configured")
	errMissingID        = refusal("the webhook-id header is missing or longer than 256 bytes")
	errMissingTimestamp = refusal("the webhook-timestamp header is missing")
	errBadTimestamp     = refusal("the webhook-timestamp header is not a number of seconds")
	errBadSignature     = refusal("the webhook-signature header matches no configured signing token")
	errStaleTimestamp   = refusal("the webhook-timestamp is too far from this server's clock")
	errMissingToken     = refusal("the X-Gitlab-Token header is missing")
	errWrongToken       = refusal("the X-Gitlab-Token header matches no configured secret token")
)

type refusalError string

func refusal(text string) error { return refusalError(text) }

func (e refusalError) Error() string { return string(e) }

func (e refusalError) Is(target error) bool { return target == ErrUnauthorized }

const (
	// defaultMaxSkew is how far a signed timestamp may be from this server's clock, either way.
	defaultMaxSkew = 5 * time.Minute

	signingPrefix   = "whsec_"
	signaturePrefix = "v1,"
	// GitLab sends one signature per active key; more than this is somebody trying.
	maxSignatures = 16
	maxIDBytes    = 256
	minKeyBytes   = 16
)

// Options configures a [Verifier].
type Options struct {
	// SigningTokens are the accepted signing tokens, `whsec_` and base64 of the key, several while one is
	// replaced by the next. Where there is one, a request without a valid signature is refused.
	SigningTokens []string
	// SecretTokens are the accepted plain values of X-Gitlab-Token, for GitLab before 19.0.
	SecretTokens []string
	// MaxSkew bounds the age of a signed request; zero means five minutes.
	MaxSkew time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verifier checks that a request was sent by a GitLab that knows one of the configured tokens.
// It is safe for concurrent use and never prints its tokens.
type Verifier struct {
	keys    [][]byte
	tokens  [][sha256.Size]byte
	maxSkew time.Duration
	now     func() time.Time
}

// New returns a Verifier, or an error that says which option is unusable, by its position and never by its value.
// At least one token of either kind is needed: an endpoint that accepts anything can't be configured.
func New(o Options) (*Verifier, error) {
	if len(o.SigningTokens) == 0 && len(o.SecretTokens) == 0 {
		return nil, errors.New("configure hooks: neither a signing token nor a secret token is given")
	}
	if o.MaxSkew < 0 {
		return nil, fmt.Errorf("configure hooks: the clock skew %s is negative", o.MaxSkew)
	}
	v := &Verifier{maxSkew: o.MaxSkew, now: o.Now}
	if v.maxSkew == 0 {
		v.maxSkew = defaultMaxSkew
	}
	if v.now == nil {
		v.now = time.Now
	}
	for i, token := range o.SigningTokens {
		key, err := signingKey(token)
		if err != nil {
			return nil, fmt.Errorf("configure hooks: signing token %d: %w", i+1, err)
		}
		v.keys = append(v.keys, key)
	}
	for i, token := range o.SecretTokens {
		if strings.TrimSpace(token) == "" {
			return nil, fmt.Errorf("configure hooks: secret token %d is empty", i+1)
		}
		v.tokens = append(v.tokens, sha256.Sum256([]byte(token)))
	}
	return v, nil
}

// String keeps the tokens out of logs.
func (v *Verifier) String() string { return "webhook.Verifier[secret]" }

// GoString keeps the tokens out of logs.
func (v *Verifier) GoString() string { return v.String() }

// Verify reports whether the request with this header and raw body is genuine; a non-nil error matches
// [ErrUnauthorized] and says which check failed. With signing tokens configured the signature decides, and
// X-Gitlab-Token is looked at only where it is sent along; otherwise X-Gitlab-Token decides.
func (v *Verifier) Verify(header http.Header, body []byte) error {
	if len(v.keys) > 0 {
		if err := v.verifySignature(header, body); err != nil {
			return err
		}
		if len(v.tokens) == 0 || header.Get("X-Gitlab-Token") == "" {
			return nil
		}
	}
	return v.verifyToken(header)
}

func (v *Verifier) verifySignature(header http.Header, body []byte) error {
	signatures := header.Get("webhook-signature")
	if signatures == "" {
		return errMissingSignature
	}
	id := header.Get("webhook-id")
	if id == "" || len(id) > maxIDBytes {
		return errMissingID
	}
	stamp := header.Get("webhook-timestamp")
	if stamp == "" {
		return errMissingTimestamp
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errBadTimestamp
	}
	if !v.signedBy(signatures, id, stamp, body) {
		return errBadSignature
	}
	// Only somebody who knows the key learns about the clock.
	if age := v.now().Sub(time.Unix(seconds, 0)); age > v.maxSkew || age < -v.maxSkew {
		return errStaleTimestamp
	}
	return nil
}

func (v *Verifier) signedBy(signatures, id, stamp string, body []byte) bool {
	var given [][]byte
	for _, s := range strings.Fields(signatures) {
		if len(given) == maxSignatures {
			break
		}
		encoded, ok := strings.CutPrefix(s, signaturePrefix)
		if !ok {
			continue
		}
		if mac, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			given = append(given, mac)
		}
	}
	ok := 0
	for _, key := range v.keys {
		want := sign(key, id, stamp, body)
		for _, mac := range given {
			ok |= subtle.ConstantTimeCompare(want, mac)
		}
	}
	return ok == 1
}

func (v *Verifier) verifyToken(header http.Header) error {
	given := header.Get("X-Gitlab-Token")
	if given == "" {
		return errMissingToken
	}
	// Hashing first makes the comparison independent of the lengths too.
	sum := sha256.Sum256([]byte(given))
	ok := 0
	for _, want := range v.tokens {
		ok |= subtle.ConstantTimeCompare(want[:], sum[:])
	}
	if ok != 1 {
		return errWrongToken
	}
	return nil
}

// Sign returns the value of the webhook-signature header that GitLab sends for this id, time and raw body.
func Sign(signingToken, id string, at time.Time, body []byte) (string, error) {
	key, err := signingKey(signingToken)
	if err != nil {
		return "", fmt.Errorf("sign hook: %w", err)
	}
	mac := sign(key, id, strconv.FormatInt(at.Unix(), 10), body)
	return signaturePrefix + base64.StdEncoding.EncodeToString(mac), nil
}

func sign(key []byte, id, stamp string, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range []string{id, ".", stamp, "."} {
		h.Write([]byte(part))
	}
	h.Write(body)
	return h.Sum(nil)
}

func signingKey(token string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(token, signingPrefix)
	if !ok {
		return nil, errors.New("it doesn't begin with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		// The decoder's own error names bytes of the secret.
		return nil, errors.New("what follows whsec_ is not base64")
	}
	if len(key) < minKeyBytes {
		return nil, fmt.Errorf("its key has fewer than %d bytes", minKeyBytes)
	}
	return key, nil
}
