// Package apart builds kustomizations in a process of its own. A few lines in a repository can make one that takes more
// memory than any machine has, and a server that builds it would be killed, and again after each restart.
package apart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

const (
	// Command is the program's argument for what Serve does.
	Command = "build-kustomization"

	memory = 512 << 20 // bytes of data that the process may have, on Linux
	most   = 64 << 20  // bytes of its answer
)

// bounds are the times that a build may take.
type bounds struct {
	wall      time.Duration
	processor time.Duration // whole seconds, on Linux
}

func usual() bounds { return bounds{wall: time.Minute, processor: 20 * time.Second} }

// building bounds the memory of all by one process at a time: who builds has put something in.
var building = make(chan struct{}, 1) //nolint:gochecknoglobals // it is about the machine

// question is what the process reads from standard input.
type question struct {
	Kustomization manifest.Kustomization `json:"kustomization"`
	Processor     time.Duration          `json:"processor"`
}

// answer is what it says on standard output.
type answer struct {
	Objects json.RawMessage `json:"objects,omitempty"`
	Mistake *manifest.Error `json:"mistake,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// Kustomize builds a kustomization by this program, run anew without its environment. One that takes too much memory or
// processor time is a mistake in the repository, a *manifest.Error; another error may pass by itself.
func Kustomize(ctx context.Context, k manifest.Kustomization) ([]byte, error) {
	built, err := build(ctx, k, usual())
	var mistake *manifest.Error
	if err != nil && !errors.As(err, &mistake) {
		return nil, fmt.Errorf("build a kustomization apart: %w", err)
	}
	return built, err
}

func build(ctx context.Context, k manifest.Kustomization, within bounds) ([]byte, error) {
	select {
	case building <- struct{}{}:
		defer func() { <-building }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in, err := json.Marshal(question{k, within.processor})
	if err != nil {
		return nil, err
	}
	path, err := program()
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, within.wall)
	defer cancel()
	cmd := exec.CommandContext(timed, path, Command) //nolint:gosec // it is this program
	cmd.Env = []string{"HOME=/nonexistent"}          // secrets may be in ours
	cmd.Stdin = bytes.NewReader(in)
	cmd.SysProcAttr = withParent()
	var complaint beginning
	cmd.Stderr = &complaint
	out, err := run(cmd)
	tooMuch := func(what string) error {
		return &manifest.Error{
			Origin: manifest.Origin{File: k.Dir}, What: "takes more than " + what + " to build",
			Hint: "its replacements, variables, patches or YAML aliases copy things again and again",
		}
	}
	switch {
	case err == nil:
		return objects(out)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case timed.Err() != nil:
		return nil, fmt.Errorf("it took longer than %v by the clock", within.wall)
	case errors.Is(err, errTooLong), complaint.tellsOfMemory():
		return nil, tooMuch(fmt.Sprintf("%d MiB of memory", memory>>20))
	case cmd.ProcessState != nil && cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime() >= within.processor:
		return nil, tooMuch(fmt.Sprintf("%v of processor time", within.processor))
	}
	return nil, fmt.Errorf("%w: %q", err, complaint.text)
}

// objects reads an answer.
func objects(out []byte) ([]byte, error) {
	var said answer
	switch err := json.Unmarshal(out, &said); {
	case err != nil:
		return nil, err
	case said.Mistake != nil:
		return nil, said.Mistake
	case said.Error != "":
		return nil, errors.New(said.Error)
	}
	return said.Objects, nil
}

// beginning keeps the beginning of what is written to it.
type beginning struct{ text []byte }

func (b *beginning) Write(p []byte) (int, error) {
	const most = 1024
	b.text = append(b.text, p[:min(len(p), most-len(b.text))]...)
	return len(p), nil
}

// tellsOfMemory tells that there was too little, in the words of Go's runtime or of its race detector. Some of the runtime
// uses what it got without a look at whether it got any.
func (b *beginning) tellsOfMemory() bool {
	words := []string{"out of memory", "cannot allocate memory", "SIGSEGV: segmentation violation", "ThreadSanitizer failed to allocate"}
	return slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(b.text, []byte(w)) })
}

var errTooLong = errors.New("the answer is too long")

// run gives what a process writes.
func run(cmd *exec.Cmd) ([]byte, error) {
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(pipe, most+1))
	if err == nil && len(out) > most {
		err = errTooLong
	}
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended
	}
	return out, errors.Join(err, cmd.Wait())
}

// Serve is what the process does: it builds the one kustomization that it is given. What kustomize writes to standard error
// is dropped, so that only this program and its runtime are heard there.
func Serve(in io.Reader, out io.Writer) error {
	var asked question
	if err := json.NewDecoder(in).Decode(&asked); err != nil {
		return fmt.Errorf("read a kustomization: %w", err)
	}
	if err := bound(asked.Processor); err != nil {
		return fmt.Errorf("bound this process: %w", err)
	}
	log.SetOutput(io.Discard)
	stderr := os.Stderr
	os.Stderr = nil
	built, err := asked.Kustomization.Build()
	os.Stderr = stderr
	said := answer{Objects: built}
	if err != nil && !errors.As(err, &said.Mistake) {
		said.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(said)
}
