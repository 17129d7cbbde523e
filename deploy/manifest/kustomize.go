package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func kustomizationNames() []string {
	return []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}
}

func isKustomization(name string) bool { return slices.Contains(kustomizationNames(), name) }

// Missing lists the folders and files of the repository that a source needs besides its path and that files doesn't
// hold: those that kustomizations refer to, and values for a chart. Whoever fetches files folder by folder fetches these
// and asks again. It refuses what Render would refuse about a kustomization.
func Missing(files fs.FS, source Source, limits Limits) ([]string, error) {
	at, err := cleanPath(source.Path)
	if err != nil {
		return nil, err
	}
	if dir := chartDir(files, at); dir != "" {
		missing, err := source.helm().needs(files)
		if dir != at { // only its Chart.yaml was fetched
			missing = append(missing, dir)
		}
		return missing, err
	}
	if isKustomization(path.Base(at)) {
		at = path.Dir(at)
	}
	w := &walk{reader: &reader{files: files, limits: limits.withDefaults()}, seen: map[string]bool{}}
	if name, err := w.find(at); err != nil || name == "" {
		return nil, nil //nolint:nilerr // Render tells what is wrong
	}
	if err := w.folder(at, nil); err != nil {
		return nil, err
	}
	slices.Sort(w.missing)
	return slices.Compact(w.missing), nil
}

// kustomize builds the kustomization of a folder.
func (r *reader) kustomize(dir string) (_ []Object, err error) {
	w := &walk{reader: r, seen: map[string]bool{}}
	if err := w.folder(dir, nil); err != nil {
		return nil, err
	}
	if len(w.missing) > 0 {
		return nil, &Error{Origin: Origin{File: dir}, What: fmt.Sprintf("refers to %s, which is neither a file nor a folder with a kustomization at this commit", clip(w.missing[0]))}
	}
	memory := filesys.MakeFsInMemory()
	for _, folder := range slices.Sorted(maps.Keys(w.seen)) {
		if err := r.copyTo(memory, folder); err != nil {
			return nil, err
		}
	}
	// The builder is given text that anybody may have written.
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Origin: Origin{File: dir}, What: "makes kustomize crash"}
		}
	}()
	meter := &metered{FileSystem: memory, left: 4 * r.limits.Bytes}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(meter, path.Join("/", dir))
	if meter.left < 0 {
		return nil, &Error{Origin: Origin{File: dir}, What: "loads the same files again and again", Hint: "its folders refer to each other so often that it would become too big"}
	}
	if err != nil {
		return nil, &Error{Origin: Origin{File: dir}, What: "kustomize: " + kustomizeProblem(err)}
	}
	if n := built.Size(); n > r.limits.Objects {
		return nil, &Error{Origin: Origin{File: dir}, What: fmt.Sprintf("renders %d objects, and at most %d are allowed", n, r.limits.Objects)}
	}
	var objects []Object
	for _, resource := range built.Resources() {
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, &Error{Origin: Origin{File: dir}, What: "renders an object that is not valid"}
		}
		var m map[string]any
		if err := utiljson.Unmarshal(data, &m); err != nil {
			return nil, &Error{Origin: Origin{File: dir}, What: "renders an object that is not valid"}
		}
		objects = append(objects, Object{Unstructured: &unstructured.Unstructured{Object: m}, From: Origin{File: dir}})
	}
	return objects, nil
}

// metered bounds what kustomize reads. A few folders that refer to each other many times are loaded millions of times, and
// nothing could stop that from outside.
type metered struct {
	filesys.FileSystem
	left int64 // bytes
}

func (m *metered) ReadFile(name string) ([]byte, error) {
	const least = 512 // bytes that a file counts: to load it takes more than its text
	if m.left < 0 {
		return nil, errTooOften
	}
	content, err := m.FileSystem.ReadFile(name)
	if m.left -= max(least, int64(len(content))); err == nil && m.left < 0 {
		return nil, errTooOften
	}
	return content, err
}

var errTooOften = errors.New("files are loaded too often")

// kustomizeProblem is the builder's message, without the text of files that some of its messages carry.
func kustomizeProblem(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if _, field, ok := strings.Cut(line, `unknown field "`); ok {
		field, _, _ = strings.Cut(field, `"`)
		return fmt.Sprintf("a kustomization has no field %q", clip(field))
	}
	for _, quoting := range []string{"invalid Kustomization", "cannot unmarshal", "yaml: ", "json: ", "invalid patch", "unable to parse"} {
		if i := strings.Index(line, quoting); i >= 0 {
			return clip(line[:i]) + quoting
		}
	}
	return clip(line)
}

// copyTo copies a folder with everything below it, once.
func (r *reader) copyTo(memory filesys.FileSystem, folder string) error {
	return fs.WalkDir(r.files, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list %s: %w", folder, err)
		}
		if entry.IsDir() || !entry.Type().IsRegular() || memory.Exists("/"+name) {
			return nil
		}
		content, err := r.read(name)
		if err != nil {
			return err
		}
		if err := memory.WriteFile("/"+name, content); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		return nil
	})
}

