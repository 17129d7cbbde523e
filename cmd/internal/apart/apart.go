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
	"os"
	"os/exec"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

const (
	// Command is the program's argument for what Serve does.
	Command = "build-kustomization"

	longest = 30 * time.Second
	memory  = 512 << 20 // bytes of data that the process may have, on Linux
	most    = 64 << 20  // bytes of its answer
)

// one process at a time bounds the memory of all.
var one sync.Mutex //nolint:gochecknoglobals // it is about the machine

// answer is what the process says on standard output.
type answer struct {
	Objects json.RawMessage `json:"objects,omitempty"`
	Mistake *manifest.Error `json:"mistake,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// Kustomize builds a kustomization by this program, run anew without its environment. One that takes too much is a
// mistake in the repository, a *manifest.Error.
func Kustomize(k manifest.Kustomization) ([]byte, error) {
	one.Lock()
	defer one.Unlock()
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("build a kustomization apart: %w", err)
	}
	in, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("build a kustomization apart: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, Command) //nolint:gosec // it is this program
	cmd.Env = []string{"HOME=/nonexistent"}           // secrets may be in ours
	cmd.Stdin = bytes.NewReader(in)
	cmd.SysProcAttr = withParent()
	out, err := run(cmd)
	tooMuch := func(what string) error {
		return &manifest.Error{Origin: manifest.Origin{File: k.Dir}, What: what, Hint: "its replacements, variables, patches or YAML aliases copy things again and again"}
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, tooMuch(fmt.Sprintf("takes longer than %v to build", longest))
	case errors.As(err, &exit), errors.Is(err, errTooLong):
		return nil, tooMuch(fmt.Sprintf("takes more than %d MiB of memory to build", memory>>20))
	case err != nil:
		return nil, fmt.Errorf("build a kustomization apart: %w", err)
	}
	var said answer
	switch err := json.Unmarshal(out, &said); {
	case err != nil:
		return nil, fmt.Errorf("build a kustomization apart: %w", err)
	case said.Mistake != nil:
		return nil, said.Mistake
	case said.Error != "":
		return nil, fmt.Errorf("build a kustomization apart: %s", said.Error)
	}
	return said.Objects, nil
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

// Serve is what the process does: it builds the one kustomization that it is given.
func Serve(in io.Reader, out io.Writer) error {
	if err := bound(); err != nil {
		return err
	}
	var k manifest.Kustomization
	if err := json.NewDecoder(in).Decode(&k); err != nil {
		return fmt.Errorf("read a kustomization: %w", err)
	}
	var said answer
	objects, err := k.Build()
	switch {
	case errors.As(err, &said.Mistake):
	case err != nil:
		said.Error = err.Error()
	default:
		said.Objects = objects
	}
	return json.NewEncoder(out).Encode(said)
}
