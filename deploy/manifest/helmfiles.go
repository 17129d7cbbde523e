package manifest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
)

// examine looks at a file of a chart, which has a path within it, before Helm reads it: what it unpacks to and what its aliases make.
// name is of the file in the repository, or of the archive that it is in.
func (h *rendering) examine(name, local string, content []byte) error {
	if path.Ext(local) == ".tgz" && path.Base(path.Dir(local)) == "charts" {
		return h.unpacked(name, content)
	}
	switch path.Base(local) {
	case chartFile, "Chart.lock", "values.yaml", "requirements.yaml", "requirements.lock":
		if err := h.unfold(content); err != nil {
			what, line := yamlProblem(err)
			if path.Base(name) != path.Base(local) {
				what, line = "has a "+path.Base(local)+" that "+what, 0
			}
			return &Error{Origin: Origin{File: name, Line: line}, What: what}
		}
	}
	return nil
}

// unpacked counts what an archive unpacks to, so that a small one can't fill the memory, and examines that.
func (h *rendering) unpacked(name string, content []byte) error {
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return h.mistake(name, "is not a chart's archive", "")
	}
	left := h.limits.Bytes - h.bytes
	n, err := io.Copy(io.Discard, io.LimitReader(unzipped, left+1))
	if err != nil {
		return h.mistake(name, "is not a chart's archive", "")
	}
	if n > left {
		return h.mistake(name, fmt.Sprintf("is too big: all files together may have %d bytes", h.limits.Bytes), "")
	}
	h.bytes += n
	files, err := archive.LoadArchiveFiles(bytes.NewReader(content))
	if err != nil {
		return h.mistake(name, "is not a chart's archive", "")
	}
	for _, f := range files {
		if err := h.examine(name, f.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}
