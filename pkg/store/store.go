// Package store says what a store of OCI content is: a place that holds blobs
// and manifests by digest, names manifests by tag, and can list what refers to
// what. A repository of a registry is a store, an OCI image layout is one, a
// map in memory is one.
//
// The package holds the contract and what every store shares: references,
// sentinel errors, events, wrappers. It opens nothing itself; pkg/local and
// pkg/remote do. What the contract means in practice is tested by
// storetest.Run, which every store and every wrapper passes.
package store

import (
	"bytes"
	"context"
	"io"
	"iter"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor names content by media type, digest and size in bytes
// (image-spec descriptor.md).
type Descriptor = ocispec.Descriptor

// Manifest is the exact bytes of a manifest or index and the descriptor that
// names them. Raw is never re-encoded: another spacing is another digest.
type Manifest struct {
	Descriptor
	Raw []byte
}

// NewManifest names raw by its sha256 digest.
func NewManifest(mediaType string, raw []byte) Manifest {
	return Manifest{
		Descriptor: Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Raw:        raw,
	}
}

// UnknownSize stands in Descriptor.Size where the size of a blob is not known.
const UnknownSize int64 = -1

// Blob is content that can be opened again, at an offset in bytes, so that a
// cut transfer can go on.
//
// An empty Digest means that the digest is learnt by reading: the store that
// takes such a blob hashes what passes and says in Put what it was. Its Size
// may be UnknownSize as well.
type Blob struct {
	Descriptor
	Open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	Home string // "host/repository" that already holds it, or "": the chance to mount, as data
}

// NewBlob is a blob over bytes in memory, named by their sha256 digest.
func NewBlob(mediaType string, raw []byte) Blob {
	return Blob{
		Descriptor: Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
			if offset < 0 || offset > int64(len(raw)) {
				return nil, ErrRange
			}
			return io.NopCloser(bytes.NewReader(raw[offset:])), nil
		},
	}
}

// How says how a blob came to be in a store.
type How string

// The ways in which a blob comes to be in a store.
const (
	Sent    How = "sent"    // its bytes were transferred
	Mounted How = "mounted" // the store linked it from another repository
	Present How = "present" // it was there before
)

// Put is the outcome of PutBlob: what is now in the store, and how it got there.
type Put struct {
	Descriptor
	How How
}

// Reader reads a store. Absent content is ErrNotFound in every method. A ref
// is a tag or a digest.
type Reader interface {
	// Resolve gives media type, digest and size of the manifest that ref names.
	Resolve(ctx context.Context, ref string) (Descriptor, error)

	// Manifest gives the manifest that ref names. Where ref is a digest, the
	// bytes have that digest, or the error is ErrMismatch.
	Manifest(ctx context.Context, ref string) (Manifest, error)

	// Blob gives the blob d. Where d.Size is UnknownSize the store finds it
	// out, so this is also the question whether a blob exists; where the size
	// is given, absence may be told only by Open.
	Blob(ctx context.Context, d Descriptor) (Blob, error)

	// Tags lists all tags after the tag `after` in the store's own order; ""
	// lists from the beginning. An error ends the list.
	Tags(ctx context.Context, after string) iter.Seq2[string, error]

	// Manifests lists the manifests that the store knows without being given a
	// tag or digest: at least those to which neither leads. One that is listed
	// may be damaged, or absent. A tag that names it may stand in its annotation
	// org.opencontainers.image.ref.name. Registries cannot tell: ErrUnsupported.
	Manifests(ctx context.Context) iter.Seq2[Descriptor, error]

	// Referrers lists the manifests whose subject is the digest, filtered by
	// artifactType unless that is "". Nothing refers to absent content, so
	// an unknown subject is an empty list. An error ends the list.
	Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[Descriptor, error]
}

// Writer adds to a store. Adding what is already there succeeds.
type Writer interface {
	// PutBlob adds a blob. Bytes that do not have b's digest and size are
	// ErrMismatch, and the store is as it was.
	PutBlob(ctx context.Context, b Blob) (Put, error)

	// PutManifest adds a manifest, then points every tag at it. Bytes that do
	// not have m's digest are ErrMismatch. Without a tag the manifest is
	// there by digest alone.
	PutManifest(ctx context.Context, m Manifest, tags ...string) error

	// Swap is PutManifest for a change of what tag names: it puts m and points
	// tag at it only if tag names old, and is ErrMoved where somebody else has
	// pointed it elsewhere meanwhile. With m the same as old it only proves that.
	// No registry has a conditional PUT: there the tag is looked at just before,
	// and read back after a moment in which others may have written over it.
	Swap(ctx context.Context, m Manifest, tag string, old digest.Digest) error

	// Takes says whether the store takes manifests of a media type, and how
	// that is known. A registry may be asked by a write that it has to refuse,
	// so it is asked only about what the caller means to put. Unknown is an
	// answer, not an error; nothing is stored.
	Takes(ctx context.Context, mediaType string) (Finding, error)
}

// Deleter takes from a store. Absent content is ErrNotFound; a store that
// cannot delete says ErrUnsupported.
type Deleter interface {
	DeleteBlob(ctx context.Context, d Descriptor) error

	// DeleteManifest removes the manifest and every tag that points at it.
	DeleteManifest(ctx context.Context, d Descriptor) error

	// Untag removes the tag and nothing else.
	Untag(ctx context.Context, tag string) error
}

// Store is one repository of content.
type Store interface {
	Reader
	Writer
	Deleter

	// Support says what the store can do, as far as is known now. It asks
	// nobody; remote.Probe does.
	Support() Support

	io.Closer
}

// Registry is a set of stores by repository name.
type Registry interface {
	// Repositories lists all repository names after `after`.
	Repositories(ctx context.Context, after string) iter.Seq2[string, error]

	// Repository gives the store of a repository. Whether it exists shows
	// when it is used; writing to it creates it.
	Repository(ctx context.Context, name string) (Store, error)

	io.Closer
}
