package storetest

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

func deleteTests() []test {
	manifest := func(l Limits) bool { return l.NoManifestDelete }
	blob := func(l Limits) bool { return l.NoBlobDelete }
	tag := func(l Limits) bool { return l.NoTagDelete }
	return []test{
		{name: "deletes a blob", run: deleteBlob, skip: blob},
		{name: "does not find an absent blob to delete", run: deleteAbsentBlob, skip: blob},
		{name: "deletes a manifest and its tags", run: deleteManifest, skip: manifest},
		{name: "deletes a manifest without a tag", run: deleteUntagged, skip: manifest},
		{name: "does not find an absent manifest to delete", run: deleteAbsentManifest, skip: manifest},
		{name: "takes a deleted manifest again", run: deleteAndPut, skip: manifest},
		{name: "keeps the blobs of a deleted manifest", run: deleteKeepsBlobs, skip: manifest},
		{name: "keeps the manifest of a tag that is removed", run: untagKeepsManifest, skip: tag},
		{name: "keeps the other tags of a manifest", run: untagKeepsTags, skip: tag},
		{name: "does not find an absent tag to remove", run: untagAbsent, skip: tag},
	}
}

// deleted asserts that something was deleted. Where the store says that it
// cannot, and its Support says the same, the test ends as skipped.
func (f *fixture) deleted(err error, ability store.Ability) {
	f.Helper()
	if errors.Is(err, store.ErrUnsupported) {
		if got := f.Support().Of(ability); got != store.No {
			f.Fatalf("%v, but Support says %s to %s", err, got, ability)
		}
		f.Skipf("this store cannot: %v", err)
	}
	f.ok(err, "delete")
}

// absent asserts that there was nothing to delete.
func (f *fixture) absent(err error, ability store.Ability) {
	f.Helper()
	if errors.Is(err, store.ErrUnsupported) {
		f.deleted(err, ability)
	}
	f.wants(err, store.ErrNotFound, "deleting what is not there")
}

func deleteBlob(f *fixture) {
	gone, stays := f.putBlob("gone"), f.putBlob("stays")
	f.deleted(f.DeleteBlob(f.ctx, gone), store.AbilityBlobDelete)
	f.lacks(gone.Digest)
	f.holds(stays, "stays")
	f.holds(f.putBlob("gone"), "gone")
}

func deleteAbsentBlob(f *fixture) {
	f.putBlob("something")
	d := store.Descriptor{MediaType: typeText, Digest: digest.FromString("absent"), Size: 6}
	f.absent(f.DeleteBlob(f.ctx, d), store.AbilityBlobDelete)
}

func deleteManifest(f *fixture) {
	gone := f.put(f.image(typeArtifact, nil, nil, "gone"), "v1", "latest")
	stays := f.put(f.image(typeArtifact, nil, nil, "stays"), "v0")
	f.deleted(f.DeleteManifest(f.ctx, gone.Descriptor), store.AbilityManifestDelete)
	for _, ref := range []string{"v1", "latest", gone.Digest.String()} {
		f.unknown(ref)
	}
	f.names("v0", stays)
	if tags := f.tags(""); len(tags) != 1 {
		f.Errorf("tags %q, want only v0", tags)
	}
	f.absent(f.DeleteManifest(f.ctx, gone.Descriptor), store.AbilityManifestDelete)
}

func deleteUntagged(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil))
	f.deleted(f.DeleteManifest(f.ctx, m.Descriptor), store.AbilityManifestDelete)
	f.unknown(m.Digest.String())
}

func deleteAbsentManifest(f *fixture) {
	f.put(f.image(typeArtifact, nil, nil), "v1")
	absent := store.NewManifest(store.MediaTypeImage, []byte("{}\n"))
	f.absent(f.DeleteManifest(f.ctx, absent.Descriptor), store.AbilityManifestDelete)
}

func deleteAndPut(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	f.deleted(f.DeleteManifest(f.ctx, m.Descriptor), store.AbilityManifestDelete)
	f.put(m, "v2")
	f.names("v2", m)
	f.unknown("v1")
}

func deleteKeepsBlobs(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil, "layer of it"), "v1")
	f.deleted(f.DeleteManifest(f.ctx, m.Descriptor), store.AbilityManifestDelete)
	f.holds(store.NewBlob(typeText, []byte("layer of it")).Descriptor, "layer of it")
}

func untagKeepsManifest(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	f.deleted(f.Untag(f.ctx, "v1"), store.AbilityTagDelete)
	f.unknown("v1")
	f.names(m.Digest.String(), m)
	if tags := f.tags(""); len(tags) > 0 {
		f.Errorf("tags %q, want none", tags)
	}
	f.put(m, "v1")
	f.names("v1", m)
}

func untagKeepsTags(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1", "latest")
	f.deleted(f.Untag(f.ctx, "v1"), store.AbilityTagDelete)
	f.unknown("v1")
	f.names("latest", m)
	f.names(m.Digest.String(), m)
}

func untagAbsent(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	f.absent(f.Untag(f.ctx, "v2"), store.AbilityTagDelete)
	f.names("v1", m)
}
