// Program build makes the control plane that the Kubernetes tests run against, unless it is already there, and
// prints its path.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest/binary"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	path, err := binary.Build(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
