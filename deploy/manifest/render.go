package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits bound what one rendering may cost. A zero field takes its default.
type Limits struct {
	Files   int   // that are read; default 1000
	Bytes   int64 // of all files read, of all YAML with its aliases written out, and of the encoded set; default 8 MiB
	Objects int   // default 500
	// Time is how long the templates of a chart may take; default 15 s.
	Time time.Duration
	// Apart builds a kustomization that is not plainly small, where it may take any amount of memory; nil builds it here.
	Apart func(context.Context, Kustomization) ([]byte, error) `json:"-"`
}

func (l Limits) withDefaults() Limits {
	if l.Files <= 0 {
		l.Files = 1000
	}
	if l.Bytes <= 0 {
		l.Bytes = 8 << 20
	}
	if l.Objects <= 0 {
		l.Objects = 500
	}
	if l.Time <= 0 {
		l.Time = 15 * time.Second
	}
	return l
}

// Source says what is rendered, and how.
type Source struct {
	// Path is where the manifests are, from the repository's root: a YAML or JSON file, a folder of them (its own files,
	// not its subfolders), a folder with a kustomization, or one with a Helm chart.
	Path string
	// Images maps the name of an image to the tag, digest ("sha256:…") or full reference that replaces it in every
	// container.
	Images map[string]string
	// Helm is for a chart; nil renders it with its own values. It is an error for anything else.
	Helm *Helm
	// Application names a chart's release, if Helm doesn't and it is fit for it; then the chart does.
	Application string
	// Namespace is what charts are told; default "default".
	Namespace string
	// Hosts maps host names of Ingresses and routes to those that replace them.
	Hosts map[string]string
	// Review is the slug that the names of a review's objects end with, "" for anything else.
	Review string
	// CRDs allows definitions of custom resources.
	CRDs bool
}

// Render makes the objects of a source. files begins at the repository's root.
//
// A mistake in the repository is an *Error.
func Render(ctx context.Context, files fs.FS, source Source, limits Limits) (Set, error) {
	r := &reader{files: files, limits: limits.withDefaults(), source: source}
	at, err := cleanPath(source.Path)
	if err != nil {
		return Set{}, err
	}
	objects, err := r.load(ctx, at)
	if err != nil {
		return Set{}, err
	}
	if len(objects) == 0 {
		return Set{}, &Error{Origin: Origin{File: at}, What: "holds no Kubernetes objects"}
	}
	if len(objects) > r.limits.Objects {
		return Set{}, &Error{Origin: Origin{File: at}, What: fmt.Sprintf("holds %d objects, and at most %d are allowed", len(objects), r.limits.Objects)}
	}
	for _, o := range objects {
		if err := check(o, source.CRDs); err != nil {
			return Set{}, err
		}
		if err := unmarked(o); err != nil {
			return Set{}, err
		}
		tidy(o)
	}
	if err := unique(objects); err != nil {
		return Set{}, err
	}
	if err := setImages(objects, source.Images); err != nil {
		return Set{}, err
	}
	if err := setHosts(objects, source.Hosts); err != nil {
		return Set{}, err
	}
	if source.Review != "" {
		if objects, err = separate(objects, source.Review); err != nil {
			return Set{}, err
		}
	}
	order(objects)
	set := Set{Objects: objects}
	if plain, err := set.plain(); err != nil {
		return Set{}, err
	} else if int64(len(plain)) > r.limits.Bytes {
		return Set{}, &Error{Origin: Origin{File: at}, What: fmt.Sprintf("renders to more than %d bytes", r.limits.Bytes)}
	}
	return set, nil
}

// cleanPath makes the path one that fs.FS takes, and keeps it inside the repository.
func cleanPath(at string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(at, "./"))
	if at == "" {
		return "", &Error{What: "no path to manifests is given"}
	}
	if !fs.ValidPath(clean) {
		return "", &Error{Origin: Origin{File: clip(at)}, What: "is outside the repository", Hint: "write a path from the repository's root"}
	}
	return clean, nil
}

// reader reads files within the limits.
type reader struct {
	files  fs.FS
	limits Limits
	source Source
	count  int
	bytes  int64
	// unfolds counts the bytes of YAML that has aliases, with all of them written out.
	unfolds int64
}

func (r *reader) load(ctx context.Context, at string) ([]Object, error) {
	info, err := fs.Stat(r.files, at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Origin: Origin{File: at}, What: "is not in the repository at this commit"}
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", at, err)
	}
	if dir := chartDir(r.files, at); dir != "" {
		return r.helm(ctx, dir, r.source.helm())
	}
	if r.source.Helm != nil {
		return nil, &Error{Origin: Origin{File: at}, What: "is not a Helm chart, and options for Helm are given", Hint: "name the folder that has the Chart.yaml"}
	}
	if isKustomization(path.Base(at)) && !info.IsDir() {
		return r.kustomize(ctx, path.Dir(at))
	}
	if !info.IsDir() {
		return r.plain(at)
	}
	entries, err := fs.ReadDir(r.files, at)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", at, err)
	}
	var names []string
	for _, e := range entries {
		switch {
		case isKustomization(e.Name()):
			return r.kustomize(ctx, at)
		case !e.IsDir() && isManifest(e.Name()):
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	var objects []Object
	for _, name := range names {
		more, err := r.plain(path.Join(at, name))
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	if len(names) == 0 {
		return nil, &Error{Origin: Origin{File: at}, What: "holds no manifests", Hint: "put .yaml, .yml or .json files there, or a kustomization.yaml"}
	}
	return objects, nil
}

func (s Source) helm() Helm {
	if s.Helm == nil {
		return Helm{}
	}
	return *s.Helm
}

// chartDir is the folder of the chart that a path names by itself or by its Chart.yaml, "" if it names none. A folder
// with a kustomization is one, whatever else is in it.
func chartDir(files fs.FS, at string) string {
	if path.Base(at) == chartFile {
		at = path.Dir(at)
	}
	for _, name := range kustomizationNames() {
		if _, err := fs.Stat(files, path.Join(at, name)); err == nil {
			return ""
		}
	}
	if info, err := fs.Stat(files, path.Join(at, chartFile)); err != nil || info.IsDir() {
		return ""
	}
	return at
}

func isManifest(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// read returns a file's content.
func (r *reader) read(name string) ([]byte, error) {
	if r.count++; r.count > r.limits.Files {
		return nil, &Error{Origin: Origin{File: name}, What: fmt.Sprintf("is one file too many: at most %d are read", r.limits.Files)}
	}
	f, err := r.files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	left := r.limits.Bytes - r.bytes
	content, err := io.ReadAll(io.LimitReader(f, left+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(content)) > left {
		return nil, &Error{Origin: Origin{File: name}, What: fmt.Sprintf("is too big: all files together may have %d bytes", r.limits.Bytes)}
	}
	r.bytes += int64(len(content))
	return content, nil
}
