package apart

import (
	"runtime/debug"
	"syscall"
	"time"
)

// bound ends this process once it has more data, or has used more processor time, than it may.
func bound(processor time.Duration) error {
	debug.SetMemoryLimit(memory * 3 / 4) // collect before it comes to that
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: memory, Max: memory}); err != nil {
		return err
	}
	// The kernel's own clock for this limit ticks coarsely: with a second more, the time that it tells afterwards is over the
	// bound for certain. Before that second it sends SIGXCPU, which Go ignores.
	seconds := uint64(processor / time.Second)
	return syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds + 1})
}

// withParent lets a process end with this one.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// program is this program, also after its file was replaced.
func program() (string, error) { return "/proc/self/exe", nil }
