package kubetest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
)

// victimEnv makes TestVictim, run in a process of its own, start a control plane and wait for the end.
const victimEnv = "KUBETEST_VICTIM"

func TestVictim(t *testing.T) {
	role := os.Getenv(victimEnv)
	if role == "" {
		t.Skip("part of the tests that start it in a process of its own")
	}
	cluster := kubetest.Start(t)
	if role == "paused" {
		cluster.Pause(t)
	}
	fmt.Println("victim", filepath.Dir(cluster.KubeconfigPath), strings.Trim(fmt.Sprint(cluster.Pids()), "[]"))
	select {} // until it is killed
}

func TestNothingOutlivesAKilledTestProcess(t *testing.T) {
	if kubetest.Start(t).External {
		t.Skip("an external cluster isn't ours to end")
	}
	for _, role := range []string{"running", "paused"} {
		t.Run("while the API server is "+role, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
			command.Env = append(os.Environ(), victimEnv+"="+role)
			output, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			var dir string
			var pids []int
			for lines := bufio.NewScanner(output); dir == "" && lines.Scan(); {
				words := strings.Fields(lines.Text())
				if len(words) < 3 || words[0] != "victim" {
					continue
				}
				dir = words[1]
				for _, word := range words[2:] {
					pid, err := strconv.Atoi(word)
					if err != nil {
						t.Fatal(err)
					}
					pids = append(pids, pid)
				}
			}
			if err := command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait()
			if len(pids) != 5 {
				t.Fatalf("the victim has started %d programs, want 5", len(pids))
			}
			tick, deadline := time.NewTicker(20*time.Millisecond), time.After(15*time.Second)
			defer tick.Stop()
			for {
				left := living(pids)
				_, err := os.Stat(dir)
				if len(left) == 0 && errors.Is(err, fs.ErrNotExist) {
					return
				}
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("processes %v are left, and of the folder %s: %v", left, dir, err)
				}
			}
		})
	}
}

// living returns the processes that still run; the dead that nobody has buried don't count.
func living(pids []int) []int {
	var left []int
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.Contains(string(stat), ") Z ") {
			continue
		}
		if err == nil || syscall.Kill(pid, 0) == nil {
			left = append(left, pid)
		}
	}
	return left
}

func TestMissingControlPlaneSkipsOnALaptopAndFailsInCI(t *testing.T) {
	const line = "kubetest: control plane not built: run make controlplane"
	for ci, want := range map[string]string{"": "--- SKIP: TestVictim", "true": "--- FAIL: TestVictim"} {
		t.Run("CI="+ci, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
			command.Env = append(os.Environ(), victimEnv+"=running", "CI="+ci, "SLIPWAY_TEST_KUBECONFIG=",
				"XDG_CACHE_HOME="+t.TempDir(), "HOME="+t.TempDir())
			output, err := command.CombinedOutput()
			if (err != nil) != (ci == "true") {
				t.Errorf("the test process ended with %v", err)
			}
			if !strings.Contains(string(output), want) || !strings.Contains(string(output), line) {
				t.Errorf("output has no %q with %q:\n%s", want, line, output)
			}
		})
	}
}
