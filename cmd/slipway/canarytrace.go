package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// tracing is what canary judge --trace was asked for.
type tracing struct {
	config, stage, project, sha string
	from, to                    string // RFC 3339
	baseline, canary            string // versions
	samples                     string // file that is written, "" for none
}

// flags adds those of --trace, and returns their names.
func (t *tracing) flags(cmd *cobra.Command) (names []string) {
	text := func(p *string, name, short, value, usage string) {
		cmd.Flags().StringVarP(p, name, short, value, "with --trace: "+usage)
		names = append(names, name)
	}
	text(&t.config, "config", "c", defaultConfig, "the operator's configuration, of which the metrics sources and templates count")
	text(&t.stage, "stage", "", "", "the canary stage, if there are several")
	text(&t.from, "from", "", "", "when the warm-up ended, such as 2026-11-20T10:00:00Z (default: the stage's own)")
	text(&t.to, "to", "", "", "when the last look was (default: the stage's own, or its lifetime after --from)")
	text(&t.baseline, "baseline", "", "", "version of the baseline: what ${{ version }} becomes")
	text(&t.canary, "canary", "", "", "version of the canary")
	text(&t.project, "project", "", "", "path of the GitLab project: what ${{ project.path }} becomes, and whose sources are asked")
	text(&t.sha, "ref-sha", "", "", "what ${{ commit.sha }} becomes (default: git's HEAD)")
	text(&t.samples, "samples", "", "", "write the samples of the look that decided to this file, which must not be there yet")
	return names
}

// run judges a canary of the pipeline file again, and prints what it finds.
func (t *tracing) run(cmd *cobra.Command, name string) error {
	samples, err := newSamples(t.samples)
	if err != nil {
		return err
	}
	found, err := t.judge(cmd, name)
	if err != nil {
		return errors.Join(err, samples.drop())
	}
	if err := samples.keep(found.Measurement.Request); err != nil {
		return err
	}
	return printReport(cmd.OutOrStdout(), newTraceReport(found), found.Report.Verdict)
}

// judge asks the sources.
func (t *tracing) judge(cmd *cobra.Command, name string) (found analysis.Traced, err error) {
	cfg, err := config.LoadSources(t.config, os.LookupEnv)
	if err != nil {
		return found, err
	}
	file, err := pipelineFile(cmd, name)
	if err != nil {
		return found, err
	}
	trace, err := t.prepare(cmd, cfg, file, filepath.Dir(name))
	if err != nil {
		return found, err
	}
	found, err = trace.Run(cmd.Context())
	if failure, ok := pipeline.AsFailure(err); ok {
		hint := ""
		switch {
		case errors.Is(err, spec.ErrNoVersion):
			hint = "; give --baseline and --canary"
		case errors.Is(err, spec.ErrNoRelease):
			hint = " to a trace; let a copy of the pipeline file ask for ${{ version }} instead, and give what is to stand there with --baseline and --canary"
		}
		return found, errors.New(failure.Detail + hint) // its cause is for logs
	}
	return found, err
}

// pipelineFile reads a file and checks it; - is standard input.
func pipelineFile(cmd *cobra.Command, name string) (*spec.File, error) {
	in := cmd.InOrStdin()
	if name == "-" {
		name = spec.FileName
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the pipeline file: %w", err)
		}
		defer file.Close() //nolint:errcheck // it was only read
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, spec.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the pipeline file: %w", err)
	}
	file, problems := spec.Parse(name, data)
	return file, told(cmd, problems)
}

// told prints problems of a pipeline file, and ends without a verdict if there are some.
func told(cmd *cobra.Command, problems []pipeline.Problem) error {
	for _, problem := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), problem)
	}
	if len(problems) > 0 {
		return &exitError{canaryUnread}
	}
	return nil
}

// prepare makes the trace of a pipeline file in a folder.
func (t *tracing) prepare(cmd *cobra.Command, cfg *config.Config, file *spec.File, dir string) (*analysis.Trace, error) {
	stage, err := t.choose(file)
	if err != nil {
		return nil, err
	}
	from, to, err := t.times(file.Stages[stage].Canary, time.Now())
	if err != nil {
		return nil, err
	}
	if t.project == "" { // nobody is kept from sources whose credentials are theirs
		for i := range cfg.Sources {
			cfg.Sources[i].Projects = nil
		}
	}
	in := spec.Input{Project: pipeline.Project{Path: t.project}}
	if sha := cmp.Or(t.sha, git(cmd.Context(), dir, "rev-parse", "HEAD")); sha != "" {
		in.Commit = commit(cmd.Context(), dir, sha)
	}
	plan, problems := spec.CompileCanary(file, in, app.Operator(cfg).Defaults(t.project), stage, from, to)
	if err := told(cmd, problems); err != nil {
		return nil, err
	}
	trace, err := app.Trace(cfg)
	if err != nil {
		return nil, err
	}
	trace.Plan, trace.Canary, trace.Began = plan, plan.Stages[0].Canary, from
	trace.Versions = [2]string{t.baseline, t.canary}
	if !trace.Canary.From.IsZero() { // as the stage itself has it
		trace.Versions = [2]string{cmp.Or(t.baseline, trace.Canary.Baseline), cmp.Or(t.canary, in.Commit.ShortSHA)}
	}
	return trace, nil
}

