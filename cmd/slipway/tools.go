package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"gitlab.com/slipway-cd/slipway/chatops/slack"
	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// apartCommand is how this program has a kustomization built by another process of itself.
func apartCommand() *cobra.Command {
	return &cobra.Command{
		Use: apart.Command, Hidden: true, Args: cobra.NoArgs, Short: "Build the kustomization on standard input, within bounds",
		RunE: func(cmd *cobra.Command, _ []string) error { return apart.Serve(cmd.InOrStdin(), cmd.OutOrStdout()) },
	}
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check pipeline files (- is standard input); exit 1 if one has errors",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			bad := 0
			for _, file := range files {
				n, err := validate(cmd, file)
				if err != nil {
					return err
				}
				bad += n
			}
			if bad > 0 {
				return &exitError{1}
			}
			return nil
		},
	}
}

// validate prints what is wrong with one file and returns how much that is.
func validate(cmd *cobra.Command, file string) (int, error) {
	name := file
	var data []byte
	var err error
	if file == "-" {
		name = spec.FileName
		data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), spec.MaxFile+1))
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return 0, fmt.Errorf("read pipeline file: %w", err)
	}
	parsed, problems := spec.Parse(name, data)
	for _, p := range problems {
		fmt.Fprintln(cmd.OutOrStdout(), p)
	}
	if len(problems) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %d stages\n", name, len(parsed.Stages))
	}
	return len(problems), nil
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of .slipway.yml",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := spec.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DATABASE",
		Short: "Prove that a database keeps its promises; exit 1 if it does not",
		Long: `Check reads a database file that no server has open, and proves that every live
delivery has exactly one due row, that every row has its owner, and that nothing
refers to what is gone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			problems, err := boltstore.CheckFile(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, p := range problems {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.ID, p.What)
			}
			if len(problems) > 0 {
				return &exitError{1}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			return nil
		},
	}
}

func slackCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "slack", Short: "Set Slack up", Args: cobra.NoArgs, RunE: help}
	var url string
	manifest := &cobra.Command{
		Use:   "manifest",
		Short: "Print the manifest of the Slack app, to paste into api.slack.com/apps",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), slack.Manifest(url))
			return err
		},
	}
	manifest.Flags().StringVar(&url, "url", "https://slipway.example.com", "how Slack reaches this server")
	cmd.AddCommand(manifest)
	return cmd
}
