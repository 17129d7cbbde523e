package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

// impatient lets slipway try again soon where it would wait for half a minute.
func (r *rig) impatient() { r.flags = append(r.flags, "--longest-pause", "200ms") }

// fail sets a fault of GitLab and returns how often it applied, and its end.
func (r *rig) fail(f gitlabsim.Fault) (hits func() int, end func()) {
	r.Helper()
	hits, end, err := r.world.GitLab.Fail(f)
	r.ok(err)
	return hits, end
}

func (r *rig) comment(iid, user int64, body string) {
	r.Helper()
	_, err := r.world.GitLab.Comment(r.world.Project, iid, user, body)
	r.ok(err)
}

// TestGitLabFailsAndTheDeliveryGoesOn lets every kind of call fail in every way once
// or twice. Nothing may be lost, and nothing may be there twice.
func TestGitLabFailsAndTheDeliveryGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()
	const notes, statuses, deployments, play = "projects/*/merge_requests/*/notes", "projects/*/statuses/*", "projects/*/deployments", "projects/*/jobs/*/play"
	for i, faults := range [][]gitlabsim.Fault{
		{
			{Method: "POST", Path: notes, Times: 1, Status: 502, Do: true},
			{Method: "POST", Path: statuses, Times: 3, Status: 502, Do: true},
			{Method: "POST", Path: deployments, Times: 2, Status: 502, Do: true},
			{Method: "POST", Path: play, Times: 1, Status: 502, Do: true},
			{Method: "PUT", Path: notes + "/*", Times: 2, Status: 502, Do: true},
		},
		{
			{Method: "POST", Path: notes, Times: 1, Drop: true, Do: true},
			{Method: "POST", Path: statuses, Times: 3, Drop: true, Do: true},
			{Method: "POST", Path: deployments, Times: 2, Drop: true, Do: true},
			{Method: "POST", Path: play, Times: 1, Drop: true, Do: true},
			{Method: "PUT", Path: notes + "/*", Times: 2, Drop: true, Do: true},
		},
		{
			{Method: "POST", Path: notes, Times: 2, Status: 429},
			{Method: "POST", Path: statuses, Times: 4, Status: 409},
			{Method: "POST", Path: deployments, Times: 1, Drop: true},
			{Method: "POST", Path: play, Times: 1, Status: 502},
			{Method: "PUT", Path: notes + "/*", Times: 2, Status: 429},
			{Method: "PUT", Path: deployments + "/*", Times: 2, Status: 500},
			{Method: "GET", Path: "projects/*/repository/**", Times: 4, Status: 503},
			{Method: "GET", Path: "projects/*/pipelines", Times: 1, Drop: true},
		},
	} {
		var hits []func() int
		for _, f := range faults {
			n, _ := r.fail(f)
			hits = append(hits, n)
		}
		_, sha := r.deliver(fmt.Sprintf("Change %d", i), fmt.Sprintf("change-%d", i))
		r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
		for j, f := range faults {
			if n := hits[j](); n != f.Times && f.Path != "projects/*/pipelines" {
				r.Errorf("the fault of %s %s applied %d times, want %d", f.Method, f.Path, n, f.Times)
			}
		}
	}
	r.checkOnce()
	r.checkJobsPlayedOnce()
	r.checkDatabase()
}

// TestARevokedGitLabToken is taken away before a merge, and again in the middle.
func TestARevokedGitLabToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()
	iid := r.good("Sell umbrellas", "umbrellas")
	_, accepted := r.fail(gitlabsim.Fault{Status: 401})
	sha := r.merge(iid)
	r.awaitPageSays(r.page(iid, sha), "GitLab does not accept Slipway&#39;s access token")
	accepted()
	r.ok(r.world.Slack.Await(r.within(), r.asked(iid)))

	_, accepted = r.fail(gitlabsim.Fault{Status: 401})
	r.awaitPageSays(r.page(iid, sha), "Ship “Sell umbrellas”")
	status, _ := r.get("/readyz")
	if status != http.StatusOK {
		r.Errorf("slipway is not ready because GitLab refuses its token: %d", status)
	}
	// Who Ada is cannot be asked, so her approval waits. It is not lost.
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.awaitPageSays(r.page(iid, sha), "GitLab does not accept Slipway&#39;s access token")
	accepted()
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
	r.awaitPage(r.page(iid, sha), "no warning", func(_ int, text string) bool { return !strings.Contains(text, "access token") })
	r.checkOnce()
	r.checkDatabase()
}

// asked tells that Slack shows the merge request's message with buttons.
func (r *rig) asked(iid int64) func(slacksim.Snapshot) bool {
	return func(slacksim.Snapshot) bool {
		m, ok := r.world.Message(iid)
		return ok && len(m.Buttons()) > 0
	}
}

