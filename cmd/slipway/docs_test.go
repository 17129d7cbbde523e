package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

const top = "../.."

// page reads a file of the repository.
func page(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var block = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")

// snippets are a page's YAML blocks that have the key at their left margin.
func snippets(t *testing.T, name, key string) []string {
	t.Helper()
	var out []string
	for _, m := range block.FindAllStringSubmatch(page(t, name), -1) {
		text := strings.TrimPrefix(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"), "\n")
		if strings.HasPrefix(text, key) || strings.Contains(text, "\n"+key) {
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no YAML with %s", name, key)
	}
	return out
}

var secretFile = regexp.MustCompile(`(/run/secrets|/etc/slipway/secrets)/([a-z-]+)`)

// withSecrets lets a configuration refer to files that are there.
func withSecrets(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	return secretFile.ReplaceAllStringFunc(text, func(path string) string {
		file := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(file, []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	})
}

func TestConfigurationsInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"README.md": snippets(t, "README.md", "environments:")[0], "examples/operator/slipway.yml": page(t, "examples/operator/slipway.yml"),
	} {
		file := write(t, "slipway.yml", withSecrets(t, text))
		if out, code := slipway(t, "", "config", "check", "-c", file); code != 0 || !strings.HasSuffix(out, "\nok\n") {
			t.Errorf("%s: exit %d and\n%s", name, code, out)
		}
	}
}

func TestMetricsSourcesInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	base := snippets(t, "README.md", "environments:")[0]
	sources := snippets(t, "docs/metrics.md", "metrics_sources:")
	for _, text := range append(sources, sources[0]+snippets(t, "docs/metrics.md", "metric_templates:")[0]) {
		file := write(t, "slipway.yml", withSecrets(t, base+strings.ReplaceAll(text, "${AWS_ACCESS_KEY_ID}", "AKIDEXAMPLE")))
		if out, code := slipway(t, "", "config", "check", "-c", file); code != 0 || !strings.HasSuffix(out, "\nok\n") {
			t.Errorf("%s: exit %d and\n%s", text, code, out)
		}
	}
}

func TestPipelineFilesInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "docs/pipeline-file.md", "docs/review.md"} {
		for _, text := range snippets(t, name, "stages:") {
			if _, problems := spec.Parse(name, []byte(text)); len(problems) > 0 {
				t.Errorf("%s: %v", name, problems)
			}
		}
	}
}

func TestLinksInTheDocsLeadToFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d pages: %v", len(files), err)
	}
	names, err := filepath.Glob(filepath.Join(top, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	for _, file := range append(files, names...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}

// keys are the names of a configuration's keys, without those that only name a secret's file.
func keys(typ reflect.Type, at string) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return []string{at}
	}
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		key := strings.TrimPrefix(at+"."+f.Tag.Get("yaml"), ".")
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			key += "[]"
		}
		if !strings.HasSuffix(key, "_file") {
			out = append(out, keys(f.Type, key)...)
		}
	}
	return out
}

func TestEveryKeyOfTheConfigurationIsDocumentedAndNoOther(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	name := regexp.MustCompile("`([a-z_.\\[\\]]+)`")
	for line := range strings.Lines(page(t, "docs/configuration.md")) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(line, "|")
		parent := ""
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			if strings.HasPrefix(m[1], ".") {
				told[parent+m[1]] = true // as in `environments[].cluster`, `.namespace`
				continue
			}
			parent = m[1][:max(strings.LastIndex(m[1], "."), 0)]
			told[m[1]] = true
		}
	}
	told["console.username"], told["console.password"] = true, true // told beside console.access
	for _, key := range keys(reflect.TypeFor[config.Config](), "") {
		if !told[key] {
			t.Errorf("docs/configuration.md does not tell of %s", key)
		}
		delete(told, key)
	}
	for key := range told {
		t.Errorf("docs/configuration.md tells of %s, which is no key", key)
	}
}

