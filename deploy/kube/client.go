package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Options says which cluster, and how to talk to it. One of Kubeconfig, KubeconfigPath, InCluster and Server is given.
type Options struct {
	Name           string // of the cluster, for people; required
	Kubeconfig     []byte
	KubeconfigPath string
	Context        string // of the kubeconfig; "" is its current one
	InCluster      bool   // the service account of the pod that Slipway runs in
	// Server is the API's address, for a cluster that has no kubeconfig: an agent's proxy. It goes with BearerToken, and
	// with CAFile (PEM) where the system doesn't trust its certificate.
	Server, BearerToken, CAFile string
	// As lets the cluster treat Slipway as a service account of its own; the zero value is nobody.
	As        ServiceAccount
	UserAgent string // default "slipway"
	// Timeout of one request that isn't a watch; default 20 s.
	Timeout time.Duration
	// QPS and Burst bound the requests a second. client-go's own 5 and 10 would slow deliveries down silently; the
	// defaults are 300 and 600, and the cluster bounds what is fair by itself.
	QPS   float32
	Burst int
	// Linger is how long the watches of Live go on after the last look; default 5 min.
	Linger time.Duration
}

// ServiceAccount is one of a cluster's.
type ServiceAccount struct{ Namespace, Name string }

// String is "namespace/name", "" for nobody.
func (s ServiceAccount) String() string {
	if s == (ServiceAccount{}) {
		return ""
	}
	return s.Namespace + "/" + s.Name
}

// user is what the cluster calls the account.
func (s ServiceAccount) user() string { return "system:serviceaccount:" + s.Namespace + ":" + s.Name }

// Client is a connection to one cluster. It is safe for concurrent use.
type Client struct {
	name    string
	timeout time.Duration
	as      ServiceAccount
	http    *http.Client
	server  *url.URL
	dynamic dynamic.Interface
	typed   clients
	names   metadata.Interface // for what is shown by name only
	cache   discovery.CachedDiscoveryInterfaceWithContext
	mapper  meta.ResettableRESTMapperWithContext

	linger time.Duration

	mu       sync.Mutex
	written  map[writtenKey]written
	lookouts map[string]*lookout // by namespace
	closed   bool
}

// written is what our own last write of a workload gave: nothing older is believed.
type written struct {
	uid        types.UID
	generation int64
}

type writtenKey struct{ resource, namespace, name string }

// New makes a client. It doesn't talk to the cluster yet.
func New(o Options) (*Client, error) {
	if o.Name == "" {
		return nil, errors.New("kube: the cluster needs a name")
	}
	config, err := restConfig(o)
	if err != nil {
		return nil, fmt.Errorf("kube: cluster %s: %w", o.Name, err)
	}
	if o.As != (ServiceAccount{}) {
		if o.As.Namespace == "" || o.As.Name == "" {
			return nil, fmt.Errorf("kube: cluster %s: a service account has a namespace and a name", o.Name)
		}
		// The user alone: the cluster adds the groups of a service account by itself, and naming them would take the
		// right to impersonate groups, which no Role of a namespace can give.
		config.Impersonate = rest.ImpersonationConfig{UserName: o.As.user()}
	}
	config.QPS, config.Burst = o.QPS, o.Burst
	if config.QPS <= 0 {
		config.QPS = 300
	}
	if config.Burst <= 0 {
		config.Burst = 600
	}
	if config.UserAgent = o.UserAgent; o.UserAgent == "" {
		config.UserAgent = "slipway"
	}
	config.Timeout = 0                        // it would end watches too; requests get theirs by context
	config.WarningHandler = rest.NoWarnings{} // they would go to standard error
	c := &Client{name: o.Name, timeout: o.Timeout, as: o.As, linger: idleTime(o.Linger), written: map[writtenKey]written{}}
	if c.timeout <= 0 {
		c.timeout = 20 * time.Second
	}
	if err := c.connect(config); err != nil {
		return nil, fmt.Errorf("kube: cluster %s: %w", o.Name, err)
	}
	return c, nil
}