// TestGitLabFindsNothing is about answers that no further try changes.
func TestGitLabFindsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()

	_, end := r.fail(gitlabsim.Fault{Status: 404, Match: func(req *http.Request) bool {
		return strings.Contains(req.URL.Path, "/repository/archive")
	}})
	lost := r.good("Lose the manifests", "lost")
	r.merge(lost)
	r.ok(r.world.AwaitNote(r.within(), lost, "**The delivery failed**"))
	if note := plain(r.note(lost)); !strings.Contains(note, "GitLab does not find what is needed to") {
		r.Errorf("the note does not say what was not found:\n%s", note)
	}
	end()

	// Without the note, people are told on the page and in Slack, and the delivery goes on.
	_, end = r.fail(gitlabsim.Fault{Path: "projects/*/merge_requests/*/notes", Status: 404})
	iid := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(iid)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
	r.awaitPageSays(r.page(iid, sha), "GitLab does not find what is needed to read the merge request&#39;s comments")
	r.awaitMessageSays(iid, "GitLab does not find what is needed")
	end()
	r.checkOnce()
	r.checkDatabase()
}

// TestSlackIsAway takes the bot token and then the channel away: people hear of it where
// they still can, and answer by comment.
func TestSlackIsAway(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"invalid_auth":      "Slack does not accept Slipway's bot token (invalid_auth)",
		"channel_not_found": "Slipway cannot use the Slack channel #shop-deploys",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "sim")
			r.impatient()
			r.start()
			r.world.Slack.Fail(slacksim.Fault{Method: "*", Times: 1 << 20, Error: name})
			iid := r.good("Sell umbrellas", "umbrellas")
			sha := r.merge(iid)
			r.awaitNoteSays(iid, words)
			r.awaitNoteSays(iid, "Ship “Sell umbrellas”")
			r.awaitPage(r.page(iid, sha), words, func(_ int, text string) bool { return strings.Contains(plain(text), words) })
			r.comment(iid, r.world.Ada, "@slipway approve")
			r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
			r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
			if name == "invalid_auth" { // the token is replaced: what was held back is told
				r.world.Slack.ClearFaults()
				r.awaitNoQuestion(iid)
				r.awaitPage(r.page(iid, sha), "no warning", func(_ int, text string) bool { return !strings.Contains(plain(text), words) })
			}
			r.checkOnce()
			r.checkDatabase()
		})
	}
}

// TestSlackFailsAndNothingIsSaidTwice lets single calls fail, also after they did their work.
func TestSlackFailsAndNothingIsSaidTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()
	for i, faults := range [][]slacksim.Fault{
		{{Method: "chat.postMessage", RetryAfter: time.Second}, {Method: "chat.update", Times: 2, Status: http.StatusTooManyRequests}},
		{{Method: "chat.postMessage", Drop: true, After: true}, {Method: "chat.update", Drop: true, After: true}},
		{{Method: "chat.postMessage", Status: 503, After: true}, {Method: "conversations.history", Status: 503}, {Method: "chat.update", Error: "internal_error"}},
		{{Method: "chat.postMessage", Body: `{"ok":false}`, After: true}, {Method: "chat.postMessage", Drop: true}},
	} {
		for _, f := range faults {
			r.world.Slack.Fail(f)
		}
		iid, sha := r.deliver(fmt.Sprintf("Change %d", i), fmt.Sprintf("change-%d", i))
		r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
		r.awaitNoQuestion(iid)
		r.world.Slack.ClearFaults()
	}
	messages, replies := 0, map[string]int{}
	for _, m := range r.world.Slack.Messages(r.world.ChannelID) {
		if m.ThreadTS == "" || m.ThreadTS == m.TS {
			messages++
			continue
		}
		if replies[m.ThreadTS]++; replies[m.ThreadTS] > 1 {
			r.Errorf("people are called twice: %s", m.Text)
		}
	}
	if messages != 4 {
		r.Errorf("%d messages in the channel, want 4", messages)
	}
	r.checkOnce()
	r.checkDatabase()
}

