package kubetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

//go:embed stages.yaml
var stages []byte

// controlPlane is the running programs and how to reach them.
type controlPlane struct {
	dir        string // everything that they write; removed when etcd ends
	url        string
	kubeconfig string // file of an administrator
	certs      *certificates
	parts      []*part
	apiServer  *part
}

// startControlPlane returns when the API server answers and the nodes are made.
func startControlPlane(ctx context.Context, executable string) (_ *controlPlane, err error) {
	dir, err := os.MkdirTemp("", "kubetest-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the control plane: %w", err)
	}
	cp := &controlPlane{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.failure())
			cp.stop()
		}
	}()
	certs, err := newCertificates(dir)
	if err != nil {
		return nil, err
	}
	cp.certs = certs
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cp.url = "https://127.0.0.1:" + strconv.Itoa(port)
	token := fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
	config := &rest.Config{Host: cp.url, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: certs.ca}}
	cp.kubeconfig = filepath.Join(dir, "admin.kubeconfig")
	files := map[string][]byte{
		cp.kubeconfig:                     nil,
		filepath.Join(dir, "tokens.csv"):  []byte(token + ",admin,admin,system:masters\n"),
		filepath.Join(dir, "stages.yaml"): stages,
	}
	if files[cp.kubeconfig], err = kubeconfigOf(config, ""); err != nil {
		return nil, err
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, fmt.Errorf("write the control plane's files: %w", err)
		}
	}

	if err := cp.startStorage(ctx, executable); err != nil {
		return nil, err
	}
	if cp.apiServer, err = cp.start(executable, "kube-apiserver", nil, apiServerFlags(dir, port, certs)); err != nil {
		return nil, err
	}
	for name, flags := range map[string][]string{
		"kube-controller-manager": controllerManagerFlags(cp.kubeconfig, certs),
		"kube-scheduler":          schedulerFlags(cp.kubeconfig),
	} {
		if _, err := cp.start(executable, name, nil, flags); err != nil {
			return nil, err
		}
	}
	if err := cp.waitReady(ctx, certs.ca, token); err != nil {
		return nil, err
	}
	if err := startNodes(ctx, config, certs); err != nil {
		return nil, err
	}
	_, err = cp.start(executable, "kwok", nil, kwokFlags(dir, cp.kubeconfig))
	return cp, err
}

func (cp *controlPlane) start(executable, name string, env, flags []string) (*part, error) {
	p, err := startPart(executable, cp.dir, name, env, flags)
	if err != nil {
		return nil, err
	}
	cp.parts = append(cp.parts, p)
	return p, nil
}

// startStorage starts etcd and returns when it can be dialled: an API server that finds nobody there waits for a
// second before it tries again.
func (cp *controlPlane) startStorage(ctx context.Context, executable string) error {
	socket := "unix://" + filepath.Join(cp.dir, "etcd.sock")
	peer := "unix://" + filepath.Join(cp.dir, "peer.sock")
	etcd, err := cp.start(executable, "etcd", []string{"CONTROLPLANE_REMOVE=" + cp.dir}, []string{
		"--data-dir=" + filepath.Join(cp.dir, "etcd"),
		"--listen-client-urls=" + socket, "--advertise-client-urls=" + socket,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--unsafe-no-fsync", "--log-level=warn",
	})
	if err != nil {
		return err
	}
	return poll(ctx, etcd.ended, "etcd answers", func() bool {
		conn, err := net.Dial("unix", strings.TrimPrefix(socket, "unix://"))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

func (cp *controlPlane) waitReady(ctx context.Context, ca []byte, token string) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
	}
	return poll(ctx, cp.apiServer.ended, "the API server is ready", func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, cp.url+"/readyz", nil)
		if err != nil {
			return false
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// poll asks until the answer is yes, or until the context or the program ended, where one is given by its channel.
func poll(ctx context.Context, ended <-chan struct{}, what string, ask func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("wait until %s: the program has ended", what)
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// failure says what the programs wrote last.
func (cp *controlPlane) failure() error {
	var errs []error
	for _, p := range cp.parts {
		errs = append(errs, fmt.Errorf("%s wrote last:\n%s", p.name, p.logTail()))
	}
	return errors.Join(errs...)
}

func (cp *controlPlane) stop() {
	for _, p := range cp.parts {
		p.kill()
	}
	_ = os.RemoveAll(cp.dir)
}

func (cp *controlPlane) pause() error  { return cp.apiServer.signal(syscall.SIGSTOP) }
func (cp *controlPlane) resume() error { return cp.apiServer.signal(syscall.SIGCONT) }

func apiServerFlags(dir string, port int, certs *certificates) []string {
	return []string{
		"--etcd-servers=unix://" + filepath.Join(dir, "etcd.sock"),
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + certs.serverFile, "--tls-private-key-file=" + certs.keyFile,
		"--authorization-mode=RBAC", "--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
		"--service-account-issuer=https://kubetest.invalid",
		"--service-account-key-file=" + certs.signerFile, "--service-account-signing-key-file=" + certs.signerFile,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--kubelet-certificate-authority=" + certs.caFile, "--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged", "--profiling=false", "--enable-priority-and-fairness=false",
	}
}

// The rates are raised because everything here is on one machine: the defaults are made to protect a big cluster.
func controllerManagerFlags(kubeconfig string, certs *certificates) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file=" + certs.signerFile, "--root-ca-file=" + certs.caFile,
		"--kube-api-qps=1000", "--kube-api-burst=1000",
		// kwok's nodes tell of themselves only every few minutes, which would make them count as lost.
		"--node-monitor-grace-period=24h",
	}
}

func schedulerFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=1000", "--kube-api-burst=1000",
	}
}

func kwokFlags(dir, kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--config=" + filepath.Join(dir, "stages.yaml"),
		"--manage-all-nodes=true", "--node-ip=127.0.0.1", "--cidr=10.244.0.0/16", "--server-address=",
	}
}

// freePort returns a port that nobody listens on. It is below the ranges that systems take ports for outgoing
// connections from, so that the busy tests of other packages don't take it in the next second.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("find a free port: none of 100 tried is free")
}

// kubeconfigOf writes a client's configuration, with a bearer token, as a kubeconfig with one context.
func kubeconfigOf(config *rest.Config, namespace string) ([]byte, error) {
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			"kubetest": {Server: config.Host, CertificateAuthorityData: config.CAData},
		},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"kubetest": {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"kubetest": {Cluster: "kubetest", AuthInfo: "kubetest", Namespace: namespace}},
		CurrentContext: "kubetest",
	})
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	return content, nil
}
