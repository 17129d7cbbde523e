// Package kubetest gives tests a real Kubernetes control plane: etcd, the API server, the controller manager and the
// scheduler, with kwok playing the nodes and the pods.
//
// One control plane is started per test process, by the first test that asks, and shared; each test works in a
// namespace of its own. It needs an executable that `make controlplane` builds once. Without it tests skip, or fail
// if CI=true. SLIPWAY_TEST_KUBECONFIG names a kubeconfig of a cluster to use instead.
//
// A pod's fate follows from the image of any of its containers:
//
//	contains "crash"      it exits with code 1 again and again: CrashLoopBackOff; its log ends with a panic
//	contains "exit3"      the same with that code, 1 to 255; its log ends with "exit status 3"
//	contains "missing"    ErrImagePull and ImagePullBackOff in turn
//	contains "neverready" it runs and never becomes ready
//	anything else         it runs and is ready at once
//
// A pod that asks for more CPU than NodeCPU stays unscheduled. A pod with the annotation ReadyAfter runs and is
// ready after that time. Pods of Jobs complete after a moment, or fail where the image says crash or exit, or run until
// they are stopped where it says forever.
//
// What breaks the cluster; the simulated one (package kubesim) has the same:
//
//	a cluster that can't be reached       Proxy.SetUnreachable
//	requests that fail                    Proxy.FailRequests
//	a slow cluster                        Proxy.SetLatency
//	watches that end                      Proxy.EndWatches
//	watches that meet 410 Gone            Proxy.ExpireHistory
//	an admission that refuses             Cluster.RefuseAdmission
//	a cluster that is frozen              Cluster.Pause, for every test of the process
//	a quota                               a ResourceQuota
//	a namespace that stays terminating    an object with a finalizer in it
//	who may do little                     Cluster.User
//
// A Proxy is one test's own way to the API server, so what it breaks no other test notices.
package kubetest
