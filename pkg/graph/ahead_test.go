package graph_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// distant is a store on a registry: its blobs have a home, and tell how often
// they were opened and closed.
type distant struct {
	store.Store
	host           string
	opened, closed atomic.Int32
}

func (d *distant) Blob(ctx context.Context, desc store.Descriptor) (store.Blob, error) {
	b, err := d.Store.Blob(ctx, desc)
	open := b.Open
	b.Home = d.host + "/app"
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		d.opened.Add(1)
		rc, err := open(ctx, offset)
		return closer{rc, &d.closed}, err
	}
	return b, err
}

type closer struct {
	io.ReadCloser
	closed *atomic.Int32
}

func (c closer) Close() error {
	c.closed.Add(1)
	return c.ReadCloser.Close()
}

// asking is a destination that lets a moment pass before it reads a blob.
type asking struct {
	store.Store
	has bool // what it is asked for, so that it does not read
	src *distant
	was int32 // opened when the moment had passed
}

func (a *asking) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	synctest.Wait()
	a.was = a.src.opened.Load()
	if a.has {
		return store.Put{Descriptor: b.Descriptor, How: store.Present}, nil
	}
	return a.Store.PutBlob(ctx, b)
}

func (a *asking) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	if a.has {
		return nil
	}
	return a.Store.PutManifest(ctx, m, tags...)
}

// A small blob that goes from one registry to another is asked of the one while
// the other is asked for a place, and once. Nothing else is read ahead of need.
func TestCopyOpensAhead(t *testing.T) {
	for _, tc := range []struct {
		name     string
		host     string // of the destination
		size     int
		has      bool
		was, all int32
	}{
		{name: "small", host: "two.example", size: 100, was: 1, all: 1},
		{name: "not needed after all", host: "two.example", size: 100, has: true, was: 1, all: 1},
		{name: "could be mounted", host: "one.example", size: 100, all: 1},
		{name: "large", host: "two.example", size: 2 << 20, all: 1},
		{name: "into files", size: 100, all: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &distant{Store: local.NewMemory(), host: "one.example"}
				dst := &asking{Store: local.NewMemory(), has: tc.has, src: src}
				b := store.NewBlob("application/x", make([]byte, tc.size))
				m := store.NewManifest(store.MediaTypeImage, fmt.Appendf(nil,
					`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/x","digest":%q,"size":%d},"layers":[]}`,
					store.MediaTypeImage, b.Digest, b.Size))
				_, err := src.PutBlob(t.Context(), b)
				if err := errors.Join(err, src.PutManifest(t.Context(), m, "v1")); err != nil {
					t.Fatal(err)
				}
				_, err = graph.Copy(t.Context(), src, dst, "v1", graph.CopyOptions{Host: tc.host})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if dst.was != tc.was || src.opened.Load() != tc.all || src.closed.Load() != tc.all {
					t.Errorf("opened %d times before it was wanted, %d in all, closed %d times; want %d, %d",
						dst.was, src.opened.Load(), src.closed.Load(), tc.was, tc.all)
				}
			})
		})
	}
}
