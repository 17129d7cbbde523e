// Package binary builds the control plane of the tests and keeps it in the user's cache folder.
package binary

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// kubernetesVersion is what the API server says that it is. It follows the pin of k8s.io/kubernetes in the nested
// module's go.mod.
const kubernetesVersion = "v1.37.2"

const productModule = "module gitlab.com/slipway-cd/slipway\n"

// Source returns the folder of the nested module that the control plane is built from. It is found from the
// working folder upwards, which for a test is its package's folder.
func Source() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the control plane's source: %w", err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), productModule) {
			return filepath.Join(dir, "deploy", "kube", "kubetest", "controlplane"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the control plane's source: the working folder isn't inside Slipway's checkout")
		}
		dir = parent
	}
}

// Path returns where the executable for this source belongs: controlplane-HASH in the folder slipway of the
// user's cache folder. The hash covers go.mod, go.sum, the sources, the platform and the stamped version. The file
// need not exist.
func Path(source string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder for the control plane: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.GOOS, runtime.GOARCH, kubernetesVersion)
	names, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		return "", fmt.Errorf("list the control plane's sources: %w", err)
	}
	names = append(names, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	for _, name := range names {
		if err := hashFile(sum, name); err != nil {
			return "", fmt.Errorf("hash the control plane's sources: %w", err)
		}
	}
	return filepath.Join(cache, "slipway", "controlplane-"+hex.EncodeToString(sum.Sum(nil))[:16]), nil
}

func hashFile(sum io.Writer, name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	fmt.Fprintln(sum, filepath.Base(name), len(content))
	_, err = sum.Write(content)
	return err
}

// Build returns the path of the executable, and builds it if it isn't there. A cold build takes about 1,400
// seconds of CPU time and 4 GB in Go's build cache; a warm one takes about 15 seconds. What the compiler says goes
// to log.
func Build(ctx context.Context, log io.Writer) (string, error) {
	source, err := Source()
	if err != nil {
		return "", err
	}
	path, err := Path(source)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the control plane: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder for the control plane: %w", err)
	}
	fmt.Fprintln(log, "building the control plane of the tests; the first time takes many minutes")

	// Built beside its place and renamed, so that nobody starts half a file.
	scratch, err := os.MkdirTemp(filepath.Dir(path), "build-")
	if err != nil {
		return "", fmt.Errorf("make a folder to build the control plane in: %w", err)
	}
	defer os.RemoveAll(scratch)
	built := filepath.Join(scratch, "controlplane")
	command := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", linkerFlags(), "-o", built, ".")
	command.Dir = source
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	command.Stdout, command.Stderr = log, log
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("build the control plane: %w", err)
	}
	if err := os.Rename(built, path); err != nil {
		return "", fmt.Errorf("put the control plane in its place: %w", err)
	}
	return path, nil
}

// linkerFlags stamps the Kubernetes version, without which the API server calls itself v0.0.0 and clients that
// look at the version turn away.
func linkerFlags() string {
	const pkg = "k8s.io/component-base/version."
	numbers := strings.Split(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	return strings.Join([]string{
		"-s", "-w",
		"-X", pkg + "gitVersion=" + kubernetesVersion,
		"-X", pkg + "gitMajor=" + numbers[0],
		"-X", pkg + "gitMinor=" + numbers[1],
		"-X", pkg + "gitTreeState=clean",
	}, " ")
}
