package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"gitlab.com/slipway-cd/slipway/deploy"
)

// census counts what comes into being in production, and sees who has its traffic, from one moment to the next.
type census struct {
	mu     sync.Mutex
	made   map[string]map[types.UID]bool // by kind and name, or by what there may be one of
	jobs   map[string]map[string]bool    // names of Jobs by delivery
	slices map[string]*discoveryv1.EndpointSlice
	served []string // Deployments with traffic, each change once
	ended  bool
}

// census begins to count, until the test ends.
func (r *rig) census() *census {
	r.Helper()
	c := &census{made: map[string]map[types.UID]bool{}, jobs: map[string]map[string]bool{}, slices: map[string]*discoveryv1.EndpointSlice{}}
	client, all := r.client(), metav1.ListOptions{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	var running sync.WaitGroup
	for _, begin := range []func() (watch.Interface, error){
		func() (watch.Interface, error) { return client.AppsV1().Deployments(r.prod).Watch(ctx, all) },
		func() (watch.Interface, error) { return client.BatchV1().Jobs(r.prod).Watch(ctx, all) },
		func() (watch.Interface, error) { return client.CoreV1().Pods(r.prod).Watch(ctx, all) },
		func() (watch.Interface, error) { return client.DiscoveryV1().EndpointSlices(r.prod).Watch(ctx, all) },
	} {
		watcher, err := begin()
		r.ok(err)
		running.Go(func() {
			defer watcher.Stop()
			for event := range watcher.ResultChan() {
				c.see(event.Type, event.Object)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ended = c.ended || ctx.Err() == nil
		})
	}
	r.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c
}

func (c *census) see(what watch.EventType, o runtime.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := func(key string, o metav1.Object) {
		if c.made[key] == nil {
			c.made[key] = map[types.UID]bool{}
		}
		c.made[key][o.GetUID()] = true
	}
	switch o := o.(type) {
	case *appsv1.Deployment:
		count("Deployment "+o.Name, o)
	case *batchv1.Job:
		count("Job "+o.Name, o)
		delivery := o.Annotations[deploy.AnnotationDelivery]
		if c.jobs[delivery] == nil {
			c.jobs[delivery] = map[string]bool{}
		}
		c.jobs[delivery][o.Name] = true
	case *corev1.Pod:
		if job := o.Labels[batchv1.JobNameLabel]; job != "" {
			count("pod of Job "+job, o)
		}
	case *discoveryv1.EndpointSlice:
		if o.Labels[discoveryv1.LabelServiceName] != "shop" {
			return
		}
		if c.slices[o.Name] = o; what == watch.Deleted {
			delete(c.slices, o.Name)
		}
		c.traffic()
	}
}

// traffic notes who has it.
func (c *census) traffic() {
	serving := map[string]bool{}
	for _, s := range c.slices {
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				parts := strings.Split(e.TargetRef.Name, "-") // DEPLOYMENT-HASH-RANDOM
				serving[strings.Join(parts[:len(parts)-2], "-")] = true
			}
		}
	}
	names := strings.Join(slices.Sorted(maps.Keys(serving)), "+")
	if n := len(c.served); n == 0 && names == "" || n > 0 && c.served[n-1] == names {
		return
	}
	c.served = append(c.served, names)
}

// check wants that nothing was made twice, as many deliveries with a Job, and traffic that never left available pods, nor went
// to two releases at once.
func (c *census) check(t testing.TB, deliveriesWithJobs int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkMade(t)
	if len(c.jobs) != deliveriesWithJobs {
		t.Errorf("%d deliveries have run Jobs, want %d", len(c.jobs), deliveriesWithJobs)
	}
	for delivery, names := range c.jobs {
		if len(names) != 1 {
			t.Errorf("delivery %s has %d Jobs for one attempt: %v", delivery, len(names), names)
		}
	}
	for _, names := range c.served {
		if names == "" || strings.Contains(names, "+") {
			t.Errorf("the traffic went to %q", c.served)
			return
		}
	}
}

// checkPaired wants that nothing was made twice, and that at all times one release that is no part of a pair had traffic.
func (c *census) checkPaired(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkMade(t)
	for _, names := range c.served {
		paired := func(name string) bool {
			return strings.Contains(name, "-baseline-") || strings.Contains(name, "-canary-")
		}
		if releases := slices.DeleteFunc(strings.Split(names, "+"), paired); len(releases) != 1 || releases[0] == "" {
			t.Errorf("the traffic went to %q", c.served)
			return
		}
	}
}

func (c *census) checkMade(t testing.TB) {
	t.Helper()
	if c.ended {
		t.Error("the census ended before the test")
	}
	for what, uids := range c.made {
		if len(uids) > 1 {
			t.Errorf("%s was made %d times", what, len(uids))
		}
	}
}

// versions are the commits whose releases have had the traffic, in short.
func (c *census) versions() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var short []string
	for _, name := range c.served {
		short = append(short, strings.TrimPrefix(name, "shop-")[:7])
	}
	return fmt.Sprint(short)
}
