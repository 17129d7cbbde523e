package boltstore

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// Rows are a byte of layout version, then fields in a fixed order: numbers as
// varints, strings and bytes with their length in front.
const rowVersion = 1

// compressFrom is the size from which bytes are tried to be compressed. Below it
// the row fits a page beside its neighbours anyway.
const compressFrom = 768

var errRow = errors.New("the row is damaged")

// packer compresses. Its writers are reused: each has 600 KB of tables.
type packer struct{ writers sync.Pool }

// pack returns the bytes to store: a byte that says how, and the bytes.
func (p *packer) pack(data []byte) []byte {
	if len(data) >= compressFrom {
		var out bytes.Buffer
		out.Grow(len(data) / 2)
		out.WriteByte(1)
		w, _ := p.writers.Get().(*flate.Writer)
		if w == nil {
			w, _ = flate.NewWriter(&out, flate.BestSpeed) // fails for an unknown level only
		} else {
			w.Reset(&out)
		}
		_, werr := w.Write(data)
		cerr := w.Close()
		p.writers.Put(w)
		if werr == nil && cerr == nil && out.Len() < len(data)*7/8 {
			return out.Bytes()
		}
	}
	return append(append(make([]byte, 0, 1+len(data)), 0), data...)
}

// unpack returns a copy, never bytes of the file's map.
func unpack(b []byte) ([]byte, error) {
	switch {
	case len(b) == 0:
		return nil, errRow
	case b[0] == 0:
		return bytes.Clone(b[1:]), nil
	case b[0] == 1:
		data, err := io.ReadAll(flate.NewReader(bytes.NewReader(b[1:])))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRow, err)
		}
		return data, nil
	}
	return nil, errRow
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// reader takes a row apart. After the first damage it gives zero values, and err says so.
type reader struct {
	b   []byte
	err error
}

func read(row []byte) *reader {
	r := &reader{b: row}
	if r.byte() != rowVersion {
		r.fail()
	}
	return r
}

func (r *reader) fail() { r.b, r.err = nil, errRow }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bool() bool { return r.byte() == 1 }

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) time() time.Time { return time.Unix(r.int(), int64(r.uint())).UTC() }

// bytes gives a part of the row itself, valid as long as the transaction.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

// document is a row of the docs bucket.
type document struct {
	store.Document
	blobs []string
}

func (p *packer) encodeDocument(d document) []byte {
	b := make([]byte, 0, 256+len(d.Data)/2)
	b = append(b, rowVersion)
	b = binary.AppendUvarint(b, d.Version)
	b = appendBool(b, d.Finished)
	b = appendTime(b, d.Updated)
	b = appendTime(b, d.Due)
	b = binary.AppendVarint(b, d.Index.Project)
	b = binary.AppendVarint(b, d.Index.MergeRequest)
	b = appendString(b, d.Index.SHA)
	b = appendString(b, d.Index.Status)
	b = appendString(b, d.Index.Title)
	b = appendTime(b, d.Index.Started)
	b = appendBool(b, d.Index.Hidden)
	b = binary.AppendUvarint(b, uint64(len(d.blobs)))
	for _, ref := range d.blobs {
		b = appendString(b, ref)
	}
	return append(b, p.pack(d.Data)...)
}

// decodeHead reads everything but the data, whose stored form it returns.
func decodeHead(id store.ID, row []byte) (d document, data []byte, err error) {
	r := read(row)
	d.ID = id
	d.Version = r.uint()
	d.Finished = r.bool()
	d.Updated = r.time()
	d.Due = r.time()
	d.Index.Project = r.int()
	d.Index.MergeRequest = r.int()
	d.Index.SHA = r.string()
	d.Index.Status = r.string()
	d.Index.Title = r.string()
	d.Index.Started = r.time()
	d.Index.Hidden = r.bool()
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		d.blobs = append(d.blobs, r.string())
	}
	if r.err != nil {
		return document{}, nil, fmt.Errorf("read the document %s: %w", id, r.err)
	}
	return d, r.b, nil
}

