// Command slipway delivers merged merge requests: one binary with a server, a demo and
// the tools around the pipeline file and the database.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	var quiet *exitError
	if errors.As(err, &quiet) {
		os.Exit(quiet.code) //nolint:gocritic // nothing is left to stop
	}
	fmt.Fprintln(os.Stderr, "slipway:", err)
	os.Exit(1)
}

// exitError ends the program with a code, after everything was said already.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// help is what a command does that only has others below it. Without it, a command that
// does not exist would print help and end as if all was well.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slipway",
		Short: "Deliver merged merge requests to Kubernetes, with GitLab and Slack",
		Long: `Slipway delivers merged merge requests: it reads .slipway.yml at the merge commit,
deploys to Kubernetes, asks people in Slack, rolls back what fails, and writes
everything back to GitLab.

Try it without installing anything else:   slipway demo`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          help,
		Version:       version(),
	}
	cmd.AddCommand(serveCommand(), demoCommand(), validateCommand(), planCommand(), schemaCommand(), checkCommand(), configCommand(), doctorCommand(), slackCommand(),
		rollbackCommand(), promoteCommand(), canaryCommand(), apartCommand())
	return cmd
}
