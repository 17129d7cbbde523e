// Program controlplane is a whole Kubernetes control plane in one executable: etcd, the API server, the
// controller manager, the scheduler, and kwok, which plays the nodes and their pods.
//
// One executable costs one link where five would cost five. It is called with the part's name and then with the
// flags that this part takes upstream. It stops when its standard input ends, so that nothing outlives the test
// process that holds the other end, however that process dies.
package main

import (
	"fmt"
	"io"
	"os"
	"time"
	_ "time/tzdata" // CronJobs name time zones, and the machine may have no zone files

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

// removeEnv names a folder that the part removes when its standard input ends.
const removeEnv = "CONTROLPLANE_REMOVE"

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	part, args := os.Args[1], os.Args[2:]
	os.Args = append([]string{part}, args...)
	go stopWithInput()

	switch part {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	case "kwok":
		runKwok()
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kwok [flags]")
	os.Exit(2)
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// runKwok starts kwok the way its own main does. The Kubernetes packages linked beside it have put their flags
// into the process-wide set, where --version collides with kwok's.
func runKwok() {
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}

	ctx, _ := kwoklog.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "read kwok configuration:", err)
		os.Exit(1)
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "run kwok:", err)
		os.Exit(1)
	}
}

// stopWithInput ends the process at once when its standard input ends: a clean stop takes the API server 16 s,
// and nothing here is worth keeping.
func stopWithInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if dir := os.Getenv(removeEnv); dir != "" {
		// The other parts end at the same moment and may still be writing.
		for range 50 {
			if os.RemoveAll(dir) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	os.Exit(0)
}