func decodeDocument(id store.ID, row []byte) (document, error) {
	d, data, err := decodeHead(id, row)
	if err != nil {
		return document{}, err
	}
	if d.Data, err = unpack(data); err != nil {
		return document{}, fmt.Errorf("read the document %s: %w", id, err)
	}
	return d, nil
}

func (p *packer) encodeEvent(e store.Event) []byte {
	b := make([]byte, 0, 64+len(e.To)+len(e.Key)+len(e.Data)/2)
	b = append(b, rowVersion)
	b = appendString(b, e.To)
	b = appendString(b, e.Kind)
	b = appendString(b, e.Key)
	b = appendTime(b, e.At)
	return append(b, p.pack(e.Data)...)
}

// eventTo reads only where an event goes, as a part of the row.
func eventTo(row []byte) ([]byte, error) {
	r := read(row)
	to := r.bytes()
	return to, r.err
}

// eventHead reads everything but the data, whose stored form it returns.
func eventHead(row []byte) (e store.Event, data []byte, err error) {
	r := read(row)
	e.To = store.ID(r.string())
	e.Kind = r.string()
	e.Key = r.string()
	e.At = r.time()
	return e, r.b, r.err
}

func decodeEvent(row []byte) (store.Event, error) {
	e, data, err := eventHead(row)
	if err == nil {
		e.Data, err = unpack(data)
	}
	return e, err
}

func (p *packer) encodeEntry(e store.Entry) []byte {
	b := make([]byte, 0, 32+len(e.Kind)+len(e.Data)/2)
	b = append(b, rowVersion)
	b = appendTime(b, e.At)
	b = appendString(b, e.Kind)
	return append(b, p.pack(e.Data)...)
}

func decodeEntry(row []byte) (store.Entry, error) {
	r := read(row)
	e := store.Entry{At: r.time(), Kind: r.string()}
	err := r.err
	if err == nil {
		e.Data, err = unpack(r.b)
	}
	return e, err
}

// attempt is the part of an effect's row that changes while it is carried out.
type attempt struct {
	number    int  // of attempts that started
	started   bool // and is not settled
	unknown   bool // an earlier one may have reached the outside world
	notBefore time.Time
	since     time.Time // of the first attempt
	reason    string
}

// encodeEffect puts the part that changes before the part that doesn't.
func encodeEffect(a attempt, body []byte) []byte {
	b := make([]byte, 0, 48+len(a.reason)+len(body))
	b = append(b, rowVersion)
	b = binary.AppendUvarint(b, uint64(a.number))
	b = appendBool(b, a.started)
	b = appendBool(b, a.unknown)
	b = appendTime(b, a.notBefore)
	b = appendTime(b, a.since)
	b = appendString(b, a.reason)
	return append(b, body...)
}

func (p *packer) encodeEffectBody(e store.Effect) []byte {
	b := make([]byte, 0, 64+len(e.Data)/2)
	b = appendString(b, e.Of)
	b = appendString(b, e.Key)
	b = appendString(b, e.Kind)
	b = appendString(b, e.Slot)
	b = appendBool(b, e.Latest)
	return append(b, p.pack(e.Data)...)
}

// effectRow is an effect as it is stored.
type effectRow struct {
	store.Effect // without Data
	attempt      attempt
	body         []byte // as encodeEffectBody made it, a part of the row
	data         []byte // as pack made it, a part of the row
}

func decodeEffect(row []byte) (effectRow, error) {
	r := read(row)
	var e effectRow
	e.attempt = attempt{
		number: int(r.uint()), started: r.bool(), unknown: r.bool(),
		notBefore: r.time(), since: r.time(), reason: r.string(),
	}
	e.body = r.b
	e.Of = store.ID(r.string())
	e.Key = r.string()
	e.Kind = r.string()
	e.Slot = r.string()
	e.Latest = r.bool()
	e.NotBefore = e.attempt.notBefore
	e.data = r.b
	return e, r.err
}
