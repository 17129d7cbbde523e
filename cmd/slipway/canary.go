package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gitlab.com/slipway-cd/slipway/cmd/internal/kayenta"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// How canary judge ends. 0 is a pass.
const (
	canaryFails  = 1
	canaryUnread = 2 // bad input, and anything else that leaves a canary without a verdict
	canaryGrey   = 3
)

func canaryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "canary", Short: "Judge canaries without deploying, and take over Kayenta's configurations", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(canaryJudgeCommand(), canaryImportCommand())
	return cmd
}

func canaryJudgeCommand() *cobra.Command {
	var lines, trace bool
	var again tracing
	var ofTrace []string // flags
	cmd := &cobra.Command{
		Use:   "judge FILE",
		Short: "Judge the samples in a JSON file, or a time that has been; exit 0 pass, 1 fail, 3 neither",
		Long: `Judge reads one look at the samples of a canary and its baseline as JSON, and prints
what the judge says of them as JSON. docs/canary.md has both forms. - is standard input.

It ends with 0 if the canary passes, 1 if it fails, 3 if it is marginal or there is
too little to say, and 2 if the input is bad.

With --lines each line of the file is a request of its own, and is answered by one
line; a line that is no sound request is answered by {"error": "..."}. It ends with
0 if all lines were answered by a report, and 2 if one was not.

With --trace the file is a pipeline file. Judge asks the operator's metrics sources
about a time that has been, and judges it as the canary stage would have: look by
look, until one fails or the last is made. It prints the report of that look, with
all looks and what was asked for besides. It deploys nothing and needs no cluster.
It ends as above, and with 2 if a source can't be asked or refuses a query.

  slipway canary judge --trace .slipway.yml --from 2026-11-20T10:00:00Z`,
		Args: func(cmd *cobra.Command, args []string) error { return unread(cmd, cobra.ExactArgs(1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Reset(os.Interrupt, syscall.SIGTERM) // nothing is to be put in order; a read that waits would hold it up
			if trace && lines {
				return unread(cmd, errors.New("--trace and --lines exclude each other"))
			}
			if trace {
				return unread(cmd, again.run(cmd, args[0]))
			}
			for _, name := range ofTrace {
				if cmd.Flags().Changed(name) {
					return unread(cmd, fmt.Errorf("--%s is for --trace", name))
				}
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return unread(cmd, fmt.Errorf("read the request: %w", err))
				}
				defer file.Close() //nolint:errcheck // it was only read
				in = file
			}
			if lines {
				return unread(cmd, judgeLines(in, cmd.OutOrStdout()))
			}
			return unread(cmd, judgeOne(in, cmd.OutOrStdout()))
		},
	}
	cmd.SetFlagErrorFunc(unread)
	cmd.Flags().BoolVar(&lines, "lines", false, "each line is a request, and is answered by a line")
	cmd.Flags().BoolVar(&trace, "trace", false, "the file is a pipeline file, and a time that has been is judged again")
	ofTrace = again.flags(cmd)
	return cmd
}

// unread says what went wrong and ends with 2, so that it can't be taken for a verdict.
func unread(cmd *cobra.Command, err error) error {
	var said *exitError
	if err == nil || errors.As(err, &said) {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "slipway:", err)
	return &exitError{canaryUnread}
}

func judgeOne(in io.Reader, out io.Writer) error {
	data, err := io.ReadAll(io.LimitReader(in, canary.MaxRequest+1))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	req, err := canary.Decode(data)
	if err != nil {
		return fmt.Errorf("the request is not sound: %w", err)
	}
	report := canary.Judge(req)
	return printReport(out, report, report.Verdict)
}

// printReport prints a report and ends as its verdict is.
func printReport(out io.Writer, report any, verdict canary.Verdict) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(report); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	switch verdict {
	case canary.Pass:
		return nil
	case canary.Fail:
		return &exitError{canaryFails}
	case canary.Marginal, canary.Inconclusive:
		return &exitError{canaryGrey}
	}
	return fmt.Errorf("the verdict %q is not known", verdict)
}

