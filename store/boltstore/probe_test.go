package boltstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/store"
)

func TestProbeChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := Probe(path); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := Probe(path); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a file that a server has: %v", err)
	}
	if _, err := s.Stats(t.Context()); err != nil {
		t.Errorf("the server after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Probe(path); err != nil {
		t.Errorf("a database: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
	junk := filepath.Join(t.TempDir(), "junk.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("this is no database\n", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Probe(junk); err == nil || !strings.Contains(err.Error(), "is not a database of Slipway") {
		t.Errorf("junk: %v", err)
	}
}
