package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"gitlab.com/slipway-cd/slipway/store"
)

func (s *Sources) database(context.Context) []Finding {
	path := s.Config.Database
	switch err := s.Database(path); {
	case errors.Is(err, store.ErrLocked):
		return []Finding{note(path + " is open in another process, so it was not looked at; a Slipway that is running has it")}
	case errors.Is(err, fs.ErrPermission):
		return []Finding{broken(path+" may not be written", "let Slipway's user write it:  chown slipway "+path)}
	case err != nil:
		return []Finding{broken(err.Error(), "slipway check "+path+"  says more; a backup takes its place (docs/operating.md)")}
	}
	if _, err := os.Stat(path); err == nil {
		return []Finding{fine(path + " is there, and nobody has it open")}
	}
	folder := filepath.Dir(path)
	probe, err := os.CreateTemp(folder, ".slipway-doctor-*")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{broken("there is no folder "+folder, "mkdir -p "+folder, "or another path in the configuration:  database: PATH")}
	case err != nil:
		return []Finding{broken("no file can be made in "+folder, "let Slipway's user write there:  chown slipway "+folder)}
	}
	_ = probe.Close() // it is empty
	if err := os.Remove(probe.Name()); err != nil {
		return []Finding{note("a file was made in " + folder + " to try, and cannot be removed: " + probe.Name())}
	}
	return []Finding{fine(path + " is not there yet and can be made")}
}
