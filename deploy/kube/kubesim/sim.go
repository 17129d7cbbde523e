package kubesim

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/controllers"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// Options of New. The zero value is a cluster of three nodes whose pods are ready after a second.
type Options struct {
	Nodes   int   // how many nodes; 3 when zero
	NodeCPU int64 // of each node, in thousandths of a core; 32000 when zero
	// PodStartTime is from a pod's creation to Ready, PodStopTime from its deletion to its end (never longer than its grace
	// period). Both are real time, not divided by Speed; a second and 300 ms when zero, negative for at once.
	PodStartTime, PodStopTime time.Duration
	// Speed divides the waiting times that Kubernetes itself has: progress deadlines, back-offs, minReadySeconds. 1 when zero.
	Speed float64
	// Now is the clock for timestamps, due times and the Date of answers; time.Now when nil. One that goes wrong makes a
	// cluster whose clock is not its clients'.
	Now func() time.Time
	// Token is the administrator's bearer token; a random one when empty.
	Token string
	// Namespaces are created besides default and kube-system.
	Namespaces []string
	// History is how many changes a watch can go back before it is answered 410 Gone; 2048 when zero.
	History int
	Logger  *slog.Logger // nothing is logged when nil
}

func (o Options) filled() (Options, error) {
	if o.Nodes < 0 || o.NodeCPU < 0 || o.Speed < 0 || o.History < 0 {
		return o, errors.New("kubesim: nodes, cpu, speed and history must not be negative")
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.NodeCPU == 0 {
		o.NodeCPU = 32000
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	o.PodStartTime = timeOr(o.PodStartTime, time.Second)
	o.PodStopTime = timeOr(o.PodStopTime, 300*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Token == "" {
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return o, fmt.Errorf("kubesim: make token: %w", err)
		}
		o.Token = hex.EncodeToString(random)
	}
	return o, nil
}

func timeOr(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return max(d, 0)
}

// Sim is a simulated cluster.
type Sim struct {
	// Faults breaks the cluster while it runs.
	Faults *Faults

	opts Options
	reg  *registry.Registry
	cert *certificate

	mu       sync.RWMutex
	accounts map[string]account // by token
	users    map[string]account // by what the cluster calls them, to impersonate
	server   *http.Server
	listener net.Listener

	done     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
}

// New makes a cluster and starts its controllers; Close stops them. Start serves it, or Handler for a server of your own.
func New(opts Options) (*Sim, error) {
	opts, err := opts.filled()
	if err != nil {
		return nil, err
	}
	s := &Sim{opts: opts, accounts: map[string]account{opts.Token: {user: "kubernetes-admin"}}, users: map[string]account{}, done: make(chan struct{})}
	s.Faults = newFaults()
	if s.reg, err = registry.New(registry.Options{Now: opts.Now, History: opts.History, Admit: s.Faults.admit}); err != nil {
		return nil, fmt.Errorf("kubesim: %w", err)
	}
	if s.cert, err = newCertificate(); err != nil {
		return nil, fmt.Errorf("kubesim: %w", err)
	}
	loop, err := controllers.New(controllers.Options{
		Registry: s.reg, Now: opts.Now, Logger: opts.Logger, Nodes: opts.Nodes, NodeCPU: opts.NodeCPU,
		PodStart: opts.PodStartTime, PodStop: opts.PodStopTime, Speed: opts.Speed,
	})
	if err != nil {
		return nil, fmt.Errorf("kubesim: %w", err)
	}
	for _, name := range append([]string{metav1.NamespaceDefault, metav1.NamespaceSystem}, opts.Namespaces...) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := s.reg.Create(registry.Namespaces, ns, registry.Write{Manager: "kube-apiserver"}); err != nil {
			return nil, fmt.Errorf("kubesim: create namespace %s: %w", name, err)
		}
	}
	if err := loop.AddNodes(); err != nil {
		return nil, fmt.Errorf("kubesim: %w", err)
	}
	s.running.Go(func() { loop.Run(s.done) })
	return s, nil
}

// Start serves the API over HTTPS on the address, "127.0.0.1:0" for a free port of this machine.
func (s *Sim) Start(addr string) error {
	raw, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("kubesim: %w", err)
	}
	listener := s.Faults.Listener(raw)
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cert.pair}, MinVersion: tls.VersionTLS12},
		ErrorLog:  slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = raw.Close()
		return errors.New("kubesim: already started")
	}
	s.server, s.listener = server, listener
	s.running.Go(func() {
		if err := server.ServeTLS(listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.opts.Logger.Error("simulated cluster stopped serving", "error", err)
		}
	})
	return nil
}

// URL is where the API is served, empty before Start.
func (s *Sim) URL() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.listener == nil {
		return ""
	}
	return "https://" + s.listener.Addr().String()
}

// Token is the administrator's bearer token.
func (s *Sim) Token() string { return s.opts.Token }

// CA is the PEM certificate that the server's own can be verified with.
func (s *Sim) CA() []byte { return s.cert.pem }

// Close stops serving and the controllers, and waits for both.
func (s *Sim) Close() error {
	s.stopOnce.Do(func() { close(s.done) })
	s.mu.RLock()
	server := s.server
	s.mu.RUnlock()
	var err error
	if server != nil {
		err = server.Close()
	}
	s.running.Wait()
	if err != nil {
		return fmt.Errorf("kubesim: close: %w", err)
	}
	return nil
}
