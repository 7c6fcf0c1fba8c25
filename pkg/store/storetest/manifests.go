package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

func manifestTests() []test {
	return []test{
		{name: "names a manifest by tag and digest", run: manifestByTag},
		{name: "keeps a manifest without a tag", run: manifestByDigest},
		{name: "keeps every byte of a manifest", run: manifestOddBytes},
		{name: "points several tags at a manifest", run: manifestTags},
		{name: "moves a tag and keeps what it left", run: manifestRetag},
		{name: "takes a manifest twice", run: manifestTwice},
		{name: "moves a tag from what it named", run: manifestSwap},
		{name: "does not move a tag that somebody else has moved", run: manifestMoved},
		{name: "lists manifests that no tag names", run: manifestList},
		{name: "tags a manifest that is there", run: manifestTagLater},
		{name: "refuses bytes of another digest", run: manifestMismatch},
		{name: "does not find what is not there", run: manifestAbsent},
		{name: "does not find a blob as a manifest", run: manifestNotBlob},
		{name: "takes an index", run: indexManifest},
		{name: "names a manifest by sha512", run: manifestSHA512, skip: func(l Limits) bool { return l.NoSHA512 }},
		{name: "takes an artifact manifest", run: artifactManifest, skip: func(l Limits) bool { return l.NoArtifactManifests }},
		{name: "takes a manifest of an unknown kind", run: unknownManifest, skip: func(l Limits) bool { return l.NoUnknownManifests }},
	}
}

func manifestByTag(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	f.names("v1", m)
	f.names(m.Digest.String(), m)
}

func manifestByDigest(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil))
	f.names(m.Digest.String(), m)
	if tags := f.tags(""); len(tags) > 0 {
		f.Errorf("tags %q, want none", tags)
	}
}

// odd is a manifest that no encoder would write again in the same way.
func (f *fixture) odd() store.Manifest {
	m := f.image(typeArtifact, nil, map[string]string{"note": "a<b>&é"})
	raw := strings.ReplaceAll(string(m.Raw), `,"`, ",\n\t  \"")
	raw = strings.Replace(raw, "é", `\u00e9`, 1)
	return store.NewManifest(m.MediaType, []byte("\n "+raw+"\n\n"))
}

func manifestOddBytes(f *fixture) {
	m := f.put(f.odd(), "odd")
	f.names("odd", m)
	f.names(m.Digest.String(), m)
}

func manifestTags(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1", "v1.0", "latest")
	for _, tag := range []string{"v1", "v1.0", "latest"} {
		f.names(tag, m)
	}
}

func manifestRetag(f *fixture) {
	first := f.put(f.image(typeArtifact, nil, nil, "first"), "latest")
	second := f.put(f.image(typeArtifact, nil, nil, "second"), "latest", "v2")
	f.names("latest", second)
	f.names("v2", second)
	f.names(first.Digest.String(), first)
	if diff := cmp.Diff([]string{"latest", "v2"}, slices.Sorted(slices.Values(f.tags("")))); diff != "" {
		f.Errorf("tags (-want +got):\n%s", diff)
	}
}

func manifestTwice(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	f.put(m, "v1")
	f.put(m)
	f.names("v1", m)
	if tags := f.tags(""); len(tags) != 1 {
		f.Errorf("tags %q, want only v1", tags)
	}
}

func manifestSwap(f *fixture) {
	first := f.put(f.image(typeArtifact, nil, nil), "v1")
	second := f.image(typeSBOM, nil, nil)
	for _, old := range []store.Manifest{first, second} { // the second time there is nothing to do
		if err := f.Swap(f.ctx, second, "v1", old.Digest); err != nil {
			f.Fatalf("Swap: %v", err)
		}
		f.names("v1", second)
	}
	f.names(first.Digest.String(), first)
}

func manifestMoved(f *fixture) {
	first, second := f.put(f.image(typeArtifact, nil, nil), "v1"), f.put(f.image(typeSBOM, nil, nil))
	third := f.image(typeSig, nil, nil)
	f.put(second, "v1")
	if err := f.Swap(f.ctx, third, "v1", first.Digest); !errors.Is(err, store.ErrMoved) {
		f.Errorf("Swap of a moved tag: %v, want ErrMoved", err)
	}
	f.names("v1", second)
	if err := f.Swap(f.ctx, third, "v2", first.Digest); !errors.Is(err, store.ErrMoved) {
		f.Errorf("Swap of an absent tag: %v, want ErrMoved", err)
	}
}

