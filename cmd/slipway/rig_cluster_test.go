package main

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// serving are the images of the pods that production's Service leads to.
func (r *rig) serving() []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
	defer cancel()
	client := r.kubetest.Client().CoreV1()
	service, err := client.Services(r.prod).Get(ctx, "shop", metav1.GetOptions{})
	if err != nil {
		return nil
	}
	pods, err := client.Pods(r.prod).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return nil
	}
	var images []string
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			images = append(images, c.Image)
		}
	}
	return images
}

// runs checks that all of a namespace's workloads run a commit's image, and no other.
func (r *rig) runs(namespace, sha string) {
	r.Helper()
	r.runsImages(namespace, "registry.example.com/shop:"+sha[:8])
}

// runsTested is runs for what a canary has tested, with the images of further containers: each has the digest with which
// the canary ran. The nodes of the real control plane tell none.
func (r *rig) runsTested(namespace, sha string, more ...string) {
	r.Helper()
	images := append([]string{"registry.example.com/shop:" + sha[:8]}, more...)
	for i := range images {
		if r.kubetest == nil {
			images[i] += "@sha256:"
		}
	}
	r.runsImages(namespace, images...)
}

// runsImages wants one Deployment, with these images. Of a digest only the kind is compared.
func (r *rig) runsImages(namespace string, want ...string) {
	r.Helper()
	list, err := r.client().AppsV1().Deployments(namespace).List(r.within(), metav1.ListOptions{})
	r.ok(err)
	if len(list.Items) != 1 {
		r.Fatalf("%d Deployments in %s, want 1", len(list.Items), namespace)
	}
	d := list.Items[0]
	var images []string
	for _, c := range d.Spec.Template.Spec.Containers {
		name, digest, pinned := strings.Cut(c.Image, "@sha256:")
		if pinned && digest != "" {
			name += "@sha256:"
		}
		images = append(images, name)
	}
	if !slices.Equal(images, want) {
		r.Errorf("%s runs %v, want %v", namespace, images, want)
	}
	if s := d.Status; s.UpdatedReplicas != *d.Spec.Replicas || s.AvailableReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
		r.Errorf("%s: of %d replicas %d are updated, %d available, %d in all", namespace, *d.Spec.Replicas, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
	}
}

// clientConfig is for a client that is the cluster's administrator.
func (r *rig) clientConfig() *rest.Config {
	r.Helper()
	if r.kubetest != nil {
		return r.kubetest.Config()
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(r.world.Cluster.Kubeconfig())
	r.ok(err)
	config.QPS = -1 // client-go's own throttle would slow the tests down silently
	return config
}

func (r *rig) client() kubernetes.Interface {
	r.Helper()
	client, err := kubernetes.NewForConfig(r.clientConfig())
	r.ok(err)
	return client
}
