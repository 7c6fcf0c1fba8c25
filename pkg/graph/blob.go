package graph

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/stet-oci/stet/pkg/store"
)

// BlobOptions say how PutBlob puts a blob.
type BlobOptions struct {
	Events store.Sink
	// Once: the content can be read one time, as standard input can. Else a
	// large one is read beforehand for its digest, as it may be there.
	Once bool
}

// PutBlob puts one blob that belongs to nothing yet. A store that has a blob of
// its digest does not look at the content; here it is read all the same, so
// that a digest which somebody gave is proven, or is store.ErrMismatch.
func PutBlob(ctx context.Context, b store.Blob, dst store.Store, opts BlobOptions) (store.Put, error) {
	to := &single{Store: dst, proves: true}
	m := &mover{dst: to, sink: opts.Events}
	if !opts.Once {
		if err := m.hashLarge(ctx, &b); err != nil {
			return store.Put{}, err
		}
	}
	_, err := m.put(ctx, b)
	return to.put, m.withPut(err)
}

// CopyBlob puts a blob of one store into another, as a copy does: what the
// destination has is not read, and what it can mount is not sent.
func CopyBlob(ctx context.Context, src store.Reader, dst store.Store, d store.Descriptor, sink store.Sink) (store.Put, error) {
	b, err := src.Blob(ctx, d)
	if err != nil {
		return store.Put{}, fail(Source, "read blob", d, err)
	}
	to := &single{Store: dst}
	m := &mover{dst: to, sink: sink}
	_, err = m.put(ctx, b)
	return to.put, m.withPut(err)
}

// single keeps what became of the one blob that is put.
type single struct {
	store.Store
	proves bool // a blob that was there, or was mounted, is read
	put    store.Put
}

func (s *single) PutBlob(ctx context.Context, b store.Blob) (put store.Put, err error) {
	put, err = s.Store.PutBlob(ctx, b)
	// A large blob was asked for; of others no manifest will show whether they are there.
	if err == nil && (put.How == store.Mounted || put.How == store.Present && put.Size <= largeBlob) {
		err = s.has(ctx, put.Descriptor)
	}
	if err == nil && s.proves && b.Digest != "" && put.How != store.Sent { // to send it proves it
		err = prove(ctx, b)
	}
	if err != nil {
		return store.Put{}, err
	}
	s.put = put
	return put, nil
}

// has fails where the destination said that it had a blob, and does not have it.
func (s *single) has(ctx context.Context, d store.Descriptor) error {
	d.Size = store.UnknownSize // of a known one no question is needed
	_, err := s.Store.Blob(ctx, d)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: the destination said that it had blob %s, and does not have it", store.ErrMismatch, d.Digest)
	}
	return err
}

func prove(ctx context.Context, b store.Blob) error {
	rc, err := store.VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(io.Discard, rc)
	return err
}
