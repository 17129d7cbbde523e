package gitlab

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxFiles     = 50_000   // of one repository
	maxFileBytes = 4 << 20  // larger files can't be manifests: they are left out
	maxTreeBytes = 64 << 20 // of what is kept in memory
	maxUnpacked  = 1 << 30  // of what is unpacked, kept or not
)

// Files returns the repository as it is at the commit, read-only and in memory. Where the
// whole repository is too large, only the folder under is fetched. Symbolic links to files
// inside the repository are followed; all other links, and files over 4 MiB, are left out.
func (c *Client) Files(ctx context.Context, project int64, sha, under string) (fs.FS, error) {
	if err := c.archive.enter(ctx); err != nil {
		return nil, err
	}
	defer c.archive.leave()
	key := fmt.Sprintf("%d/%s", project, sha)
	folder := strings.Trim(path.Clean("/"+under), "/")
	for _, k := range []string{key, key + "/" + folder} {
		if t := c.archive.get(k); t != nil {
			return t, nil
		}
	}
	t, err := c.download(ctx, project, sha, "")
	if errors.Is(err, errTooLarge) && folder != "" {
		key += "/" + folder
		t, err = c.download(ctx, project, sha, folder)
	}
	if errors.Is(err, errTooLarge) {
		return nil, &pipeline.Failure{
			Code: pipeline.ReasonRefused, Permanent: true, Unchanged: true, Err: err,
			Detail: "the repository is too large to be read, and so is the folder of the manifests",
		}
	}
	if err != nil {
		return nil, err
	}
	c.archive.put(key, t)
	return t, nil
}

// errDownload ends an archive whose download failed, whose own error says why.
var errDownload = errors.New("the download failed")

func (c *Client) download(ctx context.Context, project int64, sha, folder string) (*tree, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.ArchiveTimeout)
	defer cancel()
	opt := &api.ArchiveOptions{SHA: &sha}
	if folder != "" {
		opt.Path = &folder
	}
	pr, pw := io.Pipe()
	type unpacked struct {
		t   *tree
		err error
	}
	done := make(chan unpacked, 1)
	go func() {
		t, err := unpack(pr)
		pr.CloseWithError(err)
		done <- unpacked{t, err}
	}()
	limited := context.WithValue(ctx, bodyLimit{}, c.o.ArchiveBytes)
	resp, err := c.api.Repositories.StreamArchive(project, pw, opt, api.WithContext(limited))
	if err != nil {
		pw.CloseWithError(errDownload)
	}
	pw.Close()
	u := <-done
	switch {
	case errors.Is(err, errTooLarge) || errors.Is(u.err, errTooLarge):
		return nil, errTooLarge
	case err != nil && (u.err == nil || errors.Is(u.err, errDownload)):
		return nil, c.failed(ctx, call{doing: "download the repository at " + pipeline.Short(sha), needs: "Reporter"}, resp, err)
	case u.err != nil:
		return nil, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "GitLab's archive of the repository is broken", Err: u.err, Unchanged: true}
	}
	return u.t, nil
}

// unpack reads a tar.gz whose entries share one top folder, and drains r when all is well.
func unpack(r io.Reader) (*tree, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	t := newTree()
	links := map[string]string{}
	bounded := &bounded{io.NopCloser(zr), maxUnpacked}
	tr := tar.NewReader(bounded)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		if n >= maxFiles || t.bytes > maxTreeBytes {
			return nil, errTooLarge
		}
		if err := t.take(h, tr, links); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	for name, target := range links {
		t.link(name, target, links)
	}
	return t, nil
}

// archives keeps the newest repositories by their size, and lets few be unpacked at once.
type archives struct {
	slots chan struct{}
	mu    sync.Mutex
	limit int64
	used  int64
	order []string // oldest first
	trees map[string]*tree
}

func (a *archives) init(limit int64) {
	a.slots, a.limit, a.trees = make(chan struct{}, 2), limit, map[string]*tree{}
}

func (a *archives) enter(ctx context.Context) error {
	select {
	case a.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *archives) leave() { <-a.slots }

func (a *archives) get(key string) *tree {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.trees[key]
	if t != nil {
		a.touch(key)
	}
	return t
}

func (a *archives) touch(key string) {
	for i, k := range a.order {
		if k == key {
			a.order = append(append(a.order[:i:i], a.order[i+1:]...), key)
			return
		}
	}
	a.order = append(a.order, key)
}

func (a *archives) put(key string, t *tree) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.bytes > a.limit {
		return
	}
	if old := a.trees[key]; old != nil {
		a.used -= old.bytes
	}
	a.trees[key] = t
	a.used += t.bytes
	a.touch(key)
	for a.used > a.limit {
		oldest := a.order[0]
		a.order = a.order[1:]
		a.used -= a.trees[oldest].bytes
		delete(a.trees, oldest)
	}
}
