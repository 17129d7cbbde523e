package manifest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/ignore"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Helm says how a chart is rendered. The zero value renders it with its own values.
type Helm struct {
	Values  []string          // files with values, as paths from the repository's root; later ones win
	Set     map[string]string // dotted key → value, which is read as true, 3, null or a text; wins over the files
	Release string            // name of the release
}

const chartFile = "Chart.yaml"

// kubeVersion is what charts are told of the cluster: the version that this program's client speaks. Asking the cluster
// would make a rendering depend on more than the commit.
const kubeVersion = "v1.37.0"

// helm renders the chart of a folder.
func (r *reader) helm(ctx context.Context, dir string, with Helm) ([]Object, error) {
	h := &rendering{reader: r, dir: dir, with: with, originals: map[*common.File][]byte{}}
	if err := h.checkOptions(); err != nil {
		return nil, err
	}
	var objects []Object
	err := quietly(func() error {
		if err := h.load(); err != nil {
			return err
		}
		rendered, err := h.twice(ctx)
		if err != nil {
			return err
		}
		objects, err = h.objects(rendered)
		return err
	})
	return objects, err
}

// rendering is one chart that is rendered once.
type rendering struct {
	*reader
	dir    string // of the chart in the repository
	with   Helm
	chart  *chart.Chart
	values map[string]any // that the files and Set give
	// originals are the templates as they were written.
	originals map[*common.File][]byte
}

func (h *rendering) mistake(file, what, hint string) error {
	return &Error{Origin: Origin{File: file}, What: what, Hint: hint}
}

func (h *rendering) checkOptions() error {
	if name := h.with.Release; name != "" && !isRelease(name) {
		return h.mistake(h.dir, fmt.Sprintf("can't be a release with the name %q", clip(name)), "use at most 53 lower-case letters, digits, - and .")
	}
	for key := range h.with.Set {
		if key == "" || len(key) > 500 || strings.ContainsAny(key, "=,\n{}") {
			return h.mistake(h.dir, fmt.Sprintf("helm sets %q, which is no key", clip(key)), "write it with dots, such as image.tag")
		}
	}
	return nil
}

