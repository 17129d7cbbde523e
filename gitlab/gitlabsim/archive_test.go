package gitlabsim_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestArchiveIsLikeGitArchive(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	sha := w.merge(w.open("Change"), gitlabsim.MergeCommit)
	got := w.as("bot", "GET", "repository/archive.tar.gz?sha="+sha+"&path=deploy/staging", nil)
	zr, err := gzip.NewReader(bytes.NewReader(got.raw))
	must(t, err)
	var names []string
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Typeflag == tar.TypeXGlobalHeader {
			if h.PAXRecords["comment"] != sha {
				t.Errorf("the global header is %v", h.PAXRecords)
			}
			continue
		}
		names = append(names, h.Name)
	}
	top := "backend-" + sha + "-" + sha + "-deploy-staging/"
	want := []string{top, top + "deploy/", top + "deploy/staging/", top + "deploy/staging/Change.yaml", top + "deploy/staging/app.yaml"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if got := w.as("bot", "GET", "repository/archive.tar.gz?sha="+sha+"&path=nothing", nil); got.status != 404 {
		t.Errorf("a missing folder: got %d", got.status)
	}
	if got := w.as("bot", "GET", "repository/files/nothing/raw?ref="+sha, nil); got.status != 404 || got.field(t, "message") != "404 File Not Found" {
		t.Errorf("a missing file: got %d %s", got.status, got.raw)
	}
	w.obeysContract()
}
