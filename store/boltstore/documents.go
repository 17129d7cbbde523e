package boltstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// Bounds of Query.Limit.
const (
	listDefault = 50
	listMax     = 500
)

// Get gives one document.
func (s *Store) Get(ctx context.Context, id store.ID) (store.Document, error) {
	var d document
	err := s.view(ctx, func(tx *bolt.Tx) (err error) {
		row := bucket(tx, bucketDocs).Get([]byte(id))
		if row == nil {
			return store.ErrNotFound
		}
		d, err = decodeDocument(id, row)
		return err
	})
	if err != nil {
		return store.Document{}, fmt.Errorf("get %s: %w", id, err)
	}
	return d.Document, nil
}

// History gives the entries of an aggregate, oldest first. store.ErrNotFound: it has no document.
func (s *Store) History(ctx context.Context, id store.ID) ([]store.Entry, error) {
	var list []store.Entry
	err := s.view(ctx, func(tx *bolt.Tx) error {
		if bucket(tx, bucketDocs).Get([]byte(id)) == nil {
			return store.ErrNotFound
		}
		prefix := historyPrefix(id)
		c := bucket(tx, bucketHistory).Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			e, err := decodeEntry(v)
			if err != nil {
				return fmt.Errorf("entry %d: %w", number(k[len(prefix):]), err)
			}
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", id, err)
	}
	return list, nil
}

// listing is a query ready to run: the index rows to go through, and what to leave out.
type listing struct {
	query  store.Query
	prefix []byte
	before []byte // a position, nil to begin with the newest
	hidden bool
	limit  int
}

func newListing(q store.Query) (*listing, error) {
	l := &listing{query: q, limit: q.Limit}
	if q.Limit == 0 {
		l.limit = listDefault
	}
	if l.limit < 1 || l.limit > listMax {
		return nil, fmt.Errorf("a limit of %d is not within 1 to %d", q.Limit, listMax)
	}
	if q.MergeRequest != 0 && q.Project == 0 {
		return nil, fmt.Errorf("merge request %d of no project", q.MergeRequest)
	}
	if q.Before != "" {
		at, err := base64.RawURLEncoding.DecodeString(q.Before)
		if err != nil || len(at) < 8 {
			return nil, fmt.Errorf("the cursor %.80q was not made here", q.Before)
		}
		l.before = at
	}
	// Who asks for a commit or a merge request looks something up.
	l.hidden = q.WithHidden || q.MergeRequest != 0 || q.SHA != ""
	switch {
	case q.MergeRequest != 0:
		l.prefix = prefixMergeRequest(q.Project, q.MergeRequest)
	case q.SHA != "":
		l.prefix = prefixSHA(q.SHA)
	case q.Project != 0:
		l.prefix = prefixProject(q.Project)
	case q.Kind != "":
		l.prefix = prefixKind(q.Kind)
	default:
		l.prefix = []byte{rowsAll}
	}
	return l, nil
}

// last moves to the newest row that the listing may show.
func (l *listing) last(c *bolt.Cursor) (k, v []byte) {
	end := append([]byte(nil), l.prefix...)
	if l.before != nil {
		end = append(end, l.before...)
	} else {
		end = append(end, bytes.Repeat([]byte{0xff}, 9)...)
	}
	if k, _ = c.Seek(end); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// skip says, from the index row alone, that the document isn't asked for.
func (l *listing) skip(id store.ID, flags byte) bool {
	return l.query.Live && flags&flagFinished != 0 ||
		!l.hidden && flags&flagHidden != 0 ||
		l.query.Kind != "" && id.Kind() != l.query.Kind
}

func (l *listing) matches(x store.Index) bool {
	q := l.query
	return (q.Project == 0 || q.Project == x.Project) &&
		(q.MergeRequest == 0 || q.MergeRequest == x.MergeRequest) &&
		(q.SHA == "" || q.SHA == x.SHA)
}

// List gives one page, newest first. A query by merge request or commit is a
// look-up: it finds hidden documents too.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	l, err := newListing(q)
	if err != nil {
		return store.Page{}, fmt.Errorf("list: %w", err)
	}
	var page store.Page
	err = s.view(ctx, func(tx *bolt.Tx) error {
		page, err = l.run(ctx, tx)
		return err
	})
	if err != nil {
		return store.Page{}, fmt.Errorf("list: %w", err)
	}
	return page, nil
}

func (l *listing) run(ctx context.Context, tx *bolt.Tx) (store.Page, error) {
	var page store.Page
	var shown []byte // the position of the last document on the page
	docs := bucket(tx, bucketDocs)
	c := bucket(tx, bucketIndex).Cursor()
	rows := 0
	for k, v := l.last(c); bytes.HasPrefix(k, l.prefix); k, v = c.Prev() {
		if rows++; rows%4096 == 0 && ctx.Err() != nil {
			return store.Page{}, ctx.Err()
		}
		at := k[len(l.prefix):]
		if len(at) < 8 || len(v) != 1 {
			return store.Page{}, fmt.Errorf("index row %x: %w", k, errRow)
		}
		id := store.ID(at[8:])
		if l.skip(id, v[0]) {
			continue
		}
		d, err := decodeDocument(id, docs.Get([]byte(id)))
		if err != nil {
			return store.Page{}, err
		}
		if !l.matches(d.Index) {
			continue
		}
		if len(page.Documents) == l.limit {
			page.Next = base64.RawURLEncoding.EncodeToString(shown)
			break
		}
		page.Documents = append(page.Documents, d.Document)
		shown = at
	}
	return page, nil
}
