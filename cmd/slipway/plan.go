package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// wouldChange is how plan ends when a delivery would change something.
const wouldChange = 2

// planned is what plan was asked for.
type planned struct {
	config, project, environment, sha, into, dir string
	review                                       int64 // merge request
	out                                          io.Writer
}

func planCommand() *cobra.Command {
	var p planned
	cmd := &cobra.Command{
		Use:   "plan --project PATH [DIR]",
		Short: "Say what a delivery would change before it is merged; exit 2 if anything, 0 if nothing",
		Long: `Plan reads .slipway.yml and the manifests in DIR (default: here) as they are in the
working copy, asks the clusters by a dry run what applying them would change, and
prints that for each deploy. It changes nothing. Of the operator's configuration it
needs the clusters and environments only, and of a cluster the rights of the Role.

It ends with 0 if nothing would change, 2 if something would, 1 if it can't tell or
the delivery would fail.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.dir, p.out = ".", cmd.OutOrStdout()
			if len(args) > 0 {
				p.dir = args[0]
			}
			klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // errors say what client-go would
			return p.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&p.config, "config", "c", defaultConfig, "the operator's configuration")
	cmd.Flags().StringVar(&p.project, "project", "", "path of the GitLab project, such as shop/web")
	cmd.Flags().StringVar(&p.environment, "environment", "", "only this environment")
	cmd.Flags().StringVar(&p.sha, "ref-sha", "", "the commit that is delivered (default: git's HEAD)")
	cmd.Flags().StringVar(&p.into, "into", "main", "the branch that is merged into")
	cmd.Flags().Int64Var(&p.review, "review", 0, "plan the review of the merge request with this number, not its delivery")
	_ = cmd.MarkFlagRequired("project") // it is there, some lines up
	return cmd
}

func (p *planned) run(ctx context.Context) error {
	cfg, err := config.LoadPlaces(p.config, os.LookupEnv)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("open the working copy: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	plan, err := p.compile(ctx, cfg, root.FS())
	if err != nil {
		return err
	}
	clusters := app.Clusters(cfg, slog.New(slog.DiscardHandler))
	found, failed, seen := false, false, false
	for _, stage := range plan.Stages {
		if stage.Deploy == nil || p.environment != "" && stage.Deploy.Environment != p.environment && !stage.Dynamic {
			continue
		}
		seen = true
		changes, told := p.stage(ctx, clusters, root.FS(), plan, stage)
		found = found || len(changes) > 0
		failed = failed || !told
		for _, c := range changes {
			failed = failed || c.What == deploy.WouldFail
		}
	}
	switch {
	case !seen && p.environment != "":
		return fmt.Errorf("no stage deploys to %s", p.environment)
	case failed:
		return &exitError{1}
	case found:
		return &exitError{wouldChange}
	}
	return nil
}

// stage prints what a deploy would change. told is false if that can't be told.
func (p *planned) stage(ctx context.Context, clusters deploy.Clusters, files fs.FS, plan *pipeline.Plan, stage pipeline.Stage) (_ []deploy.Change, told bool) {
	fmt.Fprintf(p.out, "%s → %s", stage.Name, stage.Deploy.Environment)
	switch {
	case stage.Skip != "":
		fmt.Fprintf(p.out, ": left out, because of if: %s\n", stage.Skip)
		return nil, true
	case stage.Dynamic:
		fmt.Fprintln(p.out, ": depends on what earlier stages give, so it can't be told")
		return nil, false
	}
	target, err := clusters.Target(ctx, plan.Project.Path, stage.Deploy.Environment)
	var changes []deploy.Change
	if err == nil {
		fmt.Fprintf(p.out, " (cluster %s, namespace %s)", target.Name, target.Namespace)
		cluster, ok := target.Cluster.(deploy.Previewer)
		if !ok {
			err = errors.New("the cluster can't be asked")
		} else {
			changes, err = deploy.Preview(ctx, target, cluster, files, plan, *stage.Deploy, manifest.Limits{Apart: apart.Kustomize})
		}
	}
	if err != nil {
		text := err.Error()
		if failure, ok := pipeline.AsFailure(err); ok {
			text = failure.Detail
		}
		fmt.Fprintf(p.out, ": %s\n", text)
		return nil, false
	}
	if stage.Deploy.Strategy == pipeline.StrategyBlueGreen {
		fmt.Fprint(p.out, ": blue-green makes Deployments of its own for each release; besides them")
	}
	if len(changes) == 0 {
		fmt.Fprintln(p.out, ": nothing would change")
		return nil, true
	}
	fmt.Fprintln(p.out, ":")
	for _, c := range changes {
		fmt.Fprintln(p.out, "  "+strings.ReplaceAll(c.String(), "\n", "\n  "))
	}
	return changes, true
}

// compile makes the plan as it would be for the working copy, had it been merged.
func (p *planned) compile(ctx context.Context, cfg *config.Config, files fs.FS) (*pipeline.Plan, error) {
	f, err := files.Open(spec.FileName)
	if err != nil {
		return nil, fmt.Errorf("read the pipeline file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, spec.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the pipeline file: %w", err)
	}
	sha := cmp.Or(p.sha, git(ctx, p.dir, "rev-parse", "HEAD"))
	if sha == "" {
		return nil, errors.New("which commit is delivered? git doesn't tell here; say it with --ref-sha")
	}
	in := spec.Input{Project: pipeline.Project{Path: p.project, DefaultBranch: p.into}, Commit: commit(ctx, p.dir, sha)}
	in.Commit.Ref = p.into
	in.MergeRequest = pipeline.MergeRequest{IID: p.review, Title: in.Commit.Title, TargetBranch: p.into, SourceBranch: git(ctx, p.dir, "rev-parse", "--abbrev-ref", "HEAD")}
	file, problems := spec.Parse(spec.FileName, data)
	var plan *pipeline.Plan
	compile := spec.Compile
	if p.review > 0 {
		compile = spec.CompileReview
	}
	if len(problems) == 0 && p.review > 0 && file.Review == nil {
		return nil, errors.New(spec.FileName + " has no review")
	}
	if len(problems) == 0 {
		plan, problems = compile(file, in, app.Operator(cfg))
	}
	if len(problems) > 0 {
		for _, problem := range problems {
			fmt.Fprintln(p.out, problem)
		}
		return nil, &exitError{1}
	}
	return plan, nil
}

// commit is what git knows of a commit in a working copy.
func commit(ctx context.Context, dir, sha string) pipeline.Commit {
	return pipeline.Commit{
		SHA: sha, ShortSHA: pipeline.Short(sha), Title: git(ctx, dir, "log", "-1", "--format=%s", sha),
		Author: git(ctx, dir, "log", "-1", "--format=%an", sha), AuthorEmail: git(ctx, dir, "log", "-1", "--format=%ae", sha),
	}
}

// git asks git about a working copy. "" is no answer.
func git(ctx context.Context, dir string, args ...string) string {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output() //nolint:gosec // no shell, and the caller's own words
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
