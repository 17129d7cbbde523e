package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// DeliveryKey names a delivery, the same for every repetition of it, in at most 260 printable ASCII bytes.
// It is `id:` and webhook-id (GitLab 19.0, covered by the signature) or Idempotency-Key (17.4), which are equal
// and stay over resends. Older servers send neither: there it is `sha256:` and the hash of the body.
// X-Gitlab-Event-UUID is shared by recursive hooks and X-Gitlab-Webhook-UUID is new per request: neither is a key.
func DeliveryKey(header http.Header, body []byte) string {
	for _, name := range []string{"webhook-id", "Idempotency-Key"} {
		if id := header.Get(name); usableID(id) {
			return "id:" + id
		}
	}
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func usableID(id string) bool {
	if id == "" || len(id) > maxIDBytes {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}