func TestManifestsForOperatorsAreRight(t *testing.T) {
	t.Parallel()
	var documented rbacv1.Role
	if err := yaml.UnmarshalStrict([]byte(snippets(t, "docs/kubernetes.md", "kind: Role\n")[0]), &documented); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func() any{
		"ServiceAccount": func() any { return &corev1.ServiceAccount{} }, "Service": func() any { return &corev1.Service{} },
		"PersistentVolumeClaim": func() any { return &corev1.PersistentVolumeClaim{} }, "Deployment": func() any { return &appsv1.Deployment{} },
		"Role": func() any { return &rbacv1.Role{} }, "RoleBinding": func() any { return &rbacv1.RoleBinding{} },
	}
	seen := map[string]int{}
	for doc := range strings.SplitSeq(page(t, "examples/operator/kubernetes.yaml"), "\n---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil || kinds[head.Kind] == nil {
			t.Fatalf("kind %q: %v", head.Kind, err)
		}
		seen[head.Kind]++
		object := kinds[head.Kind]()
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Errorf("%s: %v", head.Kind, err)
		}
		if role, ok := object.(*rbacv1.Role); ok {
			if diff := cmp.Diff(documented.Rules, role.Rules); diff != "" {
				t.Errorf("the role of %s is not the documented one:\n%s", role.Namespace, diff)
			}
		}
	}
	want := map[string]int{"ServiceAccount": 1, "Service": 1, "PersistentVolumeClaim": 1, "Deployment": 1, "Role": 2, "RoleBinding": 2}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestManifestsOfTheExamplesAreRight(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() any{
		"Deployment": func() any { return &appsv1.Deployment{} }, "Service": func() any { return &corev1.Service{} },
		"HorizontalPodAutoscaler": func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
		"PodDisruptionBudget":     func() any { return &policyv1.PodDisruptionBudget{} }, "Ingress": func() any { return &networkingv1.Ingress{} }, "Job": func() any { return &batchv1.Job{} },
	}
	seen := map[string]int{}
	for _, name := range []string{"examples/blue-green/deploy/shop.yaml", "examples/migration/deploy/shop.yaml", "examples/migration/migrate/migrate.yaml", "examples/review/deploy/shop.yaml"} {
		for doc := range strings.SplitSeq(page(t, name), "\n---\n") {
			var head struct{ Kind string }
			if err := yaml.Unmarshal([]byte(doc), &head); err != nil || kinds[head.Kind] == nil {
				t.Fatalf("%s: kind %q: %v", name, head.Kind, err)
			}
			seen[head.Kind]++
			if err := yaml.UnmarshalStrict([]byte(doc), kinds[head.Kind]()); err != nil {
				t.Errorf("%s: %s: %v", name, head.Kind, err)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"Deployment": 3, "Service": 3, "HorizontalPodAutoscaler": 1, "PodDisruptionBudget": 1, "Ingress": 1, "Job": 1}, seen); diff != "" {
		t.Error(diff)
	}
}

var example = regexp.MustCompile("(?ms)^```(\\S[^\n]*)\n(.*?)^```")

// TestExamplesOfTheCanaryJudgeAreTrue runs what docs/canary.md shows, and compares the answers.
func TestExamplesOfTheCanaryJudgeAreTrue(t *testing.T) {
	t.Parallel()
	var input, kind string
	seen := map[string]int{}
	for _, m := range example.FindAllStringSubmatch(page(t, "docs/canary.md"), -1) {
		language, text := m[1], m[2]
		want, code := text, 0
		var args []string
		switch words := strings.Fields(language); {
		case len(words) > 1 && words[1] == "trace": // of the test below
			continue
		case language == "json request" || language == "json lines" || language == "json kayenta":
			input, kind = text, words[1]
			continue
		case len(words) == 3 && kind == "request" && words[1] == "report":
			args, code = []string{"judge", "-"}, int(words[2][0]-'0')
		case len(words) == 3 && kind == "lines" && words[1] == "answers":
			args, code = []string{"judge", "--lines", "-"}, int(words[2][0]-'0')
		case language == "yaml" && kind == "kayenta":
			args = []string{"import", "-"}
		default:
			t.Fatalf("nothing is known of an example of %s after one of %s", language, kind)
		}
		got, ended := slipway(t, input, append([]string{"canary"}, args...)...)
		if kind == "request" { // the page has shorter lines
			want, got = compact(t, want), compact(t, got)
		}
		if ended != code || got != want {
			t.Errorf("%s: exit %d and\n%s\nthe page says exit %d and\n%s", kind, ended, got, code, want)
		}
		seen[kind]++
		kind = ""
	}
	if diff := cmp.Diff(map[string]int{"request": 1, "lines": 1, "kayenta": 1}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestTheExampleOfATraceIsTrue lets a Prometheus have measured what docs/canary.md says, and runs its command on its files.
func TestTheExampleOfATraceIsTrue(t *testing.T) {
	t.Parallel()
	blocks := map[string]string{}
	for _, m := range example.FindAllStringSubmatch(page(t, "docs/canary.md"), -1) {
		blocks[m[1]] = m[2]
	}
	value := shop(20)
	m := newMeasured(t, func(query string, begin time.Time) float64 {
		if strings.Contains(query, "code=") {
			return value("errors "+query, begin)
		}
		return value("requests", begin)
	})
	const address, secret = "https://prometheus.example.com", "/run/secrets/prometheus-token"
	sources := blocks["yaml trace sources"]
	if !strings.Contains(sources, address) || !strings.Contains(sources, secret) {
		t.Fatalf("the sources are\n%s", sources)
	}
	sources = strings.NewReplacer(address, m.url, secret, write(t, "token", sourceToken)).Replace(sources)
	files := strings.NewReplacer("sources.yml", write(t, "sources.yml", sources), ".slipway.yml", write(t, ".slipway.yml", blocks["yaml trace file"]))
	command := strings.Fields(files.Replace(blocks["sh trace"]))
	out, code := slipway(t, "", command[1:]...)
	out = strings.ReplaceAll(out, m.url, address)
	if want := blocks["json trace 1"]; code != 1 || compact(t, out) != compact(t, want) {
		t.Errorf("exit %d and\n%s\nthe page says exit 1 and\n%s", code, out, want)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out.String()
}
