package boltstore_test

import (
	"path/filepath"
	"testing"

	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
	"gitlab.com/slipway-cd/slipway/store/storetest"
)

func TestBoltstoreKeepsTheContract(t *testing.T) { storetest.Run(t, reopening) }

func TestBoltstoreIsLikeItsModel(t *testing.T) { storetest.RunModel(t, reopening) }

// reopening makes a database for a test. Closing stands for a crash here; processes
// that are really killed are another test.
func reopening(t *testing.T) func() store.Store {
	path := filepath.Join(t.TempDir(), "slipway.db")
	var s *boltstore.Store
	t.Cleanup(func() { closeStore(t, s) })
	return func() store.Store {
		closeStore(t, s)
		s = open(t, boltstore.Options{Path: path, UnknownGrace: -1})
		return s
	}
}

func open(t testing.TB, o boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *boltstore.Store) {
	t.Helper()
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
