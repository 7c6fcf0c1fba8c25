package store

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

const (
	// hashBuffer is how much is read at once.
	hashBuffer = 256 << 10
	// hashTold is from what size on hashing takes long enough to be told of.
	hashTold = 1 << 20
)

// HashBlob reads b for the digest and size that it has, by sha256. sink hears
// how far it is where b is large, or of a size that is not known.
func HashBlob(ctx context.Context, b Blob, sink Sink) (d Descriptor, err error) {
	d = b.Descriptor
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	if d.Size >= 0 && d.Size < hashTold {
		sink = nil
	}
	e := Event{Kind: Hashing, Desc: d, Name: NameOf(d)}
	sink.Emit(e)
	hash, size, buf := digest.Canonical.Hash(), int64(0), make([]byte, hashBuffer)
	for err == nil {
		var n int
		n, err = rc.Read(buf)
		hash.Write(buf[:n])
		size += int64(n)
		if e.Bytes = int64(n); n > 0 {
			sink.Emit(e)
		}
	}
	sink.Emit(Event{Kind: Hashed, Desc: d, Name: e.Name})
	if !errors.Is(err, io.EOF) {
		return d, err
	}
	d.Digest, d.Size = digest.NewDigest(digest.Canonical, hash), size
	return d, nil
}
