package boltstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// blobStay is how long a blob stays that nothing refers to.
const blobStay = 24 * time.Hour

// blobKey is the hash that a ref stands for.
func blobKey(ref string) ([]byte, error) {
	key, err := hex.DecodeString(ref)
	if err != nil || len(key) != sha256.Size {
		return nil, fmt.Errorf("blob %.80q: %w", ref, store.ErrNotFound)
	}
	return key, nil
}

// blobPut is the job of PutBlob.
type blobPut struct{ key, packed []byte }

func (p *blobPut) check(*batch) error { return nil }

func (p *blobPut) write(b *batch) error {
	known := b.blobTime.Get(p.key) != nil
	if err := b.blobTime.Put(p.key, seqKey(uint64(b.now))); err != nil {
		return err
	}
	if known {
		return nil
	}
	return b.blobs.Put(p.key, p.packed)
}

func (p *blobPut) applied(*Store) {}

// PutBlob stores bytes under their SHA-256, in hex.
func (s *Store) PutBlob(ctx context.Context, data []byte) (string, error) {
	key := contentHash(data)
	ref := hex.EncodeToString(key)
	if err := s.do(ctx, &blobPut{key: key, packed: s.packer.pack(data)}); err != nil {
		return "", fmt.Errorf("put blob %s: %w", ref, err)
	}
	return ref, nil
}

// GetBlob gives the bytes that a ref stands for.
func (s *Store) GetBlob(ctx context.Context, ref string) ([]byte, error) {
	key, err := blobKey(ref)
	if err != nil {
		return nil, fmt.Errorf("get %w", err)
	}
	var data []byte
	err = s.view(ctx, func(tx *bolt.Tx) error {
		packed := bucket(tx, bucketBlobs).Get(key)
		if packed == nil {
			return store.ErrNotFound
		}
		data, err = unpack(packed)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", ref, err)
	}
	return data, nil
}

// blobReferred says whether a document refers to the blob.
func blobReferred(refs *bolt.Bucket, key []byte) bool {
	k, _ := refs.Cursor().Seek(key)
	return bytes.HasPrefix(k, key)
}

func contentHash(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
