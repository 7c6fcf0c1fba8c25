package remote

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// claims are blobs that nobody sent, because the registry answered 201 to a mount
// of them. It is asked for each of them once: before a manifest that needs it gets a
// tag, which is a round trip, and while one is put by digest, which is none. What it
// has not is sent. No claim vouches for another.
type claims struct {
	mu    sync.Mutex
	blobs map[digest.Digest]store.Blob // until they were looked for
	fell  bool                         // one was not there: no mount is asked for any more
}

// add keeps what is needed to send the blob after all.
func (c *claims) add(b store.Blob) {
	b.Descriptor = store.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blobs == nil {
		c.blobs = map[digest.Digest]store.Blob{}
	}
	c.blobs[b.Digest] = b
}

func (c *claims) forget(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.blobs, d)
}

func (c *claims) has(d digest.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, claimed := c.blobs[d]
	return claimed
}

// of lists those that the manifest names.
func (c *claims) of(m store.Manifest) (named []store.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.blobs) == 0 {
		return nil
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil
	}
	for _, d := range o.Blobs() {
		if b, claimed := c.blobs[d.Digest]; claimed {
			named = append(named, b)
		}
	}
	return named
}

// fall notes that a claim was false.
func (c *claims) fall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fell = true
}

// believed says whether it is of use to ask for a mount.
func (c *claims) believed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.fell
}

// putProven is putOnce, when the registry has the blobs that it said it had. By its
// digest alone a manifest can be put meanwhile, and once more where blobs had to be
// sent; a tag comes after what it needs.
func (r *repository) putProven(ctx context.Context, m store.Manifest, req wire.Request) (resp *http.Response, err error) {
	blobs := r.claims.of(m)
	put := func() { resp, err = r.putOnce(ctx, m, req, false) }
	if tagged := len(req.Tags) > 0 || !store.IsDigest(req.Ref); tagged || len(blobs) == 0 {
		if _, err := r.mend(ctx, blobs); err != nil {
			return nil, err
		}
		put()
		return resp, err
	}
	var sent bool
	var lost error
	var mending sync.WaitGroup
	mending.Go(func() { sent, lost = r.mend(ctx, blobs) })
	put()
	mending.Wait()
	if lost != nil {
		return nil, lost
	}
	if sent {
		put()
	}
	return resp, err
}

// mendAtOnce bounds the blobs of a manifest that are looked for at once; the pace of
// the origin does more.
const mendAtOnce = 64

// mend looks for blobs, sends those that the registry lacks, and says whether there
// were any.
func (r *repository) mend(ctx context.Context, blobs []store.Blob) (bool, error) {
	var sent atomic.Bool
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(mendAtOnce)
	for _, b := range blobs {
		group.Go(func() error {
			one, err := r.mendOne(gctx, b)
			if one {
				sent.Store(true)
			}
			return err
		})
	}
	err := group.Wait()
	return sent.Load(), err
}

// mendOne sends a blob that the registry lacks, unless another manifest has seen to
// that. Then it has only just come, and this manifest may have been too early.
func (r *repository) mendOne(ctx context.Context, b store.Blob) (sent bool, err error) {
	unlock, err := r.flights.lock(ctx, b.Digest)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !r.claims.has(b.Digest) {
		return !r.claims.believed(), nil
	}
	missing, err := r.lacks(ctx, b.Digest)
	if err != nil {
		return false, err
	}
	if missing {
		r.claims.fall()
		choice, reason := chooseMount(nil, true)
		r.fallback(choice, reason)
		if _, err := r.putNamed(ctx, b); err != nil {
			return false, err
		}
	}
	r.claims.forget(b.Digest)
	return missing, nil
}

// lacks says whether the registry says that it does not have the blob. One that does
// not let itself be asked has said nothing against what it said before.
func (r *repository) lacks(ctx context.Context, d digest.Digest) (bool, error) {
	req := r.request(wire.BlobHead)
	req.Digest = d
	resp, err := r.client.do(ctx, call{Request: req, Want: []int{http.StatusOK}})
	switch {
	case err == nil:
		resp.Body.Close()
	case statusOf(err, http.StatusNotFound) != nil:
		return true, nil
	case ctx.Err() != nil, errors.Is(err, store.ErrUnavailable):
		return false, err
	}
	return false, nil
}