// judgeLines answers each line as soon as it is there, so that a program can wait for an answer before it writes the
// next line. It holds one line at a time.
func judgeLines(in io.Reader, out io.Writer) error {
	lines, answers := bufio.NewReaderSize(in, 64<<10), bufio.NewWriter(out)
	encoder := json.NewEncoder(answers)
	encoder.SetEscapeHTML(false)
	bad := 0
	var line []byte
	for {
		var err error
		line, err = readLine(lines, line[:0])
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("read the requests: %w", err), answers.Flush())
		}
		ended := err != nil
		if ended && len(line) == 0 {
			break
		}
		var answer any
		if req, err := canary.Decode(line); err != nil {
			bad++
			answer = struct {
				Error string `json:"error"`
			}{err.Error()}
		} else {
			answer = canary.Judge(req)
		}
		if err := encoder.Encode(answer); err != nil {
			return fmt.Errorf("write the reports: %w", err)
		}
		if ended {
			break
		}
		if waiting, _ := lines.Peek(lines.Buffered()); bytes.IndexByte(waiting, '\n') < 0 {
			if err := answers.Flush(); err != nil {
				return fmt.Errorf("write the reports: %w", err)
			}
		}
	}
	if err := answers.Flush(); err != nil {
		return fmt.Errorf("write the reports: %w", err)
	}
	if bad > 0 {
		return &exitError{canaryUnread}
	}
	return nil
}

// readLine reads a line into a buffer, without its end. Of one that is too long it keeps as much as makes that plain.
func readLine(in *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part[:min(len(part), canary.MaxRequest+1-len(line))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
}

func canaryImportCommand() *cobra.Command {
	var o kayenta.Options
	var set []string
	cmd := &cobra.Command{
		Use:   "import CONFIG.json",
		Short: "Print a canary stage for .slipway.yml that is made of Kayenta's configuration (- is standard input)",
		Long: `Import reads a canary configuration of Kayenta, as Spinnaker stores it, and prints
a stage for .slipway.yml that judges as Kayenta did. What has no counterpart it
says in comments there and on standard error.

It ends with 0 if all metrics are in the stage, 1 if some are there as comments
only, and 2 if the configuration can't be read.`,
		Args: func(cmd *cobra.Command, args []string) error { return unread(cmd, cobra.ExactArgs(1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error { return unread(cmd, importConfig(cmd, args[0], o, set)) },
	}
	cmd.SetFlagErrorFunc(unread)
	cmd.Flags().StringVar(&o.Environment, "environment", "production", "the environment of the stage")
	cmd.Flags().StringVar(&o.Scope, "scope", "${{ track }}", "what ${scope} becomes")
	cmd.Flags().StringArrayVar(&set, "set", nil, "NAME=VALUE: what another ${NAME} becomes; may be given several times")
	return cmd
}

func importConfig(cmd *cobra.Command, name string, o kayenta.Options, set []string) error {
	o.Variables = map[string]string{}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return fmt.Errorf("--set %s: NAME=VALUE is expected", s)
		}
		o.Variables[key] = value
	}
	in := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
		defer file.Close() //nolint:errcheck // it was only read
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, kayenta.MaxConfig+1))
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	stage, err := kayenta.Translate(data, o)
	if err != nil {
		return fmt.Errorf("read the configuration %s: %w", name, err)
	}
	for _, note := range stage.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), note)
	}
	for _, problem := range checkStage(stage) {
		fmt.Fprintln(cmd.ErrOrStderr(), problem)
	}
	if _, err := io.WriteString(cmd.OutOrStdout(), stage.YAML); err != nil {
		return fmt.Errorf("write the stage: %w", err)
	}
	if len(stage.LeftOut) > 0 {
		return &exitError{1}
	}
	return nil
}

// checkStage says what the pipeline file would not take of a stage, such as a name that is too long, by lines of the stage.
func checkStage(stage kayenta.Stage) []pipeline.Problem {
	const head = "version: 1\napplication: a\nstages:\n"
	_, problems := spec.Parse("the stage", []byte(head+stage.YAML))
	for i := range problems {
		problems[i].Line -= strings.Count(head, "\n")
	}
	return problems
}
