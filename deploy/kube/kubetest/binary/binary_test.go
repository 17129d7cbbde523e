package binary_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest/binary"
)

func TestPathFollowsTheSources(t *testing.T) {
	source := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := func() string {
		t.Helper()
		path, err := binary.Path(source)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := binary.Path(source); err == nil {
		t.Error("a folder without go.mod has a path, want an error")
	}
	write("go.mod", "module x\n")
	write("go.sum", "")
	write("main.go", "package main\n")
	seen := map[string]string{path(): "the first sources"}
	if _, ok := seen[path()]; !ok {
		t.Error("the same sources have another path when asked again")
	}
	for name, content := range map[string]string{"main.go": "package main // changed\n", "go.mod": "module y\n", "go.sum": "k8s.io/api v0 h1:=\n", "kwok.go": "package main\n"} {
		write(name, content)
		if other, ok := seen[path()]; ok {
			t.Errorf("after a change of %s the path is the same as for %s", name, other)
		}
		seen[path()] = name
	}
}

func TestSourceIsFoundFromAPackageFolder(t *testing.T) {
	source, err := binary.Source()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "go.sum")); err != nil {
		t.Errorf("source %s holds no module: %v", source, err)
	}
	t.Chdir(t.TempDir())
	if source, err := binary.Source(); err == nil {
		t.Errorf("outside of the checkout the source is %s, want an error", source)
	}
}
