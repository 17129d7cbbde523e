package kubetest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// NodeCPU is how many CPUs each of the two nodes has: a pod that asks for more can't be scheduled.
const NodeCPU = 64

// ReadyAfter is a pod annotation: how long, as a Go duration such as "2s", the pod takes to run and be ready.
const ReadyAfter = "kubetest/ready-after"

// startNodes makes two nodes, which kwok then plays, and the endpoint where the API server asks them for logs.
// kwok could serve logs too, but the same ones for every pod.
func startNodes(ctx context.Context, config *rest.Config, certs *certificates) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make nodes: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve pod logs: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}", logEndpoint{client})
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certs.server}},
	}
	go func() {
		_ = server.ServeTLS(listener, "", "") // ends with the process
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	for _, name := range []string{"node-1", "node-2"} {
		_, err := client.CoreV1().Nodes().Create(ctx, newNode(name, port), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

func newNode(name string, kubeletPort int) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(NodeCPU, resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("1000"),
	}
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now,
		}
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"},
		},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "127.0.0.1"},
				{Type: corev1.NodeHostName, Address: name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(kubeletPort)}},
			NodeInfo:        corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "kwok"},
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
			},
		},
	}
}

// logEndpoint answers as a kubelet does when the API server asks for the log of a container.
type logEndpoint struct {
	client kubernetes.Interface
}

func (e logEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pod, err := e.client.CoreV1().Pods(r.PathValue("namespace")).Get(r.Context(), r.PathValue("pod"), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	query := r.URL.Query()
	log, err := containerLog(pod, r.PathValue("container"), query.Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if log, err = cut(log, query); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, log)
}

// containerLog makes up what the container has written so far, or what its last run had written.
func containerLog(pod *corev1.Pod, container string, previous bool) (string, error) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != container {
			continue
		}
		run, ended := status.State.Running, status.State.Terminated
		if previous || run == nil && ended == nil {
			ended, run = status.LastTerminationState.Terminated, nil
		}
		begin := "starting " + status.Image + "\n"
		switch {
		case run != nil && strings.Contains(status.Image, "forever"):
			return begin + "working\n", nil
		case run != nil:
			return begin + "listening on :8080\n", nil
		case ended != nil && ended.ExitCode == 0:
			return begin + "done\n", nil
		case ended != nil && !strings.Contains(status.Image, "crash"):
			return begin + fmt.Sprintf("working\nexit status %d\n", ended.ExitCode), nil
		case ended != nil:
			return begin + "panic: connect to database: connection refused\n", nil
		case previous:
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
		case status.State.Waiting != nil:
			return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", container, pod.Name, status.State.Waiting.Reason)
		}
	}
	return "", fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
}

// cut applies the query parameters tailLines, limitBytes and timestamps to a log.
func cut(log string, query url.Values) (string, error) {
	lines := strings.SplitAfter(log, "\n")
	lines = lines[:len(lines)-1]
	if tail := query.Get("tailLines"); tail != "" {
		n, err := strconv.Atoi(tail)
		if err != nil || n < 0 {
			return "", errors.New("tailLines must be a number from 0")
		}
		lines = lines[max(0, len(lines)-n):]
	}
	if query.Get("timestamps") == "true" {
		stamp := time.Now().UTC().Format(time.RFC3339Nano)
		for i := range lines {
			lines[i] = stamp + " " + lines[i]
		}
	}
	log = strings.Join(lines, "")
	if limit := query.Get("limitBytes"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			return "", errors.New("limitBytes must be a number from 1")
		}
		log = log[:min(n, len(log))]
	}
	return log, nil
}
