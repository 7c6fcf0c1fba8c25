package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// proving is a destination that keeps in mind what it proved while taking it.
type proving struct {
	store.Store
	b    *Backup
	name string
}

// PutBlob proves what it reads. What is linked is the file of a repository beside:
// the same, proven or not.
func (p proving) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	put, err := p.Store.PutBlob(ctx, b)
	if err != nil {
		return put, err
	}
	holder, _ := p.b.holder(put.Digest)
	if put.How == store.Sent || put.How == store.Mounted && p.b.isProven(holder.Name, put.Digest) {
		p.b.markProven(p.name, put.Digest)
	}
	return put, nil
}

// proof reads a backup.
type proof struct {
	*keeping

	at     sync.Mutex // both below
	bad    map[digest.Digest]badly
	reread int
}

type badly struct {
	desc     store.Descriptor
	manifest bool
	err      error
}

// note keeps what is damaged or gone; any other error ends the proof.
func (p *proof) note(d store.Descriptor, manifest bool, err error) error {
	if !isDamage(err) {
		return err
	}
	p.at.Lock()
	defer p.at.Unlock()
	p.bad[d.Digest] = badly{d, manifest, err}
	return nil
}

// prove reads everything under the roots, but for what was proven.
func (p *proof) prove(ctx context.Context, roots []RootResult) error {
	p.bad = map[digest.Digest]badly{}
	w := newWalk(p.dst, WalkOptions{Referrers: p.opts.Referrers, Subjects: true, Concurrency: p.opts.Concurrency})
	w.failed = func(d store.Descriptor, err error) error { return p.note(d, true, err) }
	var top []store.Descriptor
	for _, r := range roots {
		for _, tag := range r.Tags {
			d, err := p.dst.Resolve(ctx, tag)
			if err == nil && d.Digest != r.Desc.Digest {
				err = store.Mismatch("the tag %q names %s, expected %s: somebody else writes this backup", tag, d.Digest, r.Desc.Digest)
			}
			if err != nil && p.note(r.Desc, true, err) != nil {
				return fail(Destination, fmt.Sprintf("resolve %q", tag), store.Descriptor{}, err)
			}
		}
		top = append(top, r.Desc)
	}
	if err := w.run(ctx, top...); err != nil {
		return failAt(Destination, "read", store.Descriptor{}, err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(p.copyOptions().limit())
	seen := map[digest.Digest]bool{}
	for _, n := range w.finish() {
		for _, d := range n.Blobs() {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				group.Go(func() error { return p.blob(gctx, d) })
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for d := range seen {
		if p.bad[d].err == nil {
			p.has(p.to, d, p.isProven(p.to, d))
		}
	}
	return nil
}

func (p *proof) blob(ctx context.Context, d store.Descriptor) error {
	if p.isProven(p.to, d.Digest) {
		return nil
	}
	err := p.readBlob(ctx, d)
	if errors.Is(err, store.ErrNotFound) && len(d.URLs) > 0 {
		return nil // a foreign layer, which CopyAll told of
	}
	if err != nil && p.note(d, false, err) != nil {
		return fail(Destination, "read blob", d, err)
	}
	return nil
}

func (p *proof) readBlob(ctx context.Context, d store.Descriptor) error {
	b, err := p.dst.Blob(ctx, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: store.UnknownSize})
	if err != nil {
		return err
	}
	if d.Size >= 0 && b.Size != d.Size {
		return store.Mismatch("it has %d bytes, expected %d", b.Size, d.Size)
	}
	if p.opts.Shallow {
		return nil
	}
	rc, err := store.VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	if _, err := io.Copy(io.Discard, rc); err != nil {
		return err
	}
	p.markProven(p.to, d.Digest)
	p.at.Lock()
	defer p.at.Unlock()
	p.reread++
	return nil
}
