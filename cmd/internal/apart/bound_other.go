//go:build !linux

package apart

import (
	"os"
	"syscall"
	"time"
)

// bound does nothing where only Linux knows how: the time by the clock is bounded alone.
func bound(time.Duration) error { return nil }

func withParent() *syscall.SysProcAttr { return nil }

func program() (string, error) { return os.Executable() }
