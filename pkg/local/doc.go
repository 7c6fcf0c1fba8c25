// Package local holds the stores on this machine: a map in memory, an OCI
// image layout in a directory, and registries made of many of either.
//
// A store proves the bytes that go into it and trusts the ones that lie in it:
// who reads wraps it with store.Verify. The package knows no network and no
// flags, and it never prints.
package local

import (
	"context"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// copyBuffer is how many bytes of a blob are in memory at a time. A server has one
// for each upload that is open, also where its client is long gone.
const copyBuffer = 32 << 10

// maxManifest bounds what is read as a manifest. Registries stop at 4 MiB
// (distribution-spec, "Pushing Manifests"); a layout may hold larger ones, but
// a blob of gigabytes is not read to see whether it is one.
const maxManifest = 64 << 20

// take copies r to w and proves it: the result is want with the digest and
// the size that the bytes have. Bytes that are not want's are ErrMismatch; an
// error of r is handed on. An empty digest is learnt as sha256.
func take(ctx context.Context, w io.Writer, r io.Reader, want store.Descriptor) (store.Descriptor, error) {
	algorithm := digest.Canonical
	if want.Digest != "" {
		if err := store.CheckDigest(want.Digest); err != nil {
			return want, err
		}
		algorithm = want.Digest.Algorithm()
	}
	hash := algorithm.Hash()
	r = contextReader{ctx, r}
	if want.Size >= 0 {
		r = io.LimitReader(r, want.Size+1) // one byte more shows that it is too long
	}
	n, err := io.CopyBuffer(io.MultiWriter(w, hash), r, make([]byte, copyBuffer))
	if err != nil {
		return want, err
	}
	if want.Size >= 0 && n > want.Size {
		return want, store.Mismatch("%s is longer than %d bytes", nameOf(want), want.Size)
	}
	if want.Size >= 0 && n < want.Size {
		return want, store.Mismatch("%s ends after %d of %d bytes", nameOf(want), n, want.Size)
	}
	got := digest.NewDigest(algorithm, hash)
	if want.Digest != "" && got != want.Digest {
		return want, store.Mismatch("expected %s, got %s", want.Digest, got)
	}
	want.Digest, want.Size = got, n
	return want, nil
}

// nameOf names content in an error, also where its digest is not yet known.
func nameOf(d store.Descriptor) string {
	if d.Digest != "" {
		return d.Digest.String()
	}
	return fmt.Sprintf("%q", store.NameOf(d))
}

// contextReader ends when its context does. It has only Read, so that a copy
// passes through it piece by piece.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// contextReadCloser is contextReader for content that is given out.
type contextReadCloser struct {
	contextReader
	io.Closer
}

// checkManifest says whether a store takes m under these tags, and what m says
// of itself. The outline is nil where the media type is not one that stet can
// read: such a manifest is kept as it is.
func checkManifest(m store.Manifest, tags []string) (*store.Outline, error) {
	if err := store.CheckManifest(m, m.Digest); err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if tag == "" || store.IsDigest(tag) || !utf8.ValidString(tag) {
			return nil, &store.RefError{Ref: tag, Reason: "not a tag"}
		}
	}
	if m.MediaType == "" {
		return nil, fmt.Errorf("%w: manifest %s has no media type", store.ErrInvalid, m.Digest)
	}
	if !store.IsManifestType(m.MediaType) {
		return nil, nil
	}
	return store.ParseOutline(m)
}

// referrer is how m is listed among the referrers of its subject
// (distribution-spec, "Listing Referrers").
func referrer(m store.Descriptor, o *store.Outline) store.Descriptor {
	d := store.Plain(m)
	d.ArtifactType, d.Annotations = o.ArtifactType, o.Annotations
	return d
}

// support is what every store on this machine can do. What has a meaning only
// on the wire, such as chunked uploads, is not in it.
func support(mount store.Answer) store.Support {
	s := store.Support{store.AbilityMount: {Answer: mount}}
	for _, a := range []store.Ability{
		store.AbilityReferrersAPI, store.AbilityReferrersFilter, store.AbilityOCISubject, store.AbilityArtifactManifests,
		store.AbilityORASArtifactManifests, store.AbilityArtifactType, store.AbilityEmptyLayers, store.AbilityNestedIndex,
		store.AbilityTagDelete, store.AbilityManifestDelete, store.AbilityBlobDelete,
		store.AbilityRanges, store.AbilitySHA512, store.AbilityMultiTag, store.AbilityMaxManifest,
	} {
		s[a] = store.Finding{Answer: store.Yes}
	}
	return s
}

// takesAll is what stores on this machine answer to Takes: an OCI layout must
// not refuse a media type that it does not know (image-spec image-layout.md,
// "index.json file"), and memory does as layouts do.
func takesAll() store.Finding {
	return store.Finding{Answer: store.Yes, Evidence: store.Evidence{Note: "a local store takes every media type"}}
}
