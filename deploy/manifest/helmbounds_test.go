package manifest

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestChartsThatMakeMuchOutOfLittleAreStopped: functions that multiply or take apart what they are given are asked what that
// costs before they do it.
func TestChartsThatMakeMuchOutOfLittleAreStopped(t *testing.T) {
	for _, text := range []string{
		`{{ $x := repeat 1000000 "a" }}{{ replace "a" $x $x }}`,
		`{{ $x := repeat 1000000 "a" }}{{ join $x (until 100000) }}`,
		`{{ $x := repeat 1000000 "a" }}{{ regexReplaceAll "a" $x $x }}`,
		`{{ indent 2000000000 "a" }}`,
		`{{ "a" | nindent 2000000000 }}`,
		`{{ randAlphaNum 2000000000 | len }}`,
		`{{ randBytes 2000000000 | len }}`,
		`{{ $x := repeat 1000000 "a" }}{{ $l := list }}{{ range until 50000 }}{{ $l = append $l $x }}{{ end }}{{ toJson $l }}`,
		`{{ $x := repeat 1000000 "a" }}{{ $d := dict }}{{ range $i := until 50000 }}{{ $_ := set $d (toString $i) $x }}{{ end }}{{ toYaml $d }}`,
		`{{ $x := repeat 1000000 "a" }}{{ printf "` + strings.Repeat("%[1]s", 5000) + `" $x }}`,
		`{{ printf "` + strings.Repeat("%1000000d", 5000) + `" 1 }}`,
		`{{ $x := repeat 1000000 "a" }}{{ cat ` + strings.Repeat("$x ", 5000) + ` }}`,
		`{{ $x := repeat 1000000 "a" }}{{ quote ` + strings.Repeat("$x ", 5000) + ` }}`,
		`{{ $x := repeat 1000000 "a" }}{{ print ` + strings.Repeat("$x ", 5000) + ` }}`,
		`{{ $x := repeat 1900000 "a" }}{{ range 100 }}{{ $_ := split "" $x }}{{ end }}`,
		`{{ $x := repeat 1000000 "a" }}{{ wrapWith 1 $x $x }}`,
		`{{ uniq (until 100000) }}`,
	} {
		files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/templates/a.yaml": {Data: []byte(text)}}
		_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{Bytes: 1 << 20})
		var mistake *Error
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), "has templates that ") {
			t.Errorf("%.80s: got %v", text, err)
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if memory.Sys > 400<<20 {
		t.Errorf("the process has taken %d MiB", memory.Sys>>20)
	}
}

// TestAFailureIsNotRunAgainWithoutItsGuard: by chance a template may fail at one time and have no end at another.
func TestAFailureIsNotRunAgainWithoutItsGuard(t *testing.T) {
	files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/templates/a.yaml": {Data: []byte(
		"a: 1\n{{ if ne (randNumeric 1) \"1\" }}\n{{ fail \"bad luck\" }}\n{{ end }}\n{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}")}}
	deadline := time.Now().Add(3 * time.Minute) // one loop without its guard would take longer than that
	for range 40 {
		_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{Bytes: 1 << 20})
		if err == nil || !strings.Contains(err.Error(), "a.yaml:3: refuses the values: bad luck") && !strings.Contains(err.Error(), "has templates that ") {
			t.Fatalf("got %v", err)
		}
	}
	if time.Now().After(deadline) {
		t.Error("it took too long")
	}
}
