// Package storetest is the suite that every store and every wrapper passes: it
// says in code what the comments of store.Store say in words.
//
// It knows no store. A test opens its own and calls Run; what a registry that
// others wrote lacks is told by Limits.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// Open gives an empty store, another one at each call, and closes with
// t.Cleanup what has to be closed beside the store itself.
type Open func(t *testing.T) store.Store

// Limits are what a store cannot do by its nature, or what a registry that
// others wrote gets wrong. The zero value is a store that can do everything.
type Limits struct {
	NoSHA512            bool // takes no content named by sha512
	NoEmptyBlob         bool // takes no blob of zero bytes
	NoBlobDelete        bool
	NoManifestDelete    bool
	NoTagDelete         bool // cannot remove a tag alone
	NoArtifactManifests bool // takes no application/vnd.oci.artifact.manifest.v1+json
	NoUnknownManifests  bool // takes no manifest of a media type that it does not know
	NoReferrers         bool // takes no manifests with a subject, or cannot list them
	NoAbsentSubject     bool // takes no manifest whose subject is not there
	NoTypeFromConfig    bool // lists referrers without the artifactType that their config has
	NoCancel            bool // may succeed although its context has ended
	Writers             int  // how many write at a time; 0 is 16

	// Skip names tests, as "group/what a store does", that a registry fails
	// by a fault of its own, each with what it does instead.
	Skip map[string]string
}

// Run tests a store that can do everything.
func Run(t *testing.T, open Open) { RunWith(t, open, Limits{}) }

// RunWith tests a store within its limits.
func RunWith(t *testing.T, open Open, limits Limits) {
	if limits.Writers == 0 {
		limits.Writers = 16
	}
	unused := maps.Clone(limits.Skip)
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"blobs", blobTests()},
		{"manifests", manifestTests()},
		{"tags", tagTests()},
		{"referrers", referrerTests()},
		{"deletes", deleteTests()},
		{"concurrency", concurrencyTests()},
		{"cancel", cancelTests()},
	} {
		for _, tc := range group.tests {
			delete(unused, group.name+"/"+tc.name)
		}
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.tests {
				name := group.name + "/" + tc.name
				t.Run(tc.name, func(t *testing.T) {
					if why, ok := limits.Skip[name]; ok {
						t.Skip(why)
					}
					if tc.skip != nil && tc.skip(limits) {
						t.Skip("beyond the limits of this store")
					}
					s := open(t)
					t.Cleanup(func() {
						if err := s.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					})
					tc.run(&fixture{T: t, ctx: t.Context(), Store: s, limits: limits})
				})
			}
		})
	}
	for name := range unused {
		t.Errorf("Skip names %q, which is no test", name)
	}
}

// test is one behaviour. Its name ends the sentence "a store …".
type test struct {
	name string
	run  func(f *fixture)
	skip func(Limits) bool
}

// fixture is a store under test with the verbs that tests are written in.
// Every verb fails the test where it does not succeed.
type fixture struct {
	*testing.T
	store.Store
	ctx    context.Context
	limits Limits
}

const (
	typeText     = "text/plain"
	typeSBOM     = "application/vnd.example.sbom"
	typeSig      = "application/vnd.example.signature"
	typeArtifact = "application/vnd.example.artifact"
)

func (f *fixture) ok(err error, doing string) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", doing, err)
	}
}

// wants asserts the sentinel of an error.
func (f *fixture) wants(err, want error, doing string) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("%s: got %v, want %v", doing, err, want)
	}
}

// putBlob puts content and asserts what Put says of it.
func (f *fixture) putBlob(content string) store.Descriptor {
	f.Helper()
	b := store.NewBlob(typeText, []byte(content))
	put, err := f.PutBlob(f.ctx, b)
	f.ok(err, "PutBlob")
	f.same(b.Descriptor, put.Descriptor)
	return b.Descriptor
}

