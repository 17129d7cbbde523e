package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomization is one that has been checked, with the files that it needs.
type Kustomization struct {
	Dir    string            `json:"dir"`   // that is built
	Files  map[string][]byte `json:"files"` // by their names from the repository's root
	Limits Limits            `json:"limits"`
}

// Build makes the objects, as a list in JSON. Nothing bounds how much memory that takes, if Limits.Apart doesn't have it
// done elsewhere. A mistake in the repository is an *Error.
func (k Kustomization) Build() (_ []byte, err error) {
	memory := filesys.MakeFsInMemory()
	for name, content := range k.Files {
		if err := memory.WriteFile("/"+name, content); err != nil {
			return nil, fmt.Errorf("copy %s: %w", name, err)
		}
	}
	// The builder is given text that anybody may have written.
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Origin: Origin{File: k.Dir}, What: "makes kustomize crash"}
		}
	}()
	limits := k.Limits.withDefaults()
	meter := &metered{FileSystem: memory, left: 4 * limits.Bytes}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(meter, path.Join("/", k.Dir))
	if meter.left < 0 {
		return nil, &Error{Origin: Origin{File: k.Dir}, What: "loads the same files again and again", Hint: "its folders refer to each other so often that it would become too big"}
	}
	if err != nil {
		return nil, &Error{Origin: Origin{File: k.Dir}, What: "kustomize: " + kustomizeProblem(err)}
	}
	if n := built.Size(); n > limits.Objects {
		return nil, &Error{Origin: Origin{File: k.Dir}, What: fmt.Sprintf("renders %d objects, and at most %d are allowed", n, limits.Objects)}
	}
	var list bytes.Buffer
	for _, resource := range built.Resources() {
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, &Error{Origin: Origin{File: k.Dir}, What: "renders an object that is not valid"}
		}
		list.WriteByte(',')
		list.Write(data)
		if int64(list.Len()) > limits.Bytes {
			return nil, &Error{Origin: Origin{File: k.Dir}, What: fmt.Sprintf("renders to more than %d bytes", limits.Bytes)}
		}
	}
	return append(append([]byte{'['}, bytes.TrimPrefix(list.Bytes(), []byte{','})...), ']'), nil
}

var yamlEscape = regexp.MustCompile(`\\[xuU]`)

// small tells that building takes little time and memory if each file is loaded once and the kustomizations have plain fields
// only. Each object takes some forty bytes at least, so the product bounds what is put into all of them together.
func (k Kustomization) small() bool {
	all, own := 0, 0
	for name, text := range k.Files {
		all += len(text)
		if isKustomization(path.Base(name)) {
			own += len(text)
		}
		if hasAliases(text) || yamlEscape.Match(text) || !utf8.Valid(text) || bytes.HasPrefix(text, []byte(byteOrderMark)) ||
			bytes.ContainsFunc(text, func(r rune) bool { return r < '\t' }) {
			return false
		}
	}
	return all <= 64<<10 && all*own <= 16<<20
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
