package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// BackupOptions say what a Backup takes along, and how it is proven.
type BackupOptions struct {
	Referrers   bool // what refers to the tagged manifests, to their children, and so on
	Concurrency int  // blobs and manifests at once; 0 is DefaultConcurrency
	Events      store.Sink
	// Shallow only looks whether what was there before is there with its size;
	// without it the bytes are read again. What is written is always proven.
	Shallow bool
}

// BackupResult is what came of a repository.
type BackupResult struct {
	AllResult
	Reread int // blobs that were there before, read again and proven
	Mended int // blobs and manifests that were damaged or gone, and were put again
}

// Backup copies repositories to where they are kept, and proves that they are
// whole there. What it has proven while it wrote it is not read again.
type Backup struct {
	opts BackupOptions

	mu     sync.Mutex
	proven map[digest.Digest]bool
}

// NewBackup begins a backup of one or many repositories.
func NewBackup(opts BackupOptions) *Backup {
	return &Backup{opts: opts, proven: map[digest.Digest]bool{}}
}

func (b *Backup) copyOptions() CopyOptions {
	return CopyOptions{
		Options: Options{Concurrency: b.opts.Concurrency, Events: b.opts.Events}, Referrers: b.opts.Referrers,
		Together: true, // where it is kept is on this machine
	}
}

// Repository copies tags of src to dst, where they have the same names. A blob
// that one of others has, the repositories beside dst, is taken from there: dst
// can link it. Tags that are only at dst stay.
//
// Then everything under the tags is read at dst. What is damaged or gone is
// copied anew; what is not right then is ErrMismatch or ErrNotFound.
func (b *Backup) Repository(ctx context.Context, src store.Reader, dst store.Store, others []store.Reader, tags []string) (BackupResult, error) {
	var roots []Root
	for _, tag := range tags {
		roots = append(roots, Root{Ref: tag, Tags: []string{tag}})
	}
	to := proving{dst, b}
	all, err := CopyAll(ctx, nearest{src, others}, to, roots, b.copyOptions())
	res := BackupResult{AllResult: all}
	var some *FailedError
	if err != nil && !errors.As(err, &some) {
		return res, err
	}
	for batch := range slices.Chunk(res.Roots, batchSize) {
		if err := b.proveBatch(ctx, src, &proof{Backup: b, dst: to}, batch, &res); err != nil {
			return res, err
		}
	}
	return res, failedOf(res.Roots)
}

// proveBatch proves what was copied, and mends it once.
func (b *Backup) proveBatch(ctx context.Context, src store.Reader, p *proof, batch []RootResult, res *BackupResult) error {
	if err := p.prove(ctx, copied(batch)); err != nil {
		return err
	}
	if len(p.bad) > 0 || slices.ContainsFunc(batch, func(r RootResult) bool { return damagedThere(r.Err) }) {
		n, err := b.mend(ctx, src, p, batch)
		res.Mended += n
		if err == nil {
			err = p.prove(ctx, copied(batch))
		}
		if err != nil {
			return err
		}
	}
	for _, bad := range p.bad {
		return fail(Destination, "prove", bad.desc, bad.err)
	}
	res.Reread += p.reread
	return nil
}

// copied are the roots that did not fail.
func copied(roots []RootResult) []RootResult {
	return slices.DeleteFunc(slices.Clone(roots), func(r RootResult) bool { return r.Err != nil })
}

// isDamage says whether an error is about content that is not as it should be.
func isDamage(err error) bool {
	return errors.Is(err, store.ErrMismatch) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid)
}

// damagedThere says whether an artifact was not copied because something in the
// backup is damaged: a list of referrers, say, cannot be read then.
func damagedThere(err error) bool {
	var at *Error
	return errors.As(err, &at) && at.Side == Destination && isDamage(err)
}

// mend puts anew what is bad, from the source alone: the copy beside it may be
// the same damaged file. It counts what was.
func (b *Backup) mend(ctx context.Context, src store.Reader, p *proof, batch []RootResult) (n int, err error) {
	var again []Root
	var at []int // of batch
	w := newWalk(src, WalkOptions{Referrers: b.opts.Referrers, Subjects: true, Concurrency: b.opts.Concurrency})
	for i, r := range batch {
		if r.Err == nil || damagedThere(r.Err) {
			again, at = append(again, r.Root), append(at, i)
			if err := w.run(ctx, r.Desc); err != nil {
				return n, err
			}
		}
	}
	for _, node := range w.finish() {
		if _, err := p.dst.Manifest(ctx, node.Digest.String()); isDamage(err) {
			n++
			b.tell(node.Descriptor, err)
			if err := p.dst.PutManifest(ctx, node.Manifest); err != nil {
				return n, fail(Destination, "put manifest", node.Descriptor, err)
			}
		}
	}
	for _, bad := range p.bad {
		if bad.manifest {
			continue
		}
		n++
		b.tell(bad.desc, bad.err)
		if err := p.dst.DeleteBlob(ctx, bad.desc); err != nil && !errors.Is(err, store.ErrNotFound) {
			return n, fail(Destination, "delete blob", bad.desc, err)
		}
	}
	opts := b.copyOptions()
	opts.Force = true
	all, err := CopyAll(ctx, src, p.dst, again, opts)
	var some *FailedError
	if err != nil && !errors.As(err, &some) {
		return n, err
	}
	for i, r := range all.Roots[:len(at)] {
		batch[at[i]] = r
	}
	return n, nil
}

func (b *Backup) tell(d store.Descriptor, err error) {
	b.opts.Events.Emit(store.Event{
		Kind: store.Warning, Desc: d, Name: store.NameOf(d),
		Text: fmt.Sprintf("%s is damaged in the backup (%v); it is fetched again", d.Digest, err),
	})
}

// nearest is a source whose blobs come from elsewhere where they lie nearer.
type nearest struct {
	store.Reader
	others []store.Reader
}

func (n nearest) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	for _, o := range n.others {
		// With the size given, absence might be told only by Open.
		b, err := o.Blob(ctx, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: store.UnknownSize})
		if err == nil && (d.Size < 0 || b.Size == d.Size) {
			return b, nil
		}
	}
	return n.Reader.Blob(ctx, d)
}

// proving is a destination that keeps in mind what it proved while taking it.
type proving struct {
	store.Store
	b *Backup
}

func (p proving) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	put, err := p.Store.PutBlob(ctx, b)
	if err == nil && put.How == store.Sent {
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		p.b.proven[put.Digest] = true
	}
	return put, err
}

// proof reads a backup.
type proof struct {
	*Backup
	dst    proving
	bad    map[digest.Digest]badly // guarded by mu
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
	p.mu.Lock()
	defer p.mu.Unlock()
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
		return fail(Destination, "read", store.Descriptor{}, err)
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
	return group.Wait()
}

func (p *proof) blob(ctx context.Context, d store.Descriptor) error {
	p.mu.Lock()
	proven := p.proven[d.Digest]
	p.mu.Unlock()
	if proven {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven[d.Digest] = true
	p.reread++
	return nil
}
