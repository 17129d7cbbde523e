package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"gitlab.com/slipway-cd/slipway/cmd/internal/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a simulated GitLab, Slack and cluster, side by side in the browser",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			log := io.Discard
			if verbose {
				log = cmd.ErrOrStderr()
			}
			o.Log = slog.New(slog.NewTextHandler(log, nil))
			klog.SetSlogLogger(o.Log) // what client-go says goes where everything else does
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Listen, "listen", "", "address of the page (default 127.0.0.1:8090, or another port if that is taken)")
	cmd.Flags().BoolVar(&o.Script, "script", false, "play it through without a browser, print each step, and exit 0 if all went well")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print Slipway's log too")
	return cmd
}
