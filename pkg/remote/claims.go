package remote

import (
	"context"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// claims are blobs that nobody sent, because the registry answered 201 to a mount
// of them. It is asked for one of them while the first manifest that needs it is
// put, which makes no round trip more; and for all of them where a manifest is
// refused. What it has not is sent, and the manifest is put again.
type claims struct {
	mu    sync.Mutex
	blobs map[digest.Digest]store.Blob // until a manifest that names them is there
	stood bool                         // one was looked for, and is there
	fell  bool                         // one was not: no mount is asked for any more
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

// of lists those that the manifest names, and whether one of them has to be looked
// for.
func (c *claims) of(m store.Manifest) (named []store.Blob, doubted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.blobs) == 0 {
		return nil, false
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, false
	}
	for _, d := range o.Blobs() {
		if b, claimed := c.blobs[d.Digest]; claimed {
			named = append(named, b)
		}
	}
	return named, !c.stood && len(named) > 0
}

// stand notes that nothing was found against a claim that was looked at.
func (c *claims) stand() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood = true
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

// putProven is putOnce, and once more where the registry lacks blobs that it said it
// had. A tag may then have named the manifest for the moment that it takes to send
// them: to ask first would cost every push and copy a round trip.
func (r *repository) putProven(ctx context.Context, m store.Manifest, req wire.Request) (resp *http.Response, err error) {
	blobs, doubted := r.claims.of(m)
	put := func() { resp, err = r.putOnce(ctx, m, req, false) }
	missing := false
	if doubted {
		missing = r.lookWhile(ctx, blobs, put)
	} else {
		put()
	}
	refused := statusOf(err, http.StatusBadRequest, http.StatusNotFound) != nil
	if len(blobs) > 0 && (missing || refused) {
		sent, lost := r.mend(ctx, blobs)
		if lost != nil {
			return nil, lost
		}
		if sent {
			put()
		}
	}
	if err == nil {
		for _, b := range blobs {
			r.claims.forget(b.Digest)
		}
	}
	return resp, err
}

// lookWhile does put, and says whether one of the blobs is missing. It asks for the
// largest: the smallest is often the empty config, which many have.
func (r *repository) lookWhile(ctx context.Context, blobs []store.Blob, put func()) (missing bool) {
	largest := blobs[0]
	for _, b := range blobs {
		if b.Size > largest.Size {
			largest = b
		}
	}
	var look sync.WaitGroup
	look.Go(func() { missing = r.lacks(ctx, largest.Digest) })
	put()
	look.Wait()
	return missing
}

// lacks says whether the registry says that it does not have the blob. Any other
// answer is nothing against what it said before.
func (r *repository) lacks(ctx context.Context, d digest.Digest) bool {
	req := r.request(wire.BlobHead)
	req.Digest = d
	resp, err := r.client.do(ctx, call{Request: req, Once: true, Want: []int{http.StatusOK}})
	if err == nil {
		resp.Body.Close()
	}
	missing := statusOf(err, http.StatusNotFound) != nil
	if !missing {
		r.claims.stand()
	}
	return missing
}

// mend sends those of the blobs that the registry lacks, and says whether there
// were any.
func (r *repository) mend(ctx context.Context, blobs []store.Blob) (sent bool, err error) {
	for _, b := range blobs {
		one, err := r.mendOne(ctx, b)
		if err != nil {
			return false, err
		}
		sent = sent || one
	}
	return sent, nil
}

func (r *repository) mendOne(ctx context.Context, b store.Blob) (sent bool, err error) {
	unlock, err := r.flights.lock(ctx, b.Digest)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !r.lacks(ctx, b.Digest) {
		return false, nil
	}
	r.claims.fall()
	choice, reason := chooseMount(nil, true)
	r.fallback(choice, reason)
	if _, err := r.putNamed(ctx, b); err != nil {
		return false, err
	}
	r.claims.forget(b.Digest)
	return true, nil
}