// walk visits the kustomizations that one refers to, before kustomize does: kustomize itself would clone what looks
// like a repository and download what looks like an address.
type walk struct {
	*reader
	seen    map[string]bool // folders with a kustomization
	missing []string
}

// find returns the name of a folder's kustomization, "" if there is none.
func (w *walk) find(dir string) (string, error) {
	var found []string
	for _, name := range kustomizationNames() {
		if info, err := fs.Stat(w.files, path.Join(dir, name)); err == nil && !info.IsDir() {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", &Error{Origin: Origin{File: dir}, What: "has more than one kustomization: " + strings.Join(found, ", ")}
}

// holds tells whether a folder has a kustomization, or too many.
func (w *walk) holds(dir string) bool {
	name, err := w.find(dir)
	return name != "" || err != nil
}

func (w *walk) folder(dir string, above []string) error {
	const deepest = 20
	if slices.Contains(above, dir) || len(above) > deepest {
		return &Error{Origin: Origin{File: dir}, What: "refers to itself"}
	}
	if w.seen[dir] {
		return nil
	}
	name, err := w.find(dir)
	if err != nil {
		return err
	}
	if name == "" {
		return &Error{Origin: Origin{File: dir}, What: "has no kustomization", Hint: "a folder that a kustomization refers to has its own kustomization.yaml"}
	}
	w.seen[dir] = true
	file := path.Join(dir, name)
	content, err := w.read(file)
	if err != nil {
		return err
	}
	data, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		what, line := yamlProblem(err)
		return &Error{Origin: Origin{File: file, Line: line}, What: what}
	}
	var fields map[string]any
	if err := utiljson.Unmarshal(data, &fields); err != nil {
		return &Error{Origin: Origin{File: file}, What: "is not a kustomization"}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if err := w.field(file, key, fields[key], append(above, dir)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) field(file, key string, value any, above []string) error {
	refuse := func(what string) error {
		return &Error{Origin: Origin{File: file}, What: fmt.Sprintf("has %s: %s", clip(key), what)}
	}
	// kustomize reads its keys in any case, and takes letters such as ſ for their like: what is none of its keys here
	// could be one there.
	if strings.ContainsFunc(key, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return refuse("it is no key of a kustomization")
	}
	switch lower := strings.ToLower(key); {
	case strings.HasPrefix(lower, "helm"):
		return refuse("kustomize would run Helm; name the chart's folder itself as the manifests")
	case lower == "generators", lower == "transformers", lower == "validators":
		return refuse("plugins and functions don't run here")
	case lower == "resources", lower == "bases", lower == "components":
		list, _ := value.([]any)
		for _, item := range list {
			if entry, ok := item.(string); ok {
				if err := w.reference(file, entry, above); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if remote := findRemote(key, value); remote != "" {
		return refuse(fmt.Sprintf("%s is not in the repository, and nothing is downloaded", clip(remote)))
	}
	return nil
}

// reference follows an entry of resources.
func (w *walk) reference(file, entry string, above []string) error {
	target := path.Join(path.Dir(file), entry)
	inside := fs.ValidPath(target) && !path.IsAbs(entry)
	info, err := fs.Stat(w.files, target)
	exists := inside && err == nil
	switch {
	case strings.Contains(entry, "://") || strings.ContainsAny(entry, "\r\n"):
	case exists && !info.IsDir():
		return nil
	case isRemote(entry): // also if there is a folder of that name: kustomize looks at the address first
	case !inside:
		return &Error{Origin: Origin{File: file}, What: fmt.Sprintf("refers to %s, which is outside the repository", clip(entry))}
	case exists && w.holds(target):
		return w.folder(target, above)
	default:
		w.missing = append(w.missing, target)
		return nil
	}
	return &Error{
		Origin: Origin{File: file},
		What:   fmt.Sprintf("refers to %q, which is not a path in the repository, and nothing is downloaded", clip(entry)),
		Hint:   "copy it into the repository; a path that looks like an address begins with ./",
	}
}

// isRemote tells that an entry is an address rather than a path.
func isRemote(entry string) bool {
	first, _, _ := strings.Cut(entry, "/")
	return strings.Contains(entry, "://") || strings.Contains(entry, "::") || strings.Contains(entry, "?") || strings.Contains(entry, "@") ||
		strings.Contains(entry, ".git") || strings.Contains(first, ":") || strings.Contains(entry, "//") ||
		strings.Trim(first, ".") != "" && strings.Contains(first, ".") && strings.Contains(entry, "/")
}

// findRemote looks for an address in a place where kustomize would load a file. Labels, annotations, literals and
// patches in place may hold addresses.
func findRemote(key string, value any) string {
	switch strings.ToLower(key) {
	case "literals", "commonannotations", "commonlabels", "annotations", "labels", "options", "generatoroptions", "metadata", "patch":
		return ""
	}
	switch v := value.(type) {
	case string:
		if strings.Contains(v, "://") && !strings.Contains(v, "\n") {
			return v
		}
	case []any:
		for _, item := range v {
			if found := findRemote(key, item); found != "" {
				return found
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if found := findRemote(name, v[name]); found != "" {
				return found
			}
		}
	}
	return ""
}
