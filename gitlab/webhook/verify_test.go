package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// GitLab's own published vector.
const (
	vectorToken     = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	vectorID        = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"
	vectorTimestamp = "1744578123"
	vectorBody      = `{"object_kind":"push"}`
	vectorSignature = "v1,Sp6eEtWPfePxY+jOOgrLYjgw2PxaWCPwmS7SqImwe6U="
)

var (
	vectorTime = time.Unix(1744578123, 0)
	otherToken = "whsec_" + base64.StdEncoding.EncodeToString([]byte("another key of thirty-two bytes!"))
)

func TestVerify(t *testing.T) {
	signed := map[string]string{
		"webhook-id": vectorID, "webhook-timestamp": vectorTimestamp, "webhook-signature": vectorSignature,
	}
	with := func(changes ...string) map[string]string {
		h := map[string]string{}
		for k, v := range signed {
			h[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			h[changes[i]] = changes[i+1]
		}
		return h
	}
	signing, secret := []string{vectorToken}, []string{"old", "new"}
	tests := []struct {
		name    string
		signing []string
		secret  []string
		header  map[string]string
		body    string
		now     time.Time
		want    error
	}{
		{name: "GitLab's published vector is accepted", signing: signing, header: signed},
		{name: "a hook signed by the second of two tokens is accepted", signing: []string{otherToken, vectorToken}, header: signed},
		{name: "one good signature among several is enough", signing: signing,
			header: with("webhook-signature", "v1,AAAA v2,whatever "+vectorSignature)},
		{name: "the edge of the allowed skew is accepted in the past", signing: signing, header: signed, now: vectorTime.Add(5 * time.Minute)},
		{name: "the edge of the allowed skew is accepted in the future", signing: signing, header: signed, now: vectorTime.Add(-5 * time.Minute)},
		{name: "a second beyond the skew is refused", signing: signing, header: signed, now: vectorTime.Add(5*time.Minute + time.Second), want: errStaleTimestamp},
		{name: "a timestamp from the future is refused", signing: signing, header: signed, now: vectorTime.Add(-6 * time.Minute), want: errStaleTimestamp},
		{name: "a hook without signature is refused where a signing token is configured", signing: signing, header: nil, want: errMissingSignature},
		{name: "the right secret token doesn't replace a signature", signing: signing, secret: secret,
			header: map[string]string{"X-Gitlab-Token": "new"}, want: errMissingSignature},
		{name: "a signature without id is refused", signing: signing, header: with("webhook-id", ""), want: errMissingID},
		{name: "an endless id is refused", signing: signing, header: with("webhook-id", strings.Repeat("x", 257)), want: errMissingID},
		{name: "a signature without timestamp is refused", signing: signing, header: with("webhook-timestamp", ""), want: errMissingTimestamp},
		{name: "a timestamp that is no number is refused", signing: signing, header: with("webhook-timestamp", "yesterday"), want: errBadTimestamp},
		{name: "a changed timestamp breaks the signature", signing: signing, header: with("webhook-timestamp", "1744578124"), want: errBadSignature},
		{name: "a changed id breaks the signature", signing: signing, header: with("webhook-id", "another"), want: errBadSignature},
		{name: "a changed body breaks the signature", signing: signing, header: signed, body: `{"object_kind":"note"}`, want: errBadSignature},
		{name: "a signature of another key is refused", signing: []string{otherToken}, header: signed, want: errBadSignature},
		{name: "a signature of an unknown version is refused", signing: signing,
			header: with("webhook-signature", "v2"+strings.TrimPrefix(vectorSignature, "v1")), want: errBadSignature},
		{name: "an empty signature value is refused", signing: signing, header: with("webhook-signature", "v1,"), want: errBadSignature},
		{name: "a signed hook with a wrong secret token beside it is refused", signing: signing, secret: secret,
			header: with("X-Gitlab-Token", "guess"), want: errWrongToken},
		{name: "a signed hook needs no secret token", signing: signing, secret: secret, header: signed},
		{name: "either of two secret tokens is accepted", secret: secret, header: map[string]string{"X-Gitlab-Token": "old"}},
		{name: "a missing secret token is refused", secret: secret, header: nil, want: errMissingToken},
		{name: "a wrong secret token is refused", secret: secret, header: map[string]string{"X-Gitlab-Token": "olde"}, want: errWrongToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := tt.now
			if now.IsZero() {
				now = vectorTime
			}
			v, err := New(Options{SigningTokens: tt.signing, SecretTokens: tt.secret, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			body := tt.body
			if body == "" {
				body = vectorBody
			}
			header := http.Header{}
			for k, val := range tt.header {
				header.Set(k, val)
			}
			got := v.Verify(header, []byte(body))
			if !errors.Is(got, tt.want) || (tt.want == nil) != (got == nil) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if got != nil && !errors.Is(got, ErrUnauthorized) {
				t.Errorf("%v doesn't match ErrUnauthorized", got)
			}
		})
	}
}

func TestSignMakesTheVector(t *testing.T) {
	got, err := Sign(vectorToken, vectorID, vectorTime, []byte(vectorBody))
	if err != nil || got != vectorSignature {
		t.Errorf("got %q, %v, want %q", got, err, vectorSignature)
	}
}

func TestNewRefusesUnusableOptionsWithoutSayingTheirValue(t *testing.T) {
	const hidden = "s3cr3t"
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no token at all", Options{}, "neither a signing token nor a secret token"},
		{"a signing token of another form", Options{SigningTokens: []string{vectorToken, hidden}}, "signing token 2"},
		{"a signing token that isn't base64", Options{SigningTokens: []string{"whsec_" + hidden + "!"}}, "not base64"},
		{"a signing token that is too short", Options{SigningTokens: []string{"whsec_c2hvcnQ="}}, "fewer than 16 bytes"},
		{"an empty secret token", Options{SecretTokens: []string{" "}}, "secret token 1 is empty"},
		{"a negative skew", Options{SecretTokens: []string{hidden}, MaxSkew: -1}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want it to say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestVerifierDoesNotPrintItsTokens(t *testing.T) {
	v, err := New(Options{SigningTokens: []string{vectorToken}, SecretTokens: []string{"s3cr3t"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); strings.Count(got, "webhook.Verifier[secret]") != 4 {
		t.Errorf("printed as %s", got)
	}
}

func TestDeliveryKey(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		name   string
		header map[string]string
		body   string
		want   string
	}{
		{"the signed id comes first", map[string]string{"webhook-id": "a", "Idempotency-Key": "b"}, "{}", "id:a"},
		{"the idempotency key is the same id on servers before 19.0", map[string]string{"Idempotency-Key": "b"}, "{}", "id:b"},
		{"ids that are new per request are no key", map[string]string{"X-Gitlab-Webhook-UUID": "c", "X-Gitlab-Event-UUID": "d"}, "{}",
			"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"an endless id is no key", map[string]string{"Idempotency-Key": long}, "{}",
			"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"an id with control characters is no key", map[string]string{"Idempotency-Key": "a\nb"}, "{}",
			"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			for k, v := range tt.header {
				header.Set(k, v)
			}
			if got := DeliveryKey(header, []byte(tt.body)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
