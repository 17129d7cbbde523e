package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"

	"github.com/chromedp/chromedp"
)

// browser is a person in front of the page.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	mistakes []string // on the console
}

// newBrowser skips where there is no Chromium, and fails there where it is a must.
func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium: install the package chromium")
		}
		t.Skip("no Chromium: install the package chromium to run this")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 800),
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.mistakes = append(b.mistakes, m.String())
			b.mu.Unlock()
		}
	}()
	b.do(chromedp.EmulateViewport(1280, 800))
	b.do(chromedp.Navigate(url))
	return b
}

func (b *browser) do(a chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, a); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// await waits until an expression is true on the page.
func (b *browser) await(expression string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience))); err != nil {
		b.t.Fatalf("wait for %s: %v\nthe page says: %s", expression, err, b.text("#guide"))
	}
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// told waits for what the page asks people to do.
func (b *browser) told(title string) {
	b.t.Helper()
	b.await(fmt.Sprintf("!!document.querySelector('.do .title')?.textContent.includes(%q)", title))
}

func (b *browser) says(selector, words string) {
	b.t.Helper()
	b.await(fmt.Sprintf("!!document.querySelector(%q)?.innerText.includes(%q)", selector, words))
}

func TestAPersonClicksThroughTheWholeDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("short: no browser")
	}
	r := newRigAs(t, true, world.Options{Standby: sideBySide, Canary: compared})
	go func() { _ = r.repair(t.Context()) }() // ends with the test
	b := newBrowser(t, r.url)

	b.told("Merge this")
	if n := len(strings.Fields(b.text("[data-next]"))); n != 1 {
		t.Errorf("got %q to press next, want one thing", b.text("[data-next]"))
	}
	b.click(".merge[data-next]")

	b.told("Approve in Slack")
	b.click("#who [role=radio]:nth-of-type(2)") // Ben
	b.click(".slack [data-next]")
	b.click(".dialog [data-next]")
	b.says(".message.private", "wrote this change")
	b.told("Approve in Slack")
	b.click("#who [role=radio]:nth-of-type(1)") // Ada
	if shown := b.text(".message.private"); shown != "" {
		t.Errorf("Ada sees what only Ben may see: %q", shown)
	}
	b.click(".slack [data-next]")
	b.click(".dialog [data-next]")

	b.told("Watch the canary")
	b.says(".do", "each second counts as a minute")
	b.await("[...document.querySelectorAll('.release .role')].map((e) => e.innerText).filter((t) => /^(baseline|canary)$/.test(t)).length === 2")

	b.told("On hot standby")
	b.says(".release.standby", "!1")
	b.await("/on standby, [0-9]+ s/.test(document.querySelector('.release.standby')?.innerText)")
	b.says(".release.live", fmt.Sprintf("!%d", r.good))
	b.says(".customers.ok", fmt.Sprintf("!%d", r.good))
	b.says(".do", "press Promote now")
	b.click(".slack [data-action=promote]")
	b.click(".dialog [data-first]")

	b.told("Merge one that is worse")
	b.says(".place:nth-of-type(2)", fmt.Sprintf("!%d", r.good))
	b.await("document.querySelector('a.where').href === '" + "http://" + r.app.Addr() + "/environments'")
	b.click(".merge[data-next]")
	b.told("Approve in Slack")
	b.click(".slack [data-next]")
	b.click(".dialog [data-next]")
	b.told("The canary stopped it")
	b.says(".note.ours", "canary failed")

	b.says(".more", "slower")
	b.click(".more button")
	b.told("Approve in Slack")
	b.click(".slack [data-next]")
	b.click(".dialog [data-next]")
	b.told("The canary asks")
	b.click(".slack [data-action=reject]")
	b.await("document.activeElement?.localName === 'textarea'")
	b.do(chromedp.SendKeys(chromedp.CSS(".dialog textarea"), "too slow"))
	b.click(".dialog .primary")

	b.told("Now merge the bad one")
	b.click(".merge[data-next]")

	b.told("Taken back")
	b.says("#slipway", "Rolled back")
	b.says(".note.ours", "panic: connect to database: connection refused")
	b.says(".place:nth-of-type(1)", fmt.Sprintf("!%d", r.slower)) // it was rejected for production only
	b.says(".place:nth-of-type(2)", fmt.Sprintf("!%d", r.good))
	b.await("document.documentElement.scrollHeight <= innerHeight") // only the panels scroll
	b.says(".more", "limps")
	b.click(".more button")

	b.told("Approve in Slack")
	b.click(".slack [data-next]")
	b.click(".dialog [data-next]")
	b.told("Customers get errors")
	b.says(".customers.bad", "certificate expired")
	b.says(".release.standby", fmt.Sprintf("!%d", r.good))
	b.told("Back in one step")
	b.says(".customers.ok", fmt.Sprintf("!%d", r.good))
	b.says(".note.ours", "certificate expired")
	b.await("document.querySelectorAll('.release').length === 1")

	b.says(".more", "repair")
	b.click(".more button")
	b.told("Approve in Slack")
	b.click(".slack [data-action=reject]")
	b.await("document.activeElement?.localName === 'textarea'")
	b.do(chromedp.SendKeys(chromedp.CSS(".dialog textarea"), "not on a Friday"))
	b.click(".dialog .primary")
	b.says("#slipway", "Rejected")
	b.says(".note.ours", "not on a Friday")

	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mistakes) > 0 {
		t.Errorf("the console says:\n%s", strings.Join(slices.Compact(b.mistakes), "\n"))
	}
}

func TestThePageFitsAPhone(t *testing.T) {
	if testing.Short() {
		t.Skip("short: no browser")
	}
	r := newRig(t, true)
	b := newBrowser(t, r.url)
	b.do(chromedp.EmulateViewport(390, 844))
	b.told("Merge this")
	b.await("document.documentElement.scrollWidth <= 390")
}
