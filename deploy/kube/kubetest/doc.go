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
//	contains "missing"    ErrImagePull and ImagePullBackOff in turn
//	contains "neverready" it runs and never becomes ready
//	anything else         it runs and is ready at once
//
// A pod that asks for more CPU than NodeCPU stays unscheduled. A pod with the annotation ReadyAfter runs and is
// ready after that time. Pods of Jobs complete, or fail where the image says crash.
package kubetest
