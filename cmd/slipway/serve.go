package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
)

const defaultConfig = "slipway.yml"

func serveCommand() *cobra.Command {
	var file string
	var grace, pause time.Duration
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file, os.LookupEnv)
			if err != nil {
				return err
			}
			log := logger(cfg.Log, cmd.ErrOrStderr())
			klog.SetSlogLogger(log) // what client-go says goes where everything else does
			a, err := app.New(app.Options{Config: cfg, Logger: log, UnknownGrace: grace, LongestPause: pause, Apart: apart.Kustomize})
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "the operator's configuration")
	cmd.Flags().DurationVar(&grace, "unknown-grace", 0,
		"after a crash, how long to let calls that were under way arrive before looking what they did (default 2s)")
	cmd.Flags().DurationVar(&pause, "longest-pause", 0, "try failed calls again after this time at the latest, whatever the other side asked for")
	_ = cmd.Flags().MarkHidden("longest-pause") // it is there, one line up
	return cmd
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Work with the operator's configuration", Args: cobra.NoArgs, RunE: help}
	var file string
	check := &cobra.Command{
		Use:   "check",
		Short: "Read the configuration and say what is wrong with it, or what it sets up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file, os.LookupEnv)
			if err != nil {
				return err
			}
			describe(cmd.OutOrStdout(), cfg)
			return nil
		},
	}
	check.Flags().StringVarP(&file, "config", "c", defaultConfig, "the operator's configuration")
	cmd.AddCommand(check)
	return cmd
}

// describe says what the configuration sets up, without secrets.
func describe(w io.Writer, cfg *config.Config) {
	fmt.Fprintf(w, "listens on   %s, people reach it at %s\n", cfg.Listen, cfg.URL)
	fmt.Fprintf(w, "database     %s\n", cfg.Database)
	fmt.Fprintf(w, "gitlab       %s, hooks at %s/hooks/gitlab\n", cfg.GitLab.URL, cfg.URL)
	if cfg.Slack != nil {
		fmt.Fprintf(w, "slack        interactions at %s/slack/interactions, %d people mapped\n", cfg.URL, len(cfg.Slack.People))
	} else {
		fmt.Fprintln(w, "slack        off: people answer by comments in GitLab")
	}
	fmt.Fprintf(w, "console      %s\n", cfg.Console.Access)
	for _, e := range cfg.Environments {
		as := ""
		if e.Impersonate != nil {
			as = " as " + e.Impersonate.ServiceAccount
		}
		fmt.Fprintf(w, "environment  %s → %s/%s%s for %v\n", e.Name, e.Cluster, e.Namespace, as, e.Projects)
	}
	if len(cfg.Checks.Hosts) > 0 {
		fmt.Fprintf(w, "checks       may ask %s\n", strings.Join(cfg.Checks.Hosts, ", "))
	}
	for _, s := range cfg.Sources {
		fmt.Fprintf(w, "metrics      %s: %s\n", s.Name, &s)
	}
	fmt.Fprintln(w, "ok")
}

func logger(l config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo // checked when the configuration was read
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "development"
	}
	return info.Main.Version
}