func isRelease(name string) bool {
	return len(name) <= 53 && regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`).MatchString(name)
}

// release is the name of the release.
func (h *rendering) release() string {
	switch {
	case h.with.Release != "":
		return h.with.Release
	case isRelease(h.source.Application):
		return h.source.Application
	}
	return h.chart.Name()
}

// load reads the chart and the values that it is given.
func (h *rendering) load() error {
	files, err := h.chartFiles()
	if err != nil {
		return err
	}
	if h.chart, err = loader.LoadFiles(files); err != nil {
		return h.loadProblem(err)
	}
	if h.chart.Metadata.Type == "library" {
		return h.mistake(path.Join(h.dir, chartFile), "is a library chart, which renders nothing", "")
	}
	if err := h.vendored(h.chart, path.Join(h.dir, chartFile)); err != nil {
		return err
	}
	if h.values, err = h.given(); err != nil {
		return err
	}
	if err := chartutil.ProcessDependencies(h.chart, h.values); err != nil {
		return h.mistake(h.dir, "has values that don't fit its dependencies", "values of a chart in charts/ are a map under its name")
	}
	h.guard(h.chart)
	return nil
}

// chartFiles reads the chart's folder as Helm does: without what its .helmignore names.
func (h *rendering) chartFiles() ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	if text, err := fs.ReadFile(h.files, path.Join(h.dir, ".helmignore")); err == nil && len(text) < 1<<16 {
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, h.mistake(path.Join(h.dir, ".helmignore"), "can't be read", "")
		}
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	err := fs.WalkDir(h.files, h.dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list %s: %w", h.dir, err)
		}
		local := strings.TrimPrefix(strings.TrimPrefix(name, h.dir), "/")
		if name == h.dir || h.dir == "." && name == "." {
			return nil
		}
		if h.dir == "." {
			local = name
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		if rules.Ignore(local, info) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || !entry.Type().IsRegular() {
			return nil
		}
		content, err := h.read(name)
		if err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: local, Data: content})
		return h.examine(name, local, content)
	})
	return files, err
}

// vendored refuses a chart whose dependencies are not in its charts folder: nothing is downloaded.
func (h *rendering) vendored(c *chart.Chart, file string) error {
	for _, d := range c.Metadata.Dependencies {
		if d == nil {
			continue
		}
		if !slices.ContainsFunc(c.Dependencies(), func(have *chart.Chart) bool { return have.Name() == d.Name }) {
			return h.mistake(file, fmt.Sprintf("depends on the chart %q, which is not in its charts folder, and nothing is downloaded", clip(d.Name)),
				"run helm dependency update and commit charts/")
		}
	}
	for _, below := range c.Dependencies() {
		if err := h.vendored(below, file); err != nil {
			return err
		}
	}
	return nil
}

// given merges the files with values and what is set by key.
func (h *rendering) given() (map[string]any, error) {
	values := map[string]any{}
	for _, name := range h.with.Values {
		clean, err := cleanPath(name)
		if err != nil {
			return nil, err
		}
		content, err := h.read(clean)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, h.mistake(clean, "is not in the repository at this commit", "paths of values begin at the repository's root")
		}
		if err != nil {
			return nil, err
		}
		var more map[string]any
		if err = h.unfold(content); err == nil {
			more, err = loader.LoadValues(bytes.NewReader(content))
		}
		if err != nil {
			what, line := yamlProblem(err)
			return nil, &Error{Origin: Origin{File: clean, Line: line}, What: what, Hint: "values are a map"}
		}
		values = loader.MergeMaps(values, more)
	}
	for _, key := range slices.Sorted(maps.Keys(h.with.Set)) {
		if err := strvals.ParseInto(key+"="+literal(h.with.Set[key]), values); err != nil {
			return nil, h.mistake(h.dir, fmt.Sprintf("helm sets %q, which doesn't fit the other values", clip(key)), "write the key with dots, such as image.tag")
		}
	}
	return values, nil
}

// literal keeps Helm from reading a list or a second key into a value.
func literal(value string) string {
	value = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value)
	if strings.HasPrefix(value, "{") {
		value = `\` + value
	}
	return value
}

// objects reads what the templates gave, and the definitions in crds folders.
func (h *rendering) objects(rendered map[string]string) ([]Object, error) {
	var objects []Object
	add := func(file, text string) error {
		for _, d := range splitYAML([]byte(text)) {
			from := Origin{File: file, Document: d.number}
			value, err := h.parseYAML(d, Origin{})
			if err != nil {
				return h.unreadable(from, d, err)
			}
			more, err := expand(value, from, 0)
			if err != nil {
				return err
			}
			objects = append(objects, more...)
			if len(objects) > h.limits.Objects {
				return &Error{Origin: from, What: fmt.Sprintf("is one object too many: at most %d are allowed", h.limits.Objects)}
			}
		}
		return nil
	}
	for _, crd := range h.chart.CRDObjects() {
		if err := add(h.inRepository(crd.Filename), string(crd.File.Data)); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if err := add(h.inRepository(name), rendered[name]); err != nil {
			return nil, err
		}
	}
	return withoutHooks(objects)
}

// unreadable says that a template renders no YAML. Lines are those of what it renders, not of the template.
func (h *rendering) unreadable(from Origin, d document, err error) error {
	var problem *Error
	if !errors.As(err, &problem) {
		return err
	}
	what := strings.Replace(problem.What, "is not valid YAML", "renders YAML that is not valid", 1)
	if what == problem.What {
		what = "renders an object that " + what
	}
	if problem.Line > 0 {
		what += fmt.Sprintf(", on line %d of what it renders", d.first+problem.Line-1)
	}
	return &Error{Origin: from, What: what, Hint: "helm template shows it"}
}

// inRepository is the path of a chart's file, of which Helm knows a name that begins with the chart's.
func (h *rendering) inRepository(name string) string {
	_, local, _ := strings.Cut(name, "/")
	return path.Join(h.dir, local)
}

const hookAnnotation = "helm.sh/hook"

// withoutHooks leaves tests out, and refuses other hooks: an object that must run at a moment of an installation would
// be applied like any other, at the wrong one.
func withoutHooks(objects []Object) ([]Object, error) {
	tests := []string{"test", "test-success", "test-failure"}
	var kept []Object
	for _, o := range objects {
		hook, found, err := unstructured.NestedString(o.Object, "metadata", "annotations", hookAnnotation)
		if !found || err != nil {
			kept = append(kept, o)
			continue
		}
		for one := range strings.SplitSeq(hook, ",") {
			if one = strings.TrimSpace(one); !slices.Contains(tests, one) {
				return nil, o.mistake(fmt.Sprintf("%s is a Helm hook (%s), and hooks don't run here", o.Title(), clip(one)),
					"turn it off by the chart's values, or make it a stage of its own, such as a job")
			}
		}
	}
	return kept, nil
}

// capabilities are what the chart may ask about the cluster: the kinds that Kubernetes itself has.
func capabilities() (*common.Capabilities, error) {
	version, err := common.ParseKubeVersion(kubeVersion)
	if err != nil {
		return nil, fmt.Errorf("helm: %w", err)
	}
	c := common.DefaultCapabilities.Copy()
	c.KubeVersion = *version
	return c, nil
}

// renderValues is what templates see. It is made anew for each rendering, because templates can change it.
func (h *rendering) renderValues() (common.Values, error) {
	can, err := capabilities()
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{
		Name: h.release(), Namespace: cmp.Or(h.source.Namespace, "default"), Revision: 1, IsInstall: true,
	}
	values, err := util.ToRenderValuesWithSchemaValidation(h.chart, h.values, options, can, true)
	if err != nil {
		return nil, h.mistake(h.dir, "has values that don't fit its charts", "values of a chart in charts/ are a map under its name")
	}
	own, err := values.Table("Values")
	if err != nil {
		return nil, h.mistake(h.dir, "has values that are no map", "")
	}
	return values, h.fits(h.chart, own)
}

// needs lists what the rendering of a chart needs and files doesn't hold.
func (h Helm) needs(files fs.FS) ([]string, error) {
	var missing []string
	for _, name := range h.Values {
		clean, err := cleanPath(name)
		if err != nil {
			return nil, err
		}
		if _, err := fs.Stat(files, clean); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, clean)
		}
	}
	return missing, nil
}

// loadProblem says why a folder is no chart, without text of its values.
func (h *rendering) loadProblem(err error) error {
	message := err.Error()
	for _, name := range []string{chartFile, "values.yaml", "Chart.lock", "requirements.yaml", "requirements.lock"} {
		if strings.Contains(message, "cannot load "+name) {
			what, line := yamlProblem(err)
			file := path.Join(h.dir, name)
			if strings.Contains(message, "error unpacking subchart") {
				file, line = path.Join(h.dir, "charts"), 0
				what = "has a chart whose " + name + " " + what
			}
			return &Error{Origin: Origin{File: file, Line: line}, What: what}
		}
	}
	if strings.Contains(message, "Chart.yaml file is missing") {
		return h.mistake(path.Join(h.dir, "charts"), "has a folder without a Chart.yaml", "")
	}
	if _, problem, ok := strings.Cut(message, "validation: "); ok {
		return h.mistake(path.Join(h.dir, chartFile), "is not valid: "+clip(problem), "")
	}
	return h.mistake(h.dir, "is not a chart that can be read", "helm lint says more")
}
