package graph_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

func digestTag(d store.Descriptor, suffix string) string {
	return strings.Replace(d.Digest.String(), ":", "-", 1) + "." + suffix
}

// Whoever sees a tag finds what digest tags name about it, and about that.
func TestCopySetsDigestTagsBeforeWhatTheyAreAbout(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	child := b.image("child", nil)
	root := index(b, []store.Descriptor{child}, "", "v1")
	// What is tagged lies deeper than what it is about, and would be put later.
	sig := index(b, []store.Descriptor{index(b, []store.Descriptor{b.image("signature", nil)}, "")}, "", digestTag(child, "sig"))
	index(b, []store.Descriptor{index(b, []store.Descriptor{sig}, "")}, "", digestTag(sig, "sig"))
	b.image("of something else", nil, digestTag(store.NewBlob("", nil).Descriptor, "sig"))
	res, err := graph.Copy(t.Context(), src, dst, "v1", graph.CopyOptions{DigestTags: true, Options: graph.Options{Tags: []string{"new"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{digestTag(child, "sig"), digestTag(sig, "sig")}
	if !slices.Equal(res.DigestTags, want) {
		t.Errorf("digest tags %q, want %q", res.DigestTags, want)
	}
	var order []string
	for _, line := range dst.puts() {
		if tags := strings.Fields(line)[2:]; len(tags) > 0 {
			order = append(order, tags[0])
		}
	}
	if !slices.Equal(order, []string{want[1], want[0], "new"}) {
		t.Errorf("the tags were set in the order %q", order)
	}
	if d, err := dst.Store.Resolve(t.Context(), "new"); err != nil || d.Digest != root.Digest {
		t.Errorf("new names %s, %v", d.Digest, err)
	}
}

// A digest tag that cannot be copied is an artifact that failed, beside others.
func TestCopyAllTellsOfDigestTagsThatFail(t *testing.T) {
	src, dst := newReads(), newRecorder()
	b := builder{t, src.Store}
	one := b.image("one", nil, "one")
	b.image("signature", nil, digestTag(one, "sig"))
	src.broken[digest.FromString("signature")] = store.ErrNotFound
	res, err := graph.CopyAll(t.Context(), src, dst, tagRoots("one"), graph.CopyOptions{DigestTags: true})
	if !errors.Is(err, store.ErrNotFound) || len(res.Roots) != 2 || res.Roots[0].Err != nil || res.Roots[1].Err == nil || len(res.DigestTags) != 0 {
		t.Errorf("%+v, %v", res.Roots, err)
	}
	if got := names(t, dst.Store, "one", digestTag(one, "sig")); got[0] != one.Digest.String() || got[1] != "" {
		t.Errorf("the tags name %q", got)
	}
}

// A half copied index is mended by Force, and by nothing else: what a present
// manifest names is not asked for.
func TestCopyForcedMendsWhatIsHalfThere(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	x := buildTree(t, src)
	opts := graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}}}
	if _, err := graph.Copy(t.Context(), src, dst, "all", opts); err != nil {
		t.Fatal(err)
	}
	lost := store.Descriptor{Digest: digest.FromString("a"), Size: 1}
	if err := dst.DeleteManifest(t.Context(), x.b); err != nil {
		t.Fatal(err)
	}
	if err := dst.DeleteBlob(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		opts.Force = force
		res, err := graph.Copy(t.Context(), src, dst, "all", opts)
		if err != nil || res.Exists == force {
			t.Fatalf("forced %v: %+v, %v", force, res, err)
		}
		_, blob := dst.Blob(t.Context(), lost)
		if _, err := dst.Store.Resolve(t.Context(), x.b.Digest.String()); (err == nil) != force || (blob == nil) != force {
			t.Errorf("forced %v: the manifest %v, the blob %v", force, err, blob)
		}
		if force && (res.Sent != 1 || res.Present != 2 || res.Manifests != 1) {
			t.Errorf("it put more than was missing: %+v", res)
		}
	}
	dst.log = nil
	if res, err := graph.Copy(t.Context(), src, dst, "all", opts); err != nil || !res.Exists || len(dst.puts()) > 0 {
		t.Errorf("forced again: %+v, %v", res, err)
	}
}

func TestCopyOfSomeArtifactTypes(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	of := func(artifactType string, subject store.Descriptor) store.Descriptor {
		return b.manifest(map[string]any{
			"mediaType": store.MediaTypeImage, "artifactType": artifactType, "config": b.blob("{}"), "layers": []any{},
			"subject": store.Plain(subject),
		})
	}
	root := b.image("x", nil, "v1")
	sbom, vex := of("sbom", root), of("vex", root)
	signed, underVex := of("sig", sbom), of("sbom", vex)
	var warned []string
	opts := graph.CopyOptions{Referrers: true, ArtifactTypes: []string{"sbom", "sig"}, Options: graph.Options{Events: func(e store.Event) {
		if e.Kind == store.Warning {
			warned = append(warned, e.Text)
		}
	}}}
	res, err := graph.Copy(t.Context(), src, dst, "v1", opts)
	if err != nil || res.Referrers != 2 || res.LeftOut != 1 || len(warned) != 1 {
		t.Errorf("%+v, %q, %v", res, warned, err)
	}
	for d, want := range map[digest.Digest]bool{sbom.Digest: true, signed.Digest: true, vex.Digest: false, underVex.Digest: false} {
		if _, err := dst.Store.Resolve(t.Context(), d.String()); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", d, err == nil, want)
		}
	}
}

func TestCopyThroughAnOverlay(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	child := b.image("child", nil)
	elsewhere := newRecorder()
	made := index(builder{t, elsewhere}, []store.Descriptor{child}, "made")
	m, err := elsewhere.Manifest(t.Context(), made.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	over := graph.Overlay(src, m)
	if _, err := graph.Copy(t.Context(), over, dst, made.Digest.String(), graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}}}); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dst.Store, "v1", child.Digest.String()); got[0] != made.Digest.String() || got[1] != child.Digest.String() {
		t.Errorf("there is %q", got)
	}
	if _, err := over.Resolve(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("something else in it: %v", err)
	}
}
