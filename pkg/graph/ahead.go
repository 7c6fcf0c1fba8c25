package graph

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// What is asked for before it is known to be needed, because waiting for that
// would cost a round trip.

// listAhead begins to list the referrers of a manifest while that is read, where
// they are wanted; list waits for them. What is not waited for is to be stopped.
func (w *walk) listAhead(ctx context.Context, d store.Descriptor) (list func() ([]store.Descriptor, error), stop func()) {
	if !w.opts.Referrers || w.above[d.Digest] || w.known[d.Digest] {
		return func() ([]store.Descriptor, error) { return nil, nil }, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var found []store.Descriptor
	var err error
	var listing sync.WaitGroup
	listing.Go(func() { found, err = w.referrers(ctx, d) })
	list = func() ([]store.Descriptor, error) {
		listing.Wait()
		return found, err
	}
	return list, func() {
		cancel()
		listing.Wait()
	}
}

// opensAhead says whether a blob is asked of its source before the destination
// asks for it: both are registries, so that each of them has to be waited for, and
// little is lost where the destination has it already. What can be mounted is not
// read at all, and what is large has to be asked for first.
func (c *copier) opensAhead(b store.Blob) bool {
	apart := c.opts.Host != "" && b.Home != "" && !strings.HasPrefix(b.Home, c.opts.Host+"/")
	return apart && b.Size >= 0 && b.Size <= largeBlob
}

// openAhead begins to open a blob. The first Open from its beginning takes what
// came; stop gives back what nobody took.
func openAhead(ctx context.Context, b store.Blob) (_ store.Blob, stop func()) {
	type opened struct {
		io.ReadCloser
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	open, ahead := b.Open, make(chan opened, 1)
	go func() {
		rc, err := open(ctx, 0)
		ahead <- opened{rc, err}
		close(ahead)
	}()
	b.Open = func(later context.Context, offset int64) (io.ReadCloser, error) {
		if offset == 0 {
			select {
			case o, first := <-ahead:
				if first {
					return o.ReadCloser, o.err
				}
			case <-later.Done():
				return nil, context.Cause(later)
			}
		}
		return open(later, offset)
	}
	return b, func() {
		cancel()
		if o, left := <-ahead; left && o.err == nil {
			o.Close()
		}
	}
}
