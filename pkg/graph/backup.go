package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

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

// Kept is a repository of a backup.
type Kept struct {
	Name string // "" where the backup is of one
	store.Store
}

// Backup copies repositories to where they are kept, and proves that they are
// whole there. What it has proven while it wrote it is not read again.
type Backup struct {
	opts BackupOptions
	*beside

	mu     sync.Mutex
	proven map[keptBlob]bool
}

// keptBlob is a blob in a repository. What another repository has under the same
// digest may be another file, and damaged.
type keptBlob struct {
	repository string
	digest     digest.Digest
}

// NewBackup begins a backup of one or many repositories. all lists those that the
// backup has; nil is none. It is asked when a blob is first needed, and only once.
func NewBackup(all func(context.Context) ([]Kept, error), opts BackupOptions) *Backup {
	return &Backup{opts: opts, beside: newBeside(all), proven: map[keptBlob]bool{}}
}

func (b *Backup) copyOptions() CopyOptions {
	return CopyOptions{
		Options:   Options{Concurrency: b.opts.Concurrency, Events: b.opts.Events},
		Referrers: b.opts.Referrers, mend: true,
		Together: true, // where it is kept is on this machine
	}
}

func (b *Backup) isProven(repository string, d digest.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proven[keptBlob{repository, d}]
}

func (b *Backup) markProven(repository string, d digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proven[keptBlob{repository, d}] = true
}

// Repository copies tags of src to dst, where they have the same names. A blob
// that a repository beside dst has is taken from there: dst can link it. Tags that
// are only at dst stay.
//
// Then everything under the tags is read at dst. What is damaged or gone is
// copied anew; what is not right then is ErrMismatch or ErrNotFound.
func (b *Backup) Repository(ctx context.Context, src store.Reader, dst Kept, tags []string) (BackupResult, error) {
	var roots []Root
	for _, tag := range tags {
		roots = append(roots, Root{Ref: tag, Tags: []string{tag}})
	}
	b.add(dst)
	k := &keeping{Backup: b, src: src, to: dst.Name, dst: proving{dst.Store, b, dst.Name}}
	all, err := CopyAll(ctx, nearest{src, k, false}, k.dst, roots, b.copyOptions())
	k.res.AllResult = all
	var some *FailedError
	if err != nil && !errors.As(err, &some) {
		return k.res, err
	}
	for batch := range slices.Chunk(k.res.Roots, batchSize) {
		if err := k.finish(ctx, batch); err != nil {
			return k.res, err
		}
	}
	return k.res, failedOf(k.res.Roots)
}

// keeping is a Backup at work on one repository.
type keeping struct {
	*Backup
	src store.Reader
	to  string // the name of dst
	dst proving
	res BackupResult
}

// finish proves what was copied, and mends it once.
func (k *keeping) finish(ctx context.Context, batch []RootResult) error {
	p := &proof{keeping: k}
	if err := p.prove(ctx, copied(batch)); err != nil {
		return err
	}
	if len(p.bad) > 0 || slices.ContainsFunc(batch, func(r RootResult) bool { return damagedThere(r.Err) }) {
		err := k.mend(ctx, p.bad, batch)
		if err == nil {
			err = p.prove(ctx, copied(batch))
		}
		if err != nil {
			return err
		}
	}
	for _, bad := range p.bad {
		return failAt(Destination, "prove", bad.desc, bad.err)
	}
	k.res.Reread += p.reread
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

// mend puts anew what is bad. A blob comes from a repository beside only where it
// was proven: the others may have the same damaged file.
func (k *keeping) mend(ctx context.Context, bad map[digest.Digest]badly, batch []RootResult) error {
	var again []Root
	var at []int // of batch
	w := newWalk(k.src, WalkOptions{Referrers: k.opts.Referrers, Subjects: true, Concurrency: k.opts.Concurrency})
	for i, r := range batch {
		if r.Err == nil || damagedThere(r.Err) {
			again, at = append(again, r.Root), append(at, i)
			if err := w.run(ctx, r.Desc); err != nil {
				return err
			}
		}
	}
	for _, node := range w.finish() {
		if err := k.mendManifest(ctx, node.Descriptor, func() (store.Manifest, error) { return node.Manifest, nil }); err != nil {
			return err
		}
	}
	if err := k.mendListed(ctx); err != nil {
		return err
	}
	for _, b := range bad {
		if b.manifest {
			continue
		}
		k.mended(b.desc, b.err)
		if err := k.dst.DeleteBlob(ctx, b.desc); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fail(Destination, "delete blob", b.desc, err)
		}
	}
	opts := k.copyOptions()
	opts.Force = true
	all, err := CopyAll(ctx, nearest{k.src, k, true}, k.dst, again, opts)
	var some *FailedError
	if err != nil && !errors.As(err, &some) {
		return err
	}
	for i, r := range all.Roots[:len(at)] {
		batch[at[i]] = r
	}
	return nil
}

// mendManifest puts a manifest anew where that in the backup is damaged or gone.
func (k *keeping) mendManifest(ctx context.Context, d store.Descriptor, read func() (store.Manifest, error)) error {
	_, damage := k.dst.Manifest(ctx, d.Digest.String())
	if !isDamage(damage) {
		return nil
	}
	m, err := read()
	if errors.Is(err, store.ErrNotFound) {
		return fail(Destination, "read manifest", d, fmt.Errorf("it is damaged in the backup, and the source has it no more: %w", damage))
	}
	if err != nil {
		return fail(Source, "read manifest", d, err)
	}
	k.mended(d, damage)
	return fail(Destination, "put manifest", d, k.dst.PutManifest(ctx, m))
}

// mendListed mends what the backup lists beside what was asked for: who refers to
// what can be told only where every manifest can be read. What is gone altogether
// is not looked for, as of what was deleted at the source nothing is.
func (k *keeping) mendListed(ctx context.Context) error {
	if !k.opts.Referrers {
		return nil
	}
	for d, err := range k.dst.Manifests(ctx) {
		if err != nil {
			return failAt(Destination, "list manifests", store.Descriptor{}, err)
		}
		if _, err := k.dst.Manifest(ctx, d.Digest.String()); errors.Is(err, store.ErrNotFound) {
			continue
		}
		err := k.mendManifest(ctx, d, func() (store.Manifest, error) { return k.src.Manifest(ctx, d.Digest.String()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// mended counts what is put anew, and tells of it.
func (k *keeping) mended(d store.Descriptor, err error) {
	k.res.Mended++
	k.opts.Events.Emit(store.Event{
		Kind: store.Warning, Desc: d, Name: store.NameOf(d),
		Text: fmt.Sprintf("%s is damaged in the backup (%v); it is fetched again", d.Digest, err),
	})
}
