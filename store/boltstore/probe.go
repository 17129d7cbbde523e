package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Probe tells what would keep a server from opening the file: nil if nothing would, or if it is not there yet.
// store.ErrLocked: another process has it. It writes nothing, and reads no more than what kind of file it is.
func Probe(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the database %s: %w", path, err)
	}
	// A truncated file faults when its map is read: as a panic it can be told.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("look at the database %s: the file is damaged: %v", path, r)
		}
	}()
	f, err := os.OpenFile(path, os.O_RDWR, 0) // never made: it was there a moment ago
	if err != nil {
		return fmt.Errorf("look at the database %s: %w", path, err)
	}
	_ = f.Close() // nothing was written
	db, err := openFile(path, bolt.Options{ReadOnly: true, Timeout: 200 * time.Millisecond, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	return errors.Join(db.View(checkSchema), db.Close())
}
