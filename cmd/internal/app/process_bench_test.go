//go:build linux

package app

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// buildSlipway builds the program as it is released and returns its path.
func buildSlipway(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "slipway")
	cmd := exec.Command("go", "build", "-tags", "nomsgpack", "-trimpath", "-ldflags", "-s -w", "-o", path, "gitlab.com/slipway-cd/slipway/cmd/slipway")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// BenchmarkProcess is the released program with a configuration that has everything:
// its size, how soon it answers after it was started with nothing of it in the page
// cache (cold) and again (warm), and how much memory it has in RAM when it has been idle
// for two seconds, and after it has delivered a change to two environments.
func BenchmarkProcess(b *testing.B) {
	path := buildSlipway(b)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	var cold, warm, idle, used []float64
	for b.Loop() {
		w, err := world.New(world.Options{Dir: b.TempDir(), PodStart: 50 * time.Millisecond, JobTime: 10 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		addr := freeAddress(b)
		if err := w.Connect("http://" + addr); err != nil {
			b.Fatal(err)
		}
		file, err := w.WriteConfig(addr)
		if err != nil {
			b.Fatal(err)
		}
		forget(b, path)
		p := startProcess(b, path, file, addr)
		cold = append(cold, p.answered.Seconds()*1000)
		p.stop(b)
		p = startProcess(b, path, file, addr)
		warm = append(warm, p.answered.Seconds()*1000)
		time.Sleep(2 * time.Second) // a benchmark's pause: what a start leaves behind settles
		idle = append(idle, p.resident(b))
		deliver(b, w)
		used = append(used, p.resident(b))
		p.stop(b)
		w.Close()
	}
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
	b.ReportMetric(median(cold), "cold-start-ms")
	b.ReportMetric(median(warm), "warm-start-ms")
	b.ReportMetric(median(idle), "idle-RSS-MB")
	b.ReportMetric(median(used), "used-RSS-MB")
	b.ReportMetric(0, "ns/op")
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// process is a running slipway serve.
type process struct {
	cmd      *exec.Cmd
	log      bytes.Buffer
	answered time.Duration // from the start to the first answer of /readyz
}

func startProcess(b *testing.B, path, configFile, addr string) *process {
	b.Helper()
	p := &process{cmd: exec.Command(path, "serve", "--config", configFile)}
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for !ready(addr) {
		if time.Since(began) > 30*time.Second {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
			b.Fatalf("slipway does not answer\n%s", &p.log)
		}
		time.Sleep(200 * time.Microsecond) // a benchmark's pause, and the resolution of what it measures
	}
	p.answered = time.Since(began)
	return p
}

func ready(addr string) bool {
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *process) stop(b *testing.B) {
	b.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		b.Fatalf("slipway did not stop cleanly: %v\n%s", err, &p.log)
	}
}

// resident is the process's memory in RAM in MB: its own, and the pages of its binary and
// its database that it has touched.
func (p *process) resident(b *testing.B) float64 {
	b.Helper()
	return p.memory(b, "VmRSS")
}

// memory is one of the kinds of memory that Linux tells of a process, in MB.
func (p *process) memory(b *testing.B, kind string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, ok := bytes.Cut(data, []byte(kind+":"))
	var kb float64
	if _, err := fmt.Sscan(string(rest), &kb); !ok || err != nil {
		b.Fatalf("read %s: %v", kind, err)
	}
	return kb * 1024 / 1e6
}

// forget drops a file from the page cache, as after the machine has started.
func forget(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
		b.Fatalf("drop %s from the page cache: %v", path, errno)
	}
}