func TestTheClusterIsUnreachable(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, "sim", time.Second)
	r.impatient()
	r.start()
	faults := r.world.Cluster.Faults
	delivered := map[string]string{"staging": "success", "production": "success"}

	// In the middle of the rollout to production.
	iid := r.good("Open the shop", "open")
	sha := r.merge(iid)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.awaitNoteSays(iid, "of 3 pods ready")
	faults.SetUnreachable(true)
	r.awaitNoteSays(iid, "cluster unreachable, trying again")
	faults.SetUnreachable(false)
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.awaitSettled(sha, delivered, allDone)
	r.runs(r.prod, sha)

	// Before anything is applied.
	faults.SetUnreachable(true)
	iid = r.good("Sell umbrellas", "umbrellas")
	sha = r.merge(iid)
	r.awaitNoteSays(iid, "trying again: cluster main doesn't answer")
	faults.SetUnreachable(false)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.awaitSettled(sha, delivered, allDone)
	r.runs(r.prod, sha)

	// While a bad release is taken back.
	bad, err := r.world.Bad("Keep sessions elsewhere", "sessions")
	r.ok(err)
	badSHA := r.merge(bad)
	r.awaitNoteSays(bad, "**Rolling back**")
	faults.SetUnreachable(true)
	r.awaitPage(r.page(bad, badSHA), "that the cluster is away", func(_ int, text string) bool {
		text = strings.ToLower(plain(text))
		return strings.Contains(text, "trying again: cluster main doesn't answer") || strings.Contains(text, "cluster unreachable, trying again")
	})
	faults.SetUnreachable(false)
	r.ok(r.world.AwaitNote(r.within(), bad, "**Rolled back**"))
	r.awaitSettled(badSHA, map[string]string{"staging": "failed"}, map[string]string{
		"staging": "skipped", "smoke": "skipped", "go-live": "skipped", "production": "skipped",
	})
	r.runs(r.staging, sha)
	r.checkOnce()
	r.checkDatabase()
}

// awaitNoteSays waits until the merge request's note reads so.
func (r *rig) awaitNoteSays(iid int64, words string) {
	r.Helper()
	seen := ""
	err := r.world.AwaitGitLab(r.within(), words, func(gitlabsim.ProjectSnapshot) bool {
		for _, n := range r.world.Notes(iid) {
			if seen = n.Body; strings.Contains(seen, words) || strings.Contains(plain(seen), words) {
				return true
			}
		}
		return false
	})
	if err != nil {
		r.Fatalf("%v: the note says\n%s", err, seen)
	}
}

// awaitMessageSays waits until the merge request's message in Slack reads so.
func (r *rig) awaitMessageSays(iid int64, words string) {
	r.Helper()
	var blocks []byte
	err := r.world.Slack.Await(r.within(), func(slacksim.Snapshot) bool {
		m, ok := r.world.Message(iid)
		if ok {
			blocks, _ = json.Marshal(m.Blocks)
		}
		return ok && strings.Contains(string(blocks), words)
	})
	if err != nil {
		r.Fatalf("%v: the message says\n%s", err, blocks)
	}
}

// TestTheClusterForbidsIt has a token that may work in staging's namespace only.
func TestTheClusterForbidsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()
	r.world.Cluster.AddToken(r.world.Cluster.Token(), []string{r.staging})
	iid := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(iid)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**The delivery failed**"))
	r.awaitSettled(sha, map[string]string{"staging": "success", "production": "failed"}, map[string]string{
		"staging": "success", "smoke": "success", "go-live": "success", "production": "skipped",
	})
	const words = "system:serviceaccount:shop-staging:default may not get services in namespace shop of cluster main"
	if note := plain(r.note(iid)); !strings.Contains(note, words) {
		r.Errorf("the note does not say %q:\n%s", words, note)
	}
	r.awaitMessageSays(iid, words)
	r.runs(r.staging, sha)
	r.checkOnce()
	r.checkDatabase()
}

// fileLimit sets how large files may be that the process writes, in bytes.
func (r *rig) fileLimit(bytes uint64) {
	r.Helper()
	limit := syscall.Rlimit{Cur: bytes, Max: ^uint64(0)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(r.process.Process.Pid), syscall.RLIMIT_FSIZE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0) // the system call takes a pointer
	if errno != 0 {
		r.Fatalf("limit the size of files: %v", errno)
	}
}

// TestAFullDisk takes the room away in the middle of a delivery, and gives it back.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, "sim", time.Second)
	r.impatient()
	r.start()
	first := r.good("Open the shop", "open")
	sha := r.merge(first)
	r.awaitNoteSays(first, "of 2 pods ready")

	r.fileLimit(0)
	second := r.good("Sell umbrellas", "umbrellas")
	r.merge(second)
	refused := func() (refused []int64) {
		answered := map[string]bool{}
		for _, d := range r.world.GitLab.Deliveries() {
			answered[d.IdempotencyKey] = answered[d.IdempotencyKey] || d.Status == http.StatusOK
		}
		for _, d := range r.world.GitLab.Deliveries() {
			if !answered[d.IdempotencyKey] {
				if d.Status != http.StatusServiceUnavailable || !strings.Contains(d.Answer, "send it again") {
					r.Errorf("with a full disk a hook is answered %d %s", d.Status, d.Answer)
				}
				refused = append(refused, d.ID)
			}
		}
		return refused
	}
	r.ok(r.world.AwaitGitLab(r.within(), "refused hooks", func(gitlabsim.ProjectSnapshot) bool { return len(refused()) > 0 }))
	r.awaitPage("/readyz", "why it is not ready", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "the database cannot be written") && strings.Contains(text, "file too large")
	})
	if status, _ := r.get("/livez"); status != http.StatusOK {
		r.Errorf("livez answers %d: a restart does not make room", status)
	}
	if status, text := r.get("/deliveries/" + fmt.Sprintf("%d-%d-%s", r.world.Project, first, sha[:8])); status != http.StatusOK || !strings.Contains(text, "Open the shop") {
		r.Errorf("what is known cannot be read: %d", status)
	}
	r.ok(r.world.GitLab.Quiet(r.within()))

	r.fileLimit(^uint64(0))
	r.awaitPage("/readyz", "ok", func(status int, _ string) bool { return status == http.StatusOK })
	for _, id := range refused() {
		r.ok(r.world.GitLab.Resend(id))
	}
	r.ok(r.world.PressWhenAsked(r.within(), second, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), second, "**Delivered**"))
	r.ok(r.world.AwaitNote(r.within(), first, "**Superseded**"))
	r.checkOnce()
	r.checkDatabase()
}

