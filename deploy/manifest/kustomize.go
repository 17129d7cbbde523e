package manifest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
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
	w := &walk{reader: &reader{files: files, limits: limits.withDefaults()}, seen: map[string]bool{}, loaded: map[string]bool{}}
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
func (r *reader) kustomize(ctx context.Context, dir string) ([]Object, error) {
	w := &walk{reader: r, seen: map[string]bool{}, loaded: map[string]bool{}}
	if err := w.folder(dir, nil); err != nil {
		return nil, err
	}
	if len(w.missing) > 0 {
		return nil, &Error{Origin: Origin{File: dir}, What: fmt.Sprintf("refers to %s, which is neither a file nor a folder with a kustomization at this commit", clip(w.missing[0]))}
	}
	k := Kustomization{Dir: dir, Files: map[string][]byte{}, Limits: r.limits}
	for _, folder := range slices.Sorted(maps.Keys(w.seen)) {
		if err := r.copyTo(k.Files, folder); err != nil {
			return nil, err
		}
	}
	build := func(_ context.Context, k Kustomization) ([]byte, error) { return k.Build() }
	if r.limits.Apart != nil && (w.elaborate || !k.small()) {
		build = r.limits.Apart
	}
	data, err := build(ctx, k)
	if err != nil {
		return nil, err
	}
	var built []map[string]any
	if err := utiljson.Unmarshal(data, &built); err != nil {
		return nil, &Error{Origin: Origin{File: dir}, What: "renders an object that is not valid"}
	}
	var objects []Object
	for _, m := range built {
		objects = append(objects, Object{Unstructured: &unstructured.Unstructured{Object: m}, From: Origin{File: dir}})
	}
	return objects, nil
}

// copyTo copies a folder with everything below it, once.
func (r *reader) copyTo(files map[string][]byte, folder string) error {
	return fs.WalkDir(r.files, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list %s: %w", folder, err)
		}
		if _, there := files[name]; entry.IsDir() || !entry.Type().IsRegular() || there {
			return nil
		}
		files[name], err = r.read(name)
		return err
	})
}

// walk visits the kustomizations that one refers to, before kustomize does: kustomize itself would clone what looks
// like a repository and download what looks like an address.
type walk struct {
	*reader
	seen    map[string]bool // folders with a kustomization
	loaded  map[string]bool // files that are resources
	missing []string
	// elaborate tells that something is there twice, or has what could make much of little.
	elaborate bool
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
		w.elaborate = true
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
	data, err := w.toJSON(content)
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
	w.elaborate = w.elaborate || !isPlain(key, value)
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

// isPlain tells that a field of a kustomization can't make more of the objects than its own text, once for each of them.
func isPlain(key string, value any) bool {
	switch key {
	case "apiVersion", "kind", "metadata", "resources", "bases", "namespace", "namePrefix", "nameSuffix", "images", "replicas", "commonLabels", "commonAnnotations":
		return true
	case "labels": // without places of their own
		list, _ := value.([]any)
		for _, item := range list {
			fields, _ := item.(map[string]any)
			for name := range fields {
				if !slices.Contains([]string{"pairs", "includeSelectors", "includeTemplates"}, name) {
					return false
				}
			}
		}
		return true
	}
	return false
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
		w.elaborate = w.elaborate || w.loaded[target]
		w.loaded[target] = true
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
