//go:build !linux

package apart

import "syscall"

// bound does nothing where only Linux knows how: the time is bounded alone.
func bound() error { return nil }

func withParent() *syscall.SysProcAttr { return nil }