func manifestList(f *fixture) {
	one, two := f.put(f.image(typeArtifact, nil, nil), "v1", "v2"), f.put(f.image(typeSBOM, nil, nil))
	all, err := store.Collect(f.Manifests(f.ctx))
	if errors.Is(err, store.ErrUnsupported) {
		return
	}
	if err != nil {
		f.Fatalf("Manifests: %v", err)
	}
	for _, want := range []store.Manifest{one, two} {
		n := 0
		for _, d := range all {
			if d.Digest == want.Digest && d.MediaType == want.MediaType && d.Size == want.Size {
				n++
			}
		}
		if n != 1 {
			f.Errorf("%s is listed %d times in %v", want.Digest, n, all)
		}
	}
}

func manifestTagLater(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil))
	f.put(m, "later")
	f.names("later", m)
	f.names(m.Digest.String(), m)
}

func manifestMismatch(f *fixture) {
	m := f.image(typeArtifact, nil, nil)
	other := m
	other.Raw = append([]byte(" "), m.Raw...)
	other.Size++
	f.wants(f.PutManifest(f.ctx, other, "bad"), store.ErrMismatch, "PutManifest")
	f.unknown("bad")
	f.unknown(m.Digest.String())
	f.unknown(digest.FromBytes(other.Raw).String())
}

func manifestAbsent(f *fixture) {
	f.unknown("v1")
	f.unknown(digest.FromString("absent").String())
	f.put(f.image(typeArtifact, nil, nil), "v1")
	f.unknown("v2")
	f.unknown(digest.FromString("absent").String())
}

func manifestNotBlob(f *fixture) {
	f.put(f.image(typeArtifact, nil, nil), "v1")
	f.unknown(f.putBlob("no manifest").Digest.String())
}

func indexManifest(f *fixture) {
	child := f.put(f.image(typeArtifact, nil, nil))
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []store.Descriptor{child.Descriptor}}
	index.SchemaVersion = 2
	m := f.put(f.encode(index.MediaType, index), "all")
	f.names("all", m)
	f.names(child.Digest.String(), child)
}

func manifestSHA512(f *fixture) {
	m := f.image(typeArtifact, nil, nil)
	m.Digest = digest.SHA512.FromBytes(m.Raw)
	f.put(m)
	f.names(m.Digest.String(), m)
}

// artifact makes an artifact manifest of image-spec v1.1.0-rc2.
func (f *fixture) artifact(artifactType string, subject *store.Descriptor) store.Manifest {
	return f.encode(store.MediaTypeArtifact, map[string]any{
		"mediaType": store.MediaTypeArtifact, "artifactType": artifactType,
		"blobs": []store.Descriptor{f.putBlob("artifact blob")}, "subject": subject,
		"annotations": map[string]string{"kind": "artifact"},
	})
}

func artifactManifest(f *fixture) {
	m := f.put(f.artifact(typeSBOM, nil), "artifact")
	f.names("artifact", m)
	f.names(m.Digest.String(), m)
}

func unknownManifest(f *fixture) {
	m := f.put(store.NewManifest("application/vnd.example.other+json", []byte(`{"anything":true}`)), "other")
	f.names("other", m)
	f.names(m.Digest.String(), m)
}

func tagTests() []test {
	return []test{
		{name: "has no tags at first", run: noTags},
		{name: "lists every tag once", run: manyTags},
		{name: "lists from a tag on", run: tagsAfter},
		{name: "lists as far as it is asked", run: tagsStop},
	}
}

func noTags(f *fixture) {
	// An empty store may not exist yet.
	tags, err := store.Collect(f.Tags(f.ctx, ""))
	if err != nil {
		f.wants(err, store.ErrNotFound, "Tags of an empty store")
	}
	if len(tags) > 0 {
		f.Errorf("tags %q, want none", tags)
	}
}

// tagged puts a manifest under n tags, which it gives sorted.
func (f *fixture) tagged(n int) []string {
	f.Helper()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("tag-%02d", i))
	}
	f.put(f.image(typeArtifact, nil, nil), want...)
	return want
}

func manyTags(f *fixture) {
	want := f.tagged(25)
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.tags("")))); diff != "" {
		f.Errorf("tags (-want +got):\n%s", diff)
	}
}

func tagsAfter(f *fixture) {
	f.tagged(25)
	all := f.tags("") // the order is the store's own
	for _, i := range []int{0, 9, 23} {
		if diff := cmp.Diff(all[i+1:], f.tags(all[i])); diff != "" {
			f.Errorf("tags after %s (-want +got):\n%s", all[i], diff)
		}
	}
	if rest := f.tags(all[24]); len(rest) > 0 {
		f.Errorf("tags after the last: %q", rest)
	}
}

func tagsStop(f *fixture) {
	f.tagged(5)
	n := 0
	for _, err := range f.Tags(f.ctx, "") {
		f.ok(err, "Tags")
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		f.Errorf("got %d tags before the break", n)
	}
}
