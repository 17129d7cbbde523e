package kubetest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// part is one running program of the control plane.
type part struct {
	name    string
	logFile string
	command *exec.Cmd
	// input keeps the program alive: it stops when its standard input ends, and the kernel closes our end when
	// this process dies, however it dies.
	input io.Closer
	// ended is closed when the program has ended.
	ended chan struct{}
}

func startPart(executable, dir, name string, env, flags []string) (*part, error) {
	logFile := filepath.Join(dir, name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the program has a handle of its own
	command := exec.Command(executable, append([]string{name}, flags...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	// In a group of its own, an interrupt at the terminal reaches only the test. And the kernel wakes and hangs up a
	// stopped group that lost its parent, so that a paused API server doesn't outlive us either.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &part{name: name, logFile: logFile, command: command, input: input, ended: make(chan struct{})}
	go func() {
		_ = command.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// kill ends the program at once and waits for its end. A polite stop takes the API server 16 seconds.
func (p *part) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

func (p *part) signal(s syscall.Signal) error {
	if err := p.command.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, p.name, err)
	}
	return nil
}

// logTail returns the last lines that the program wrote, for the message of a test that can't start.
func (p *part) logTail() string {
	content, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}
