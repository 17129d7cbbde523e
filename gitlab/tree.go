package gitlab

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is a repository in memory. It doesn't change once it is unpacked. It implements
// fs.FS, fs.ReadFileFS, fs.ReadDirFS and fs.StatFS.
type tree struct {
	files   map[string][]byte
	folders map[string]map[string]bool // folder → names in it
	bytes   int64
}

// overhead is what a file costs beside its content.
const overhead = 200

func newTree() *tree {
	return &tree{files: map[string][]byte{}, folders: map[string]map[string]bool{".": {}}}
}

// take adds one entry of the archive.
func (t *tree) take(h *tar.Header, r io.Reader, links map[string]string) error {
	_, name, ok := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
	name = strings.TrimSuffix(name, "/")
	if !ok || name == "" || !fs.ValidPath(name) {
		return nil // the top folder itself, or a path that leads out
	}
	switch h.Typeflag {
	case tar.TypeDir:
		t.addFolder(name)
	case tar.TypeSymlink:
		links[name] = h.Linkname
	case tar.TypeReg:
		if h.Size > maxFileBytes {
			return nil
		}
		data, err := io.ReadAll(io.LimitReader(r, maxFileBytes))
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		t.addFile(name, data)
		t.bytes += int64(len(data))
	}
	return nil
}

func (t *tree) addFile(name string, data []byte) {
	dir := path.Dir(name)
	if _, isFolder := t.folders[name]; isFolder || !t.addFolder(dir) {
		return
	}
	t.files[name] = data
	t.folders[dir][path.Base(name)] = true
	t.bytes += overhead + int64(len(name))
}

// addFolder makes the folder and those above it, false if a file is in the way.
func (t *tree) addFolder(name string) bool {
	if t.folders[name] != nil {
		return true
	}
	if _, isFile := t.files[name]; isFile || !t.addFolder(path.Dir(name)) {
		return false
	}
	t.folders[name] = map[string]bool{}
	t.folders[path.Dir(name)][path.Base(name)] = true
	t.bytes += overhead
	return true
}

// link follows a symbolic link to a file inside the repository.
func (t *tree) link(name, target string, links map[string]string) {
	at := name
	for range 8 {
		if path.IsAbs(target) {
			return
		}
		at = path.Join(path.Dir(at), target)
		if data, ok := t.files[at]; ok {
			if _, taken := t.files[name]; !taken {
				t.addFile(name, data)
			}
			return
		}
		next, ok := links[at]
		if !ok {
			return
		}
		target = next
	}
}

// Open implements fs.FS.
func (t *tree) Open(name string) (fs.File, error) {
	info, err := t.stat("open", name)
	if err != nil {
		return nil, err
	}
	if info.folder {
		entries, _ := t.ReadDir(name)
		return &openFolder{info: info, entries: entries}, nil
	}
	return &openFile{Reader: bytes.NewReader(t.files[name]), info: info}, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *tree) ReadFile(name string) ([]byte, error) {
	info, err := t.stat("read", name)
	if err != nil {
		return nil, err
	}
	if info.folder {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	return bytes.Clone(t.files[name]), nil
}

// Stat implements fs.StatFS.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	info, err := t.stat("stat", name)
	if err != nil {
		return nil, err
	}
	return info, nil
}

func (t *tree) stat(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := t.files[name]; ok {
		return entry{name: path.Base(name), size: int64(len(data))}, nil
	}
	if _, ok := t.folders[name]; ok {
		return entry{name: path.Base(name), folder: true}, nil
	}
	return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements fs.ReadDirFS.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := t.stat("readdir", name); err != nil {
		return nil, err
	}
	names, ok := t.folders[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	entries := make([]fs.DirEntry, 0, len(names))
	for n := range names {
		info, err := t.stat("readdir", path.Join(name, n))
		if err != nil {
			return nil, err
		}
		entries = append(entries, info)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// entry describes a file or folder.
type entry struct {
	name   string
	size   int64
	folder bool
}

func (e entry) Name() string               { return e.name }
func (e entry) Size() int64                { return e.size }
func (e entry) IsDir() bool                { return e.folder }
func (e entry) ModTime() time.Time         { return time.Time{} }
func (e entry) Sys() any                   { return nil }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Mode() fs.FileMode {
	if e.folder {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type openFile struct {
	*bytes.Reader
	info entry
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openFolder struct {
	info    entry
	entries []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: fs.ErrInvalid}
}

func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		rest := f.entries
		f.entries = nil
		return rest, nil
	}
	if len(f.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.entries))
	part := f.entries[:n]
	f.entries = f.entries[n:]
	return part, nil
}
