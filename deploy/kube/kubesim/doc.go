// Package kubesim is a Kubernetes cluster in memory that speaks the Kubernetes API over HTTPS, for the demo and for tests.
//
// The real client-go works against it: discovery, typed and dynamic clients, watches and informers, server-side apply with
// field managers and conflicts, optimistic concurrency, defaults, and 4xx answers in Kubernetes' own words. Deployments roll,
// pods are scheduled and become ready after Options.PodStartTime, Services get endpoints, deletes cascade.
//
// What becomes of a pod follows from its images' names, anywhere in the reference:
//
//	contains "crash"         it exits with code 1 again and again, or once where it may not restart; its log ends with a panic
//	contains "exit3"         the same with that code, 1 to 255; its log ends with "exit status 3"
//	contains "missing"       it can't be pulled
//	contains "neverready"    it runs and never is ready
//	contains "unschedulable" it stays pending, as does what asks for more cpu than a node has
//	contains "forever"       the pod of a Job runs and is ready until it is stopped
//	anything else            it runs; the pod of a Job completes
//
// What breaks the cluster, and what the same is called where the control plane is real (package kubetest):
//
//	a cluster that can't be reached       Sim.Faults.SetUnreachable      Proxy.SetUnreachable
//	requests that fail                    Sim.Faults.FailRequests        Proxy.FailRequests
//	a slow cluster                        Sim.Faults.SetLatency          Proxy.SetLatency
//	watches that end                      Sim.Faults.EndWatches          Proxy.EndWatches
//	watches that meet 410 Gone            Sim.ExpireHistory              Proxy.ExpireHistory
//	an admission that refuses             Sim.Faults.RefuseAdmission     Cluster.RefuseAdmission
//	a cluster that is frozen                                             Cluster.Pause
//	a quota                               Sim.Faults.SetPodQuota, or a ResourceQuota on both
//	a namespace that stays terminating    an object with a finalizer in it, on both
//	a clock that is wrong                 Options.Now
//	who may do little                     Sim.AddToken                   Cluster.User
//
// Package kubesuite holds the two to each other.
//
// Not there: exec and port-forward, OpenAPI schemas, admission plugins, cert and token requests, CustomResourceDefinitions
// (HTTPRoute and Gateway are built in, with what their schemas say about traffic), Protobuf answers, and server-side
// printing. CronJobs don't run; autoscalers and disruption budgets are kept and do nothing; of Jobs the indexes, the pod
// failure policy and the success policy.
package kubesim
