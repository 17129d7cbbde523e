package kubetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubefault"
)

// Proxy is a way of one test's own to the API server. It breaks without other tests noticing.
type Proxy struct {
	*kubefault.Faults
	// URL is where the proxy listens.
	URL string

	config *rest.Config
	client kubernetes.Interface // straight to the API server
	forget history
}

// history is how far back the proxy still lets watches begin.
type history struct {
	mu    sync.Mutex
	begin uint64
}

// Proxy puts a proxy before the API server, until the test ends. On an external cluster the test is skipped, because
// the proxy knows no way for clients that show certificates.
func (c *Cluster) Proxy(t testing.TB) *Proxy {
	t.Helper()
	if c.plane == nil {
		t.Skip("kubetest: there is no proxy before an external cluster")
	}
	target, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start a proxy: %v", err)
	}
	p := &Proxy{Faults: kubefault.New(), URL: "https://" + raw.Addr().String(), config: c.Config(), client: c.client}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.plane.certs.ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	reverse := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches are sent as they come
		ModifyResponse: endQuietly,
		ErrorLog:       log.New(io.Discard, "", 0), // clients go in the middle of things: that is what they are tested for
	}
	server := &http.Server{
		Handler: p.Handler(p.watched(reverse)), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{c.plane.certs.server}},
		ErrorLog:  reverse.ErrorLog,
	}
	done := make(chan struct{})
	go func() {
		_ = server.ServeTLS(p.Listener(raw), "", "") // ends with the test
		close(done)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		transport.CloseIdleConnections()
	})
	return p
}

// Through is a client configuration that goes through the proxy.
func (p *Proxy) Through(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	out.Host = p.URL
	return out
}

// Config is an administrator's client configuration that goes through the proxy.
func (p *Proxy) Config() *rest.Config { return p.Through(p.config) }

// Kubeconfig is the same as a kubeconfig, with a namespace as the context's default.
func (p *Proxy) Kubeconfig(t testing.TB, namespace string) []byte {
	t.Helper()
	content, err := kubeconfigOf(p.Config(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// ExpireHistory ends all watches, and answers those that want to begin before now with 410 Gone, as after a compaction.
func (p *Proxy) ExpireHistory(t testing.TB) {
	t.Helper()
	// A write moves the cluster's version, so that everything that was read before is older.
	mark := coreconfig.ConfigMap("kubetest-history", "default").WithData(map[string]string{"now": time.Now().Format(time.RFC3339Nano)})
	written, err := p.client.CoreV1().ConfigMaps("default").Apply(t.Context(), mark, metav1.ApplyOptions{FieldManager: "kubetest", Force: true})
	if err != nil {
		t.Fatalf("expire the history: %v", err)
	}
	version, err := strconv.ParseUint(written.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatalf("expire the history: %v", err)
	}
	p.forget.mu.Lock()
	p.forget.begin = version
	p.forget.mu.Unlock()
	p.EndWatches()
}

// expired tells whether a watch wants to begin before what is left of the history.
func (h *history) expired(from string) bool {
	version, err := strconv.ParseUint(from, 10, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	return err == nil && version > 0 && version < h.begin
}

// errCut ends a watch because the faults say so.
var errCut = errors.New("watch ended by a test")

// watched gives watches an end of their own.
func (p *Proxy) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if watch := query.Get("watch"); watch != "true" && watch != "1" {
			next.ServeHTTP(w, r)
			return
		}
		if from := query.Get("resourceVersion"); p.forget.expired(from) {
			kubefault.Answer(w, &metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
				Message: fmt.Sprintf("too old resource version: %s", from),
			})
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		cut := p.WatchesEnd()
		go func() {
			select {
			case <-cut:
				cancel(errCut)
			case <-ctx.Done():
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// endQuietly makes a watch that was cut end as one does whose time is over.
func endQuietly(response *http.Response) error {
	response.Body = &quietBody{response.Body, response.Request.Context()}
	return nil
}

type quietBody struct {
	io.ReadCloser
	ctx context.Context // of the request whose body it is
}

func (b *quietBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && errors.Is(context.Cause(b.ctx), errCut) {
		return n, io.EOF
	}
	return n, err
}