// TestAFullDiskWhileNothingHappens finds out by itself that there is room again: a server
// that is not ready is sent nothing.
func TestAFullDiskWhileNothingHappens(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	r.fileLimit(0)
	iid := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(iid)
	r.ok(r.world.GitLab.Quiet(r.within()))
	r.awaitPage("/readyz", "why it is not ready", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "the database cannot be written")
	})
	if status, _ := r.get(r.page(iid, sha)); status != http.StatusNotFound {
		r.Errorf("a delivery that could not be stored has a page: %d", status)
	}
	r.fileLimit(^uint64(0))
	r.awaitPage("/readyz", "ok", func(status int, _ string) bool { return status == http.StatusOK })
	for _, d := range r.world.GitLab.Deliveries() {
		if d.Status != http.StatusOK {
			r.ok(r.world.GitLab.Resend(d.ID))
		}
	}
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.checkOnce()
	r.checkDatabase()
}

func TestASecondProcessOnTheSameDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	iid := r.good("Sell umbrellas", "umbrellas")
	r.merge(iid)
	r.ok(r.world.Slack.Await(r.within(), r.asked(iid)))

	other, err := r.world.Config(freeAddress(t))
	r.ok(err)
	config := filepath.Join(r.dir, "second.yml")
	r.ok(os.WriteFile(config, other, 0o600))
	out, code := slipway(t, "", "serve", "--config", config)
	database := filepath.Join(r.dir, "slipway.db")
	want := "slipway: open the database " + database + ": another process has the database open: " +
		"stop the other Slipway that uses this file, or give this one a file of its own\n"
	if code != 1 || out != want {
		r.Errorf("the second process exits %d and says\n%s\nwant\n%s", code, out, want)
	}
	out, code = slipway(t, "", "check", database)
	want = "slipway: open the database " + database + ": another process has the database open: " +
		"stop the Slipway that uses this file, or look at a backup instead\n"
	if code != 1 || out != want {
		r.Errorf("check exits %d and says\n%s\nwant\n%s", code, out, want)
	}

	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.checkOnce()
	r.checkDatabase()
}

// TestStoppedInTheMiddleOfARollout goes on where it was, and takes no time to stop.
func TestStoppedInTheMiddleOfARollout(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, "sim", time.Second)
	r.start()
	iid := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(iid)
	r.awaitNoteSays(iid, "of 2 pods ready")
	events, err := http.Get("http://" + r.addr + "/events") // a page that is open keeps nobody from stopping
	r.ok(err)
	defer events.Body.Close()
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 5*time.Second {
		r.Errorf("stopping took %s", took)
	}
	if p := r.world.ProjectNow(); len(p.Deployments) != 1 || p.Deployments[0].Status != "running" {
		r.Errorf("the deployments are %+v", p.Deployments)
	}
	r.start()
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.awaitSettled(sha, map[string]string{"staging": "success", "production": "success"}, allDone)
	applied := strings.Count(r.log.String(), "msg=\"applied a release\"")
	if applied != 2 {
		r.Errorf("releases were applied %d times, want once in staging and once in production", applied)
	}
	r.checkOnce()
	r.checkJobsPlayedOnce()
	r.checkDatabase()
}

// TestAFullDiskAtTheStart says so and ends, instead of serving without a memory.
func TestAFullDiskAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -f 0; exec "$0" serve --config "$1"`, os.Args[0], r.config)
	cmd.Env = append(os.Environ(), asSlipway+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), "slipway: open the database ") || !strings.Contains(string(out), "file too large") {
		r.Errorf("%v\n%s", err, out)
	}
	r.start()
	r.deliver("Open the shop", "open")
	r.checkDatabase()
}
