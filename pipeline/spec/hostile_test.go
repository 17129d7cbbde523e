package spec_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// blowUp is patience that only a hang, or work that grows without bound, uses up. How long it takes is measured by
// BenchmarkHostileFile.
const blowUp = 5 * time.Minute

// The file comes from whoever can merge. None of these may panic, exhaust the stack
// or hold the process for long.
func TestHostileFilesAreRefusedQuickly(t *testing.T) {
	head := "version: 1\napplication: a\n"
	laughs := func(item string, n int) string {
		var b strings.Builder
		b.WriteString(head + "x0: &x0 " + item + "\n")
		for i := 1; i < n; i++ {
			fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d,", i-1), 9), ","))
		}
		fmt.Fprintf(&b, "stages: *x%d\n", n-1)
		return b.String()
	}
	merges := head + "x0: &x0 {name: a}\n"
	for i := 1; i < 30; i++ {
		merges += fmt.Sprintf("x%d: &x%d {<<: *x%d, <<: *x%d}\n", i, i, i-1, i-1)
	}
	inStage := func(line string) string { return head + "stages:\n  - name: a\n    " + line + "\n    wait: 1m\n" }
	cases := map[string]string{
		"a billion laughs":                       laughs("[lol]", 12),
		"a billion laughs of stages":             laughs("{name: a, wait: 1m}", 12),
		"merges of merges":                       merges + "stages: [*x29]\n",
		"an anchor that holds itself":            head + "stages: &s [*s, *s, *s, *s]\n",
		"a mapping that merges itself":           head + "stages:\n  - &s {<<: *s, name: a}\n",
		"lists in lists":                         head + "stages: " + strings.Repeat("[", 100_000),
		"mappings in mappings":                   strings.Repeat("{a: ", 60_000),
		"entries of entries":                     head + "stages:\n" + strings.Repeat("- ", 100_000) + "a",
		"deep indentation":                       deep(700),
		"complex keys":                           strings.Repeat("? ", 100_000),
		"many anchors":                           strings.Repeat("&a ", 80_000),
		"many anchors in lines":                  strings.Repeat("&a\n", 80_000),
		"many tags":                              strings.Repeat("!a ", 80_000),
		"many quotes":                            strings.Repeat("\"", 200_000),
		"many colons":                            strings.Repeat(": ", 100_000),
		"many keys":                              head + manyKeys(9_000),
		"many stages":                            head + "stages:\n" + strings.Repeat("  - {name: a, wait: 1m}\n", 3_000),
		"a large file":                           strings.Repeat("#\n", spec.MaxFile),
		"a long name":                            "version: 1\napplication: " + strings.Repeat("a", 200_000) + "\nstages: []\n",
		"a zero byte":                            head + "slack: \"\x00\"\n",
		"no UTF-8":                               head + "slack: \"\xff\"\n",
		"a byte order mark and nothing":          "\ufeff",
		"an expression that is long":             inStage("if: '" + strings.Repeat("true && ", 2_000) + "true'"),
		"an expression that is deep":             inStage("if: '" + strings.Repeat("(", 1_900) + "'"),
		"an expression of lists":                 inStage("if: '" + strings.Repeat("[", 900) + strings.Repeat("]", 900) + "'"),
		"an expression of fields":                inStage("if: 'commit" + strings.Repeat(".a", 900) + "'"),
		"an expression of choices":               inStage("if: '" + strings.Repeat("true?", 390) + "'"),
		"macros in macros":                       inStage("if: '" + strings.Repeat("[1].all(a, ", 100) + "true" + strings.Repeat(")", 100) + "'"),
		"checks of checks of aliases":            checksOfAliases(20, 48),
		"texts of aliases":                       textsOfAliases(),
		"stages of rollback of aliases":          head + "rollback: &r {then: [*r, *r, *r]}\nstages: *r\n",
		"keys that are expressions":              inStage("run: {environment: a, image: b, env: {" + strings.Repeat("'${{ commit.sha }}': x, ", 2_000) + "}}"),
		"many values of a chart":                 inStage("deploy: {environment: a, manifests: b, helm: {set: {" + manyPairs(1_000) + "}}}"),
		"many arguments":                         inStage("run: {environment: a, image: b, args: [" + strings.Repeat("x, ", 5_000) + "]}"),
		"many statuses":                          inStage("check: {http: {url: http://a/, status: [" + strings.Repeat("200, ", 5_000) + "]}}"),
		"a body that repeats":                    inStage("check: {http: {url: http://a/, body: '" + strings.Repeat("(a{1,50}){1,20}", 50) + "'}}"),
		"a number that is huge":                  inStage("check: {metric: {source: a, query: b, max: 1e999}}"),
		"a number that is infinite":              inStage("check: {metric: {source: a, query: b, max: .inf}}"),
		"a number that is none":                  inStage("check: {metric: {source: a, query: b, max: .nan}}"),
		"a check that never rests":               inStage("check: {http: http://a/, every: 1s, for: 90d}"),
		"many expressions":                       head + "stages:\n  - name: a\n    job: {name: '" + strings.Repeat("${{1}}", 600) + "'}\n",
		"many expressions that are never closed": head + "stages:\n  - name: a\n    job: {name: '" + strings.Repeat("${{'", 40) + "'}\n",
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			file, problems := spec.Parse(".slipway.yml", []byte(data))
			if file != nil || len(problems) == 0 {
				t.Error("the file is taken")
			}
			checkPositions(t, []byte(data), problems)
			if took := time.Since(began); took > blowUp {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// BenchmarkHostileFile reads the file that takes the longest of all that are refused.
func BenchmarkHostileFile(b *testing.B) {
	data := []byte("version: 1\napplication: a\n" + manyKeys(9_000))
	for b.Loop() {
		if _, problems := spec.Parse(".slipway.yml", data); len(problems) == 0 {
			b.Fatal("the file is taken")
		}
	}
}

func TestLimitsAreCalledByTheirName(t *testing.T) {
	head := "version: 1\napplication: a\n"
	wide := head + "x0: &x0 {name: a}\n"
	for i := 1; i < 7; i++ {
		wide += fmt.Sprintf("x%d: &x%d {%s}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("<<: *x%d, ", i-1), 10), ", "))
	}
	for _, c := range []struct{ name, data, want string }{
		{"lists in lists", head + "links: " + strings.Repeat("[", 25) + strings.Repeat("]", 25), "nested too deeply"},
		{"lists in lists that are allowed", head + "links: " + strings.Repeat("[", 24) + strings.Repeat("]", 24), "links must be"},
		{"entries of entries", head + "links:\n  " + strings.Repeat("- ", 25) + "a", "nested too deeply"},
		{"anchors", head + strings.Repeat("links: &a []\n", 101), "too many anchors"},
		{"tokens", head + strings.Repeat("links: []\n", 10_001), "holds too much"},
		{"bytes", head + strings.Repeat("#", spec.MaxFile), "larger than 256 KB"},
		{"merges that are deep", head + "stages:\n  - &s {<<: *s, name: a}\n", "<< brings in too much"},
		{"merges that are wide", wide + "stages: [*x6]\n", "<< brings in too much"},
		{"values of aliases", checksOfAliases(20, 48), "the file holds too much (write less, or use fewer aliases)"},
		{"texts of aliases", textsOfAliases(), "the file holds too much (write less, or use fewer aliases)"},
		{"checks", head + "stages:\n  - name: a\n    validate: [" + strings.Repeat("{report: x}, ", 21) + "]\n", "validate has more than 20 entries"},
		{"stages of rollback", head + "rollback:\n  then:\n" + strings.Repeat("    - {name: a, wait: 1m}\n", 11), "then has more than 10 entries"},
		{"stages", head + "stages:\n" + strings.Repeat("  - {name: a, wait: 1m}\n", 51), "stages has more than 50 entries"},
		{"expressions", head + "slack: '#" + strings.Repeat("${{1}}", 301) + "'\n", "more than 300 expressions"},
		{"characters of a text", head + "slack: '#" + strings.Repeat("a", 5000) + "'\n", "longer than 4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := spec.Parse("f", []byte(c.data))
			if told := fmt.Sprint(problems); !strings.Contains(told, c.want) {
				t.Errorf("got %.500s", told)
			}
		})
	}
}

// checksOfAliases has a list of checks with many values each, in many stages.
func checksOfAliases(checks, stages int) string {
	values := strings.TrimSuffix(strings.Repeat("x, ", 45), ", ")
	check := "{job: {image: x, environment: a, command: [" + values + "], args: [" + values + "]}}"
	b := "version: 1\napplication: a\nstages:\n  - name: first\n    validate: &c [" + strings.TrimSuffix(strings.Repeat(check+", ", checks), ", ") + "]\n"
	for i := range stages {
		b += fmt.Sprintf("  - {name: s%d, validate: *c}\n", i)
	}
	return b
}

// textsOfAliases has one long text in many places.
func textsOfAliases() string {
	b := "version: 1\napplication: a\nstages:\n  - name: first\n    run: &r {environment: a, image: b, args: [&t '" + strings.Repeat("x", 4_000) + "'" + strings.Repeat(", *t", 45) + "]}\n"
	for i := range 45 {
		b += fmt.Sprintf("  - {name: s%d, run: *r}\n", i)
	}
	return b
}

func manyPairs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1, ", i)
	}
	return b.String()
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

// What a file may cost at run time is bounded too: the plan is compiled while others wait.
func TestExpressionsAreBoundedWhenTheyRun(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 60), ",") + "]"
	for _, c := range []struct{ name, expression, want string }{
		{"loops in loops end", strings.Repeat(list+".all(x, ", 4) + "x == 1" + strings.Repeat(")", 4), "takes too long"},
		{"a text that doubles ends", `"x" in [` + strings.Repeat(`["a","b","c","d","e","f","g","h"].map(x, x + `, 6) + `"y"` + strings.Repeat(")[0]", 6) + `]`, "takes too long"},
		{"a large regular expression is refused", `commit.ref.matches("` + strings.Repeat("(a{1,100}){1,10}", 20) + `")`, "too large"},
		{"so is one that is not one", `commit.ref.matches("(")`, "regular expression"},
		{"and one that people may choose", `matches(commit.ref, merge_request.title)`, "written out"},
		{"a small one is fine", `commit.ref.matches("^(main|release/[0-9]{1,4})$")`, ""},
		{"many negations are harmless", strings.Repeat("!", 1_899) + "true", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			data := "version: 1\napplication: a\nstages:\n  - name: a\n    if: '" + c.expression + "'\n    wait: 1m\n"
			file, problems := spec.Parse("f", []byte(data))
			if len(problems) == 0 {
				_, problems = spec.Compile(file, input(), operator{})
			}
			told := fmt.Sprint(problems)
			if c.want == "" && len(problems) > 0 || c.want != "" && !strings.Contains(told, c.want) {
				t.Errorf("got %s", told)
			}
			if took := time.Since(began); took > blowUp {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		for _, path := range goldenFiles(f, kind) {
			f.Add(readArchive(f, path).Files[0].Data)
		}
	}
	for _, name := range []string{"shop", "graph", "blue-green", "migration", "helm"} {
		data, err := os.ReadFile("../../examples/" + name + "/.slipway.yml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := spec.Parse("f", data)
		checkPositions(t, data, problems)
		if (file == nil) != (len(problems) > 0) {
			t.Fatalf("file %v, problems %v", file, problems)
		}
		if file == nil {
			return
		}
		plan, problems := spec.Compile(file, input(), operator{})
		checkPositions(t, data, problems)
		if (plan == nil) != (len(problems) > 0) {
			t.Fatalf("plan %v, problems %v", plan, problems)
		}
	})
}
