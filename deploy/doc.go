// Package deploy carries out what deliveries want of Kubernetes: it renders a commit's manifests, applies them, watches
// the rollout to its end, moves traffic, brings back a recorded release, removes what is left over, runs Jobs, and puts a
// canary beside a baseline.
//
// Where to look: executor.go (the actions); apply.go, observe.go, switch.go, restore.go, retire.go and job.go (one or two
// each); bluegreen.go (what a release's objects become, pure), gates.go (how Services stand before), bringup.go (what is
// applied before the traffic moves), route.go (HTTPRoutes); rollout.go (is it rolled out?), trouble.go (why it never will
// be), jobwatch.go (the same of Jobs); cluster.go (what is asked of a cluster; package kube answers), owner.go (the labels
// by which Slipway knows its own). A canary stage's baseline and canary are in pair.go (what is done), pairplan.go,
// pairparts.go and pairconfig.go (what they consist of), pairwatch.go, pairroute.go, pairend.go, pairhealth.go and
// pairguard.go (pods between two looks). attend.go keeps a standby under watch, alone.go tells that nothing is left to retire,
// podless.go that pods are refused; pin.go finds digests, preview.go is "slipway plan", tree.go and drift.go are what runs
// where, teardown.go removes a review.
package deploy
