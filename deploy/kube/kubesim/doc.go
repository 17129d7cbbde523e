// Package kubesim is a Kubernetes cluster in memory that speaks the Kubernetes API over HTTPS, for the demo and for tests.
//
// The real client-go works against it: discovery, typed and dynamic clients, watches and informers, server-side apply with
// field managers and conflicts, optimistic concurrency, defaults, and 4xx answers in Kubernetes' own words. Deployments roll,
// pods are scheduled and become ready after Options.PodStartTime, Services get endpoints, deletes cascade.
//
// What becomes of a pod follows from its images' names, anywhere in the reference: "crash" crash-loops, "missing" can't be
// pulled, "neverready" runs and never is ready, "unschedulable" stays pending (as does what asks for more cpu than a node
// has), and anything else runs. Sim.Faults breaks the cluster itself.
//
// Not there: exec and port-forward, OpenAPI schemas, admission plugins, cert and token requests, CustomResourceDefinitions
// (HTTPRoute and Gateway are built in), Protobuf answers, and server-side printing.
package kubesim
