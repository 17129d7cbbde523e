package kube

import (
	"errors"
	"net/http"

	appsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	autoscalingv2 "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	batchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingv1 "k8s.io/client-go/kubernetes/typed/networking/v1"
	policyv1 "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// clients are the typed clients of the API groups that Slipway uses. client-go's own set has all groups, whose code would
// be in the binary and in memory.
type clients struct {
	apps          *appsv1.AppsV1Client
	authorization *authorizationv1.AuthorizationV1Client
	autoscaling   *autoscalingv2.AutoscalingV2Client
	batch         *batchv1.BatchV1Client
	core          *corev1.CoreV1Client
	discovery     *discoveryv1.DiscoveryV1Client
	networking    *networkingv1.NetworkingV1Client
	policy        *policyv1.PolicyV1Client
}

// newClients makes clients that share one limit of requests a second, and their connections.
func newClients(config *rest.Config, over *http.Client) (clients, error) {
	var c clients
	shared := *config
	shared.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	err := errors.Join(
		connect(&c.apps, appsv1.NewForConfigAndClient, &shared, over),
		connect(&c.authorization, authorizationv1.NewForConfigAndClient, &shared, over),
		connect(&c.autoscaling, autoscalingv2.NewForConfigAndClient, &shared, over),
		connect(&c.batch, batchv1.NewForConfigAndClient, &shared, over),
		connect(&c.core, corev1.NewForConfigAndClient, &shared, over),
		connect(&c.discovery, discoveryv1.NewForConfigAndClient, &shared, over),
		connect(&c.networking, networkingv1.NewForConfigAndClient, &shared, over),
		connect(&c.policy, policyv1.NewForConfigAndClient, &shared, over),
	)
	return c, err
}

func connect[C any](to *C, dial func(*rest.Config, *http.Client) (C, error), config *rest.Config, over *http.Client) (err error) {
	*to, err = dial(config, over)
	return err
}
