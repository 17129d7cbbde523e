// Package deploy carries out what deliveries want of Kubernetes: it renders a commit's manifests, applies them, watches
// the rollout to its end, and brings back a recorded release.
//
// Where to look: executor.go (the actions), apply.go, observe.go and restore.go (one each), rollout.go (is it rolled
// out?), trouble.go (why it never will be), cluster.go (what is asked of a cluster; package kube answers), owner.go
// (the labels by which Slipway knows its own).
package deploy
