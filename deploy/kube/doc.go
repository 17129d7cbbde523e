// Package kube answers package deploy with real clusters, by client-go: server-side apply, watches, logs.
//
// Everything happens within one namespace, with the verbs that docs/kubernetes.md lists. Where to look: client.go and clients.go (the
// connection), read.go (reads, and changes of single fields), apply.go and remove.go (writes), watch.go and follow.go
// (how workloads are), failure.go (what the cluster's errors mean).
package kube
