package apart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// TestMain lets the test binary be the process that builds, and ends as a kustomization with a folder of that name says.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case apart.Command:
		asked, _ := io.ReadAll(os.Stdin)
		switch {
		case bytes.Contains(asked, []byte(`"dir":"is-killed"`)):
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case bytes.Contains(asked, []byte(`"dir":"fails"`)):
			fmt.Fprint(os.Stderr, "no thread is left")
			os.Exit(1)
		case bytes.Contains(asked, []byte(`"dir":"has-no-memory"`)):
			fmt.Fprint(os.Stderr, "fatal error: runtime: cannot allocate memory\n")
			os.Exit(2)
		case bytes.Contains(asked, []byte(`"dir":"got-none"`)):
			fmt.Fprint(os.Stderr, "SIGSEGV: segmentation violation\nPC=0xc6c7dd m=0 sigcode=1 addr=0x0\n")
			os.Exit(2)
		case bytes.Contains(asked, []byte(`"dir":"tells-much"`)):
			_, _ = io.Copy(os.Stdout, zeros{})
		}
		if err := apart.Serve(bytes.NewReader(asked), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case replaced:
		program, _ := os.Executable()
		_ = os.Remove(program)
		out, err := apart.Kustomize(context.Background(), small("deploy"))
		fmt.Println(string(out), err)
	default:
		os.Exit(m.Run())
	}
}