// same compares what identifies content: digest and size.
func (f *fixture) same(want, got store.Descriptor) {
	f.Helper()
	if want.Digest != got.Digest || want.Size != got.Size {
		f.Fatalf("got %s of %d bytes, want %s of %d bytes", got.Digest, got.Size, want.Digest, want.Size)
	}
}

// holds asserts that the store gives back the content of d.
func (f *fixture) holds(d store.Descriptor, content string) {
	f.Helper()
	if got := f.read(d, 0); got != content {
		f.Fatalf("blob %s: got %d bytes %.40q, want %d bytes %.40q", d.Digest, len(got), got, len(content), content)
	}
}

func (f *fixture) read(d store.Descriptor, offset int64) string {
	f.Helper()
	b, err := f.Blob(f.ctx, d)
	f.ok(err, "Blob")
	f.same(d, b.Descriptor)
	rc, err := b.Open(f.ctx, offset)
	f.ok(err, "Open")
	raw, err := io.ReadAll(rc)
	f.ok(err, "Read")
	f.ok(rc.Close(), "Close")
	return string(raw)
}

// lacks asserts that the store answers the question whether d exists with no.
func (f *fixture) lacks(d digest.Digest) {
	f.Helper()
	_, err := f.Blob(f.ctx, store.Descriptor{Digest: d, Size: store.UnknownSize})
	f.wants(err, store.ErrNotFound, "Blob of an absent digest")
}

// image makes an image manifest of text layers, and puts its blobs.
func (f *fixture) image(artifactType string, subject *store.Descriptor, notes map[string]string, layers ...string) store.Manifest {
	f.Helper()
	f.putBlob("{}")
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Config: store.Plain(store.EmptyJSON()),
		Layers: []store.Descriptor{}, Subject: subject, Annotations: notes,
	}
	m.SchemaVersion = 2
	if len(layers) == 0 {
		layers = []string{"layer"}
	}
	for _, content := range layers {
		m.Layers = append(m.Layers, f.putBlob(content))
	}
	return f.encode(m.MediaType, m)
}

func (f *fixture) encode(mediaType string, v any) store.Manifest {
	f.Helper()
	raw, err := json.Marshal(v)
	f.ok(err, "Marshal")
	return store.NewManifest(mediaType, raw)
}

// put puts a manifest and gives it back.
func (f *fixture) put(m store.Manifest, tags ...string) store.Manifest {
	f.Helper()
	f.ok(f.PutManifest(f.ctx, m, tags...), "PutManifest "+strings.Join(tags, ","))
	return m
}

// names asserts that ref leads to the very bytes of m, and Resolve to the same.
func (f *fixture) names(ref string, m store.Manifest) {
	f.Helper()
	got, err := f.Manifest(f.ctx, ref)
	f.ok(err, "Manifest "+ref)
	if diff := cmp.Diff(string(m.Raw), string(got.Raw)); diff != "" {
		f.Fatalf("Manifest %s: other bytes (-want +got):\n%s", ref, diff)
	}
	if diff := cmp.Diff(store.Plain(m.Descriptor), store.Plain(got.Descriptor)); diff != "" {
		f.Fatalf("Manifest %s: other descriptor (-want +got):\n%s", ref, diff)
	}
	d, err := f.Resolve(f.ctx, ref)
	f.ok(err, "Resolve "+ref)
	if diff := cmp.Diff(store.Plain(got.Descriptor), store.Plain(d)); diff != "" {
		f.Fatalf("Resolve %s: not the descriptor of Manifest (-want +got):\n%s", ref, diff)
	}
}

// unknown asserts that ref leads nowhere.
func (f *fixture) unknown(ref string) {
	f.Helper()
	_, err := f.Resolve(f.ctx, ref)
	f.wants(err, store.ErrNotFound, "Resolve "+ref)
	_, err = f.Manifest(f.ctx, ref)
	f.wants(err, store.ErrNotFound, "Manifest "+ref)
}

func (f *fixture) tags(after string) []string {
	f.Helper()
	tags, err := store.Collect(f.Tags(f.ctx, after))
	f.ok(err, "Tags")
	return tags
}
