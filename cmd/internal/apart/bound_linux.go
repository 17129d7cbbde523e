package apart

import (
	"runtime/debug"
	"syscall"
)

// bound ends this process once it has more data than it may.
func bound() error {
	debug.SetMemoryLimit(memory * 3 / 4) // collect before it comes to that
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: memory, Max: memory})
}

// withParent lets a process end with this one.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
