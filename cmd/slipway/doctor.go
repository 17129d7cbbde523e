package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/cmd/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether everything that Slipway needs is there; exit 1 if something is broken",
		Long: `Doctor asks GitLab, Slack and each cluster whether they know Slipway, and whether it
may do there what it has to: the token's scopes, roles and hooks of projects, the
app's scopes and channel, the rights in each environment's namespace. It changes
nothing, and works beside a server that is running.

  ✓ fine   ! works, or cannot be told from here   ✗ broken, with what mends it`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := &report{w: cmd.OutOrStdout()}
			if asJSON {
				report.all = []doctor.Finding{}
			}
			if err := report.run(cmd.Context(), file); err != nil {
				return err
			}
			if report.broken {
				return &exitError{1}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "the operator's configuration")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// report tells findings as they come, or collects them for JSON.
type report struct {
	w      io.Writer
	all    []doctor.Finding // nil: they are printed
	broken bool
}

func (r *report) run(ctx context.Context, file string) error {
	quiet := slog.New(slog.DiscardHandler)
	klog.SetSlogLogger(quiet) // what goes wrong is told by the findings
	cfg, err := config.Load(file, os.LookupEnv)
	var sources doctor.Sources
	if err == nil {
		sources, err = app.Checkup(cfg, quiet)
	}
	checks := []doctor.Check{doctor.Configuration(file, cfg, err)}
	if err == nil {
		checks = append(checks, doctor.Checks(sources)...)
	}
	r.broken = doctor.Run(ctx, checks, r.tell)
	if r.all == nil {
		return nil
	}
	out := json.NewEncoder(r.w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(struct {
		Broken   bool             `json:"broken"`
		Findings []doctor.Finding `json:"findings"`
	}{r.broken, r.all})
}

func (r *report) tell(f doctor.Finding) {
	if r.all != nil {
		r.all = append(r.all, f)
		return
	}
	fmt.Fprintf(r.w, "%s %s: %s\n", f.Verdict.Mark(), f.Of, f.Says)
	for _, m := range f.Mend {
		fmt.Fprintf(r.w, "    %s\n", m)
	}
}