// connect makes the clients, which share their connections. Nothing is sent yet.
func (c *Client) connect(config *rest.Config) error {
	var err error
	if c.server, _, err = rest.DefaultServerUrlFor(config); err != nil {
		return err
	}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, c.http); err != nil {
		return err
	}
	if c.typed, err = newClients(config, c.http); err != nil {
		return err
	}
	if c.names, err = metadata.NewForConfigAndClient(config, c.http); err != nil {
		return err
	}
	found, err := discovery.NewDiscoveryClientForConfigAndClient(config, c.http)
	if err != nil {
		return err
	}
	c.cache = memory.NewMemCacheClientWithContext(found)
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapperWithContext(c.cache)
	return nil
}

func restConfig(o Options) (*rest.Config, error) {
	given := 0
	for _, is := range []bool{len(o.Kubeconfig) > 0, o.KubeconfigPath != "", o.InCluster, o.Server != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("one of kubeconfig, its path, in-cluster and a server must be given")
	}
	if o.Server != "" {
		return &rest.Config{Host: o.Server, BearerToken: o.BearerToken, TLSClientConfig: rest.TLSClientConfig{CAFile: o.CAFile}}, nil
	}
	if o.InCluster {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("use the pod's service account: %w", err)
		}
		return config, nil
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	if o.KubeconfigPath != "" {
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: o.KubeconfigPath}
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("read kubeconfig %s: %w", o.KubeconfigPath, err)
		}
		return config, nil
	}
	raw, err := clientcmd.Load(o.Kubeconfig)
	if err != nil {
		return nil, errors.New("read kubeconfig: it is not valid") // the cause may quote it, and it holds secrets
	}
	if len(raw.Contexts) == 0 {
		return nil, errors.New("read kubeconfig: it has no contexts")
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return config, nil
}

// Ping asks the cluster for its version, such as "v1.37.2".
func (c *Client) Ping(ctx context.Context) (string, error) {
	requestCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	version, err := c.cache.ServerVersionWithContext(requestCtx)
	if err != nil {
		return "", c.failure(ctx, err, attempt{verb: "get", resource: "version"})
	}
	return version.GitVersion, nil
}

// Namespace is one namespace of the cluster.
func (c *Client) Namespace(name string) *Namespace { return &Namespace{Client: c, namespace: name} }

// Namespace implements deploy.Cluster.
type Namespace struct {
	*Client
	namespace string
	crds      bool
}

// AllowCRDs is the same namespace, for whoever may also define kinds for the whole cluster.
func (n *Namespace) AllowCRDs() *Namespace {
	return &Namespace{Client: n.Client, namespace: n.namespace, crds: true}
}

var _ deploy.Cluster = (*Namespace)(nil)

// resource finds how the cluster serves a kind, and refuses kinds without a namespace, except for definitions of kinds
// where they are allowed.
func (n *Namespace) resource(ctx context.Context, o manifest.Object) (dynamic.ResourceInterface, *meta.RESTMapping, error) {
	gvk := o.GroupVersionKind()
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	mapping, err := n.mapper.RESTMappingWithContext(requestCtx, gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) { // it may have been installed since the kinds were last read
		n.mapper.ResetWithContext(requestCtx)
		mapping, err = n.mapper.RESTMappingWithContext(requestCtx, gvk.GroupKind(), gvk.Version)
	}
	if meta.IsNoMatchError(err) {
		return nil, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s: cluster %s doesn't know %s in %s", o.Title(), n.name, gvk.Kind, o.GetAPIVersion()), err)
	}
	if err != nil {
		return nil, nil, n.failure(ctx, err, attempt{verb: "get", resource: allKinds})
	}
	if o.DefinesKind() && n.crds {
		return n.dynamic.Resource(mapping.Resource), mapping, nil
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return nil, nil, refusal(pipeline.ReasonNotAllowed, fmt.Sprintf("%s belongs to the whole cluster, and a delivery only changes its environment's namespace", o.Title()), nil)
	}
	return n.dynamic.Resource(mapping.Resource).Namespace(n.namespace), mapping, nil
}