const replaced = "be-replaced"

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// small is a kustomization that takes little.
func small(dir string) manifest.Kustomization {
	return manifest.Kustomization{Dir: dir, Files: map[string][]byte{dir + "/kustomization.yaml": []byte("resources: [a.yaml]\n"), dir + "/a.yaml": []byte(configMap)}}
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {host: shop.example.com, page: https://HOST/cart}\n"

// render renders a kustomization of one ConfigMap, and tells whether that was done apart.
func render(t *testing.T, kustomization string, more map[string]string) (set manifest.Set, apartly bool, err error) {
	t.Helper()
	if !strings.Contains(kustomization, "resources:") {
		kustomization = "resources: [settings.yaml]\n" + kustomization
	}
	files := fstest.MapFS{"deploy/kustomization.yaml": {Data: []byte(kustomization)}, "deploy/settings.yaml": {Data: []byte(configMap)}}
	for name, text := range more {
		files["deploy/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err = manifest.Render(t.Context(), files, manifest.Source{Path: "deploy"}, manifest.Limits{Apart: func(ctx context.Context, k manifest.Kustomization) ([]byte, error) {
		apartly = true
		return apart.Kustomize(ctx, k)
	}})
	return set, apartly, err
}

func TestOnlyWhatIsPlainlySmallIsBuiltHere(t *testing.T) {
	for name, c := range map[string]struct {
		kustomization string
		more          map[string]string
		apart         bool
		page          string
	}{
		"replacements": {"replacements:\n" +
			"- source: {kind: ConfigMap, name: settings, fieldPath: data.host}\n" +
			"  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.page], options: {delimiter: /, index: 2}}]\n", nil, true, "https://shop.example.com/cart"},
		"variables":                  {"vars:\n- {name: HOST, objref: {apiVersion: v1, kind: ConfigMap, name: settings}, fieldref: {fieldpath: data.host}}\n", nil, true, "https://HOST/cart"},
		"a copying patch":            {"patches:\n- target: {kind: ConfigMap}\n  patch: |\n    - {op: copy, from: /data/host, path: /data/page}\n", nil, true, "shop.example.com"},
		"a copying patch in a file":  {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"the word written otherwise": {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: \"\\x63opy\", from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"a key in capitals":          {"patches:\n- {target: {kind: ConfigMap}, PATH: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"an older key":               {"patchesJson6902:\n- {target: {version: v1, kind: ConfigMap, name: settings}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"aliases":                    {"commonAnnotations: {a: &a b}\ncommonLabels: {a: *a}\n", nil, true, "https://HOST/cart"},
		"another patch":              {"patches:\n- target: {kind: ConfigMap}\n  patch: |\n    - {op: replace, path: /data/page, value: here}\n", nil, true, "here"},
		"an absolute path":           {"patches:\n- {target: {kind: ConfigMap}, path: /deploy/p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"a merging patch":            {"patchesStrategicMerge:\n- \"{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: \\u0026a here, page: *a}}\"\n", nil, true, "here"},
		"a component":                {"components: [c]\n", map[string]string{"c/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\ncommonAnnotations: {a: b}\n"}, true, "https://HOST/cart"},
		"a place for labels":         {"labels: [{pairs: {a: b}, fields: [{path: data, create: true}]}]\n", nil, true, "https://HOST/cart"},
		"a folder below":             {"resources: [settings.yaml, below]\n", map[string]string{"below/kustomization.yaml": "configMapGenerator: [{name: z}]\n"}, true, "https://HOST/cart"},
		"an escape":                  {"", map[string]string{"notes.txt": `\x26`}, true, "https://HOST/cart"},
		"a control byte":             {"", map[string]string{"notes.txt": "\x00"}, true, "https://HOST/cart"},
		"UTF-16":                     {"", map[string]string{"notes.txt": "\xff\xfe\u6161"}, true, "https://HOST/cart"},
		"a byte order mark":          {"", map[string]string{"notes.txt": "\ufeff"}, true, "https://HOST/cart"},
		"many bytes":                 {"", map[string]string{"notes.txt": strings.Repeat("a", 64<<10)}, true, "https://HOST/cart"},
		"much for each of many":      {"commonAnnotations: {a: " + strings.Repeat("b", 3000) + "}\n", map[string]string{"notes.txt": strings.Repeat("a", 6000)}, true, "https://HOST/cart"},
		"a base that is there twice": {"resources: [settings.yaml, left, right]\n", map[string]string{
			"left/kustomization.yaml": "namePrefix: x-\nresources: [../base]\n", "right/kustomization.yaml": "namePrefix: y-\nresources: [../base]\n",
			"base/kustomization.yaml": "resources: [other.yaml]\n", "base/other.yaml": strings.ReplaceAll(configMap, "settings", "other"),
		}, true, "https://HOST/cart"},
		"a file that is there twice": {"resources: [settings.yaml, below, below/other.yaml]\n", map[string]string{
			"below/kustomization.yaml": "namePrefix: x-\nresources: [other.yaml]\n", "below/other.yaml": strings.ReplaceAll(configMap, "settings", "other"),
		}, true, "https://HOST/cart"},
		"what is plain": {"kind: Kustomization\nresources: [settings.yaml, below]\ncommonAnnotations: {a: b}\nlabels: [{pairs: {a: b}, includeTemplates: true}]\nimages: [{name: a, newTag: b}]\n", map[string]string{
			"below/kustomization.yaml": "namespace: shop\nresources: [other.yaml]\n", "below/other.yaml": strings.ReplaceAll(configMap, "settings", "z"),
		}, false, "https://HOST/cart"},
	} {
		t.Run(name, func(t *testing.T) {
			set, apartly, err := render(t, c.kustomization, c.more)
			if err != nil {
				t.Fatal(err)
			}
			if apartly != c.apart {
				t.Errorf("built apart: %v, want %v", apartly, c.apart)
			}
			if page := set.Objects[0].Object["data"].(map[string]any)["page"]; page != c.page {
				t.Errorf("the page is %v, want %v", page, c.page)
			}
		})
	}
}

// TestWhatGrowsOutOfAllBoundsIsAMistake: each step doubles the object.
func TestWhatGrowsOutOfAllBoundsIsAMistake(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is bounded on Linux only")
	}
	var replacements, copies, aliases strings.Builder
	for i := range 40 {
		fmt.Fprintf(&replacements, "- source: {kind: ConfigMap, name: settings, fieldPath: data}\n"+
			"  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x%d], options: {create: true}}]\n", i)
		fmt.Fprintf(&copies, "- {op: copy, from: /data, path: /data/x%d}\n", i)
	}
	aliases.WriteString("x0: &x0 [laugh, laugh]\n")
	for i := range 40 {
		fmt.Fprintf(&aliases, "x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	many := "resources: [many.yaml]\npatches: [{target: {kind: ConfigMap}, path: p.yaml}]\n"
	var keys, objects strings.Builder
	for i := range 4500 {
		fmt.Fprintf(&keys, "k%d: a, ", i)
	}
	for i := range 450 {
		fmt.Fprintf(&objects, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a%d}}\n", i)
	}
	for name, c := range map[string]struct {
		kustomization string
		more          map[string]string
	}{
		"a patch of many objects": {many, map[string]string{"many.yaml": objects.String(), "p.yaml": "- {op: add, path: /data, value: {" + keys.String() + "}}\n"}},
		"replacements":            {"replacements:\n" + replacements.String(), nil},
		"patches":                 {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": copies.String()}},
		"aliases":                 {"patches:\n- {path: p.yaml}\n", map[string]string{"p.yaml": configMap + aliases.String()}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := render(t, c.kustomization, c.more)
			var mistake *manifest.Error
			if !errors.As(err, &mistake) || !strings.HasPrefix(err.Error(), "deploy: takes ") {
				t.Fatalf("%v, want a mistake", err)
			}
		})
	}
}

func TestAMistakeThatIsFoundApartIsTold(t *testing.T) {
	_, apartly, err := render(t, "replacements:\n- source: {kind: ConfigMap, name: other, fieldPath: data.host}\n  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.page]}]\n", nil)
	var mistake *manifest.Error
	if !apartly || !errors.As(err, &mistake) || !strings.Contains(mistake.What, "kustomize: ") || mistake.File != "deploy" {
		t.Fatalf("%v, want kustomize's own words", err)
	}
}

// TestTheShopIsBuiltHere: a process of its own would delay each of its deliveries.
func TestTheShopIsBuiltHere(t *testing.T) {
	for _, of := range []string{"staging", "production"} {
		_, err := manifest.Render(t.Context(), os.DirFS("../world/shop"), manifest.Source{Path: "deploy/" + of}, manifest.Limits{Apart: func(context.Context, manifest.Kustomization) ([]byte, error) {
			return nil, errors.New("it is built apart")
		}})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestHowTheProcessEndsTellsWhoseFaultItIs(t *testing.T) {
	for dir, c := range map[string]struct {
		words   string
		mistake bool
	}{
		"is-killed":     {"build a kustomization apart: signal: killed", false},
		"fails":         {`build a kustomization apart: exit status 1: "no thread is left"`, false},
		"has-no-memory": {"has-no-memory: takes more than 512 MiB of memory to build", true},
		"got-none":      {"got-none: takes more than 512 MiB of memory to build", true},
		"tells-much":    {"tells-much: takes more than 512 MiB of memory to build", true},
	} {
		t.Run(dir, func(t *testing.T) {
			_, err := apart.Kustomize(t.Context(), small(dir))
			var mistake *manifest.Error
			if err == nil || !strings.HasPrefix(err.Error(), c.words) || errors.As(err, &mistake) != c.mistake {
				t.Errorf("%v, want %s", err, c.words)
			}
		})
	}
}

// TestTimes: processor time is the author's, that of the clock is not.
func TestTimes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processor time is bounded on Linux only")
	}
	var objects, patches strings.Builder
	for i := range 450 {
		fmt.Fprintf(&objects, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a%d}}\n", i)
	}
	for range 1000 {
		patches.WriteString("- target: {kind: ConfigMap}\n  patch: '- {op: add, path: /data, value: {a: b}}'\n")
	}
	slow := manifest.Kustomization{Dir: "slow", Files: map[string][]byte{
		"slow/kustomization.yaml": []byte("resources: [a.yaml]\npatches:\n" + patches.String()), "slow/a.yaml": []byte(objects.String()),
	}}
	_, err := apart.Build(t.Context(), slow, time.Hour, time.Second)
	var mistake *manifest.Error
	if !errors.As(err, &mistake) || !strings.HasPrefix(err.Error(), "slow: takes more than 1s of processor time to build") {
		t.Errorf("%v, want a mistake", err)
	}
	_, err = apart.Build(t.Context(), slow, time.Millisecond, time.Hour)
	if errors.As(err, &mistake) || err == nil || !strings.Contains(err.Error(), "longer than 1ms by the clock") {
		t.Errorf("%v, want an error that is no mistake", err)
	}
}

func TestWhoIsCancelledDoesNotWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // a build that may begin may do so in spite of the context
		if _, err := apart.Kustomize(ctx, small("deploy")); !errors.Is(err, context.Canceled) {
			t.Errorf("it may begin: %v", err)
		}
	}
	defer apart.Occupy()()
	if _, err := apart.Kustomize(ctx, small("deploy")); !errors.Is(err, context.Canceled) {
		t.Errorf("another builds: %v", err)
	}
}

// TestAProgramThatWasReplacedStillBuilds: an upgrade puts another file in its place.
func TestAProgramThatWasReplacedStillBuilds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux keeps the file of a process")
	}
	own, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "slipway")
	if err := os.WriteFile(program, own, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, replaced).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"kind":"ConfigMap"`) {
		t.Errorf("%v: %s", err, out)
	}
}
