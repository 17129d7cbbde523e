package main

import (
	"encoding/json"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	w, err := world.New(world.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	const listen = "127.0.0.1:9" // nobody asks there
	file, err := w.WriteConfig(listen)
	if err != nil {
		t.Fatal(err)
	}
	out, code := slipway(t, "", "doctor", "-c", file)
	if code != 1 || !strings.Contains(out, "✗ project shop/web: @slipway is Maintainer; no hook goes to http://127.0.0.1:9/hooks/gitlab\n    add one at ") {
		t.Errorf("without a hook: exit %d and\n%s", code, out)
	}
	if err := w.Connect("http://" + listen); err != nil {
		t.Fatal(err)
	}
	out, code = slipway(t, "", "doctor", "--config", file)
	for _, want := range []string{
		"✓ configuration: " + file + ": 1 clusters, 2 environments\n", "✓ gitlab: ", "✓ project shop/web: ", "✓ slack: ", "✓ cluster main: ",
		"✓ environment staging: ", "✓ environment production: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if code != 0 || strings.Contains(out, "✗") {
		t.Errorf("exit %d and\n%s", code, out)
	}
	out, code = slipway(t, "", "doctor", "--config", file, "--json")
	var report struct {
		Broken   bool
		Findings []struct{ Verdict, Of, Says string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Broken || len(report.Findings) < 7 || report.Findings[0].Verdict != "fine" {
		t.Errorf("exit %d, %v and\n%s", code, err, out)
	}
	bad := write(t, "bad.yml", "gitlab: {url: x}\n")
	out, code = slipway(t, "", "doctor", "--config", bad)
	want := "✗ configuration: configuration " + bad + `: gitlab.url: "x" is not an http or https address` + "\n    docs/configuration.md has all keys; this says again what is wrong:  slipway config check -c " + bad + "\n"
	if code != 1 || out != want {
		t.Errorf("exit %d and\n%s\nwant\n%s", code, out, want)
	}
}