// choose finds the canary stage that is meant, by its place in the file.
func (t *tracing) choose(file *spec.File) (int, error) {
	var names []string
	chosen := -1
	for i, s := range file.Stages {
		if s.Canary == nil {
			continue
		}
		names = append(names, string(s.Name))
		if t.stage == "" || string(s.Name) == t.stage {
			chosen = i
		}
	}
	switch {
	case len(names) == 0:
		return 0, errors.New("the pipeline file has no canary stage")
	case chosen < 0:
		return 0, fmt.Errorf("--stage: there is no canary stage %s; there are %s", t.stage, strings.Join(names, ", "))
	case t.stage == "" && len(names) > 1:
		return 0, fmt.Errorf("the pipeline file has several canary stages: say with --stage which of %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// times are the end of the warm-up and the last look.
func (t *tracing) times(k *spec.Canary, now time.Time) (from, to time.Time, err error) {
	if from, err = moment("--from", t.from, k.From.Time()); err != nil {
		return from, to, err
	}
	if from.IsZero() {
		return from, to, errors.New("--from is missing: say when the warm-up ended, such as 2026-11-20T10:00:00Z")
	}
	otherwise := k.To.Time()
	if otherwise.IsZero() {
		otherwise = from.Add(k.Span())
	}
	if to, err = moment("--to", t.to, otherwise); err != nil {
		return from, to, err
	}
	switch {
	case !from.Before(to):
		err = fmt.Errorf("the time ends at %s, which is not after its begin at %s", to.Format(time.RFC3339), from.Format(time.RFC3339))
	case to.After(now):
		err = fmt.Errorf("the last look would be at %s, which is in the future: give another --from or --to", to.Format(time.RFC3339))
	}
	return from, to, err
}

func moment(flag, text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%s: %q is not a time such as 2026-11-20T10:00:00Z", flag, text)
	}
	return at.UTC(), nil
}

// samplesFile is where the samples are written to, nil for nowhere. It is made before anything is asked: what can't be
// written costs no question, and no verdict.
type samplesFile struct{ *os.File }

func newSamples(name string) (*samplesFile, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // nowhere is no mistake
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil, fmt.Errorf("--samples: %s is there already", name)
	case err != nil:
		return nil, fmt.Errorf("--samples: %w", err)
	}
	return &samplesFile{file}, nil
}

// keep writes what canary judge reads.
func (f *samplesFile) keep(request canary.Request) error {
	if f == nil {
		return nil
	}
	data, err := json.Marshal(request)
	if err == nil {
		_, err = f.Write(append(data, '\n'))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the samples: %w", err), f.drop())
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the samples: %w", err)
	}
	return nil
}

// drop leaves no file behind.
func (f *samplesFile) drop() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// traceReport is a report with how it came about. Its JSON form is stable; docs/canary.md tells it.
type traceReport struct {
	canary.Report
	Looks  []tracedLook   `json:"looks"`
	Series []tracedSeries `json:"series"`
}

type tracedLook struct {
	Look    int            `json:"look"`
	At      time.Time      `json:"at"`
	Verdict canary.Verdict `json:"verdict"`
	Score   canary.Number  `json:"score"`
	Reason  string         `json:"reason"`
}

// tracedSeries says what was asked for one metric.
type tracedSeries struct {
	Metric        string    `json:"metric"`
	Source        string    `json:"source"`
	Baseline      string    `json:"baseline"` // the query
	Canary        string    `json:"canary"`
	BaselineTotal string    `json:"baseline_total,omitempty"`
	CanaryTotal   string    `json:"canary_total,omitempty"`
	Step          float64   `json:"step"`  // seconds
	Start         time.Time `json:"start"` // of the first sample of the canary
	Link          string    `json:"link,omitempty"`
	Warning       string    `json:"warning,omitempty"` // what the source remarks
}

func newTraceReport(found analysis.Traced) traceReport {
	out := traceReport{Report: found.Report}
	for _, l := range found.Looks {
		out.Looks = append(out.Looks, tracedLook{Look: l.Number, At: l.At, Verdict: l.Verdict, Score: l.Score, Reason: l.Detail})
	}
	for i, s := range found.Measurement.Series {
		out.Series = append(out.Series, tracedSeries{
			Metric: found.Measurement.Request.Metrics[i].Name, Source: s.Source, Baseline: s.Baseline, Canary: s.Canary,
			BaselineTotal: s.BaselineTotal, CanaryTotal: s.CanaryTotal, Step: s.Step.Seconds(), Start: s.Start, Link: s.Link, Warning: s.Warning,
		})
	}
	return out
}
