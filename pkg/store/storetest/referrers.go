package storetest

import (
	"cmp"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

func referrerTests() []test {
	none := func(l Limits) bool { return l.NoReferrers }
	return []test{
		{name: "has no referrers of what nobody refers to", run: noReferrers, skip: none},
		{name: "lists what refers to a manifest", run: listsReferrers, skip: none},
		{name: "filters referrers by type", run: filtersReferrers, skip: none},
		{name: "takes the type from the config where there is no other", run: typeFromConfig, skip: func(l Limits) bool {
			return l.NoReferrers || l.NoTypeFromConfig
		}},
		{name: "lists referrers of referrers with their own subject", run: referrersOfReferrers, skip: none},
		{name: "lists an index as a referrer", run: indexReferrer, skip: none},
		{name: "lists an artifact manifest as a referrer", run: artifactReferrer, skip: func(l Limits) bool {
			return l.NoReferrers || l.NoArtifactManifests
		}},
		{name: "lists referrers of a subject that is not there", run: absentSubject, skip: func(l Limits) bool {
			return l.NoReferrers || l.NoAbsentSubject
		}},
		{name: "lists a referrer once, whatever its tags", run: taggedReferrer, skip: none},
		{name: "lists more referrers than a page holds", run: manyReferrers, skip: none},
		{name: "lists as far as it is asked", run: referrersStop, skip: none},
		{name: "forgets a referrer that is deleted", run: deletedReferrer, skip: func(l Limits) bool {
			return l.NoReferrers || l.NoManifestDelete
		}},
	}
}

// attached makes a subject and puts it.
func (f *fixture) attached() store.Manifest {
	f.Helper()
	return f.put(f.image(typeArtifact, nil, nil, "subject"), "subject")
}

// refer puts a manifest that refers to subject, and gives it as a list of
// referrers has it.
func (f *fixture) refer(subject store.Manifest, artifactType, note string) (store.Manifest, store.Descriptor) {
	f.Helper()
	d := store.Plain(subject.Descriptor)
	notes := map[string]string{"note": note}
	m := f.put(f.image(artifactType, &d, notes, note))
	listed := store.Plain(m.Descriptor)
	listed.ArtifactType, listed.Annotations = artifactType, notes
	return m, listed
}

// lists asserts the referrers of a subject, in any order.
func (f *fixture) lists(subject digest.Digest, artifactType string, want ...store.Descriptor) {
	f.Helper()
	got, err := store.Collect(f.Referrers(f.ctx, subject, artifactType))
	f.ok(err, "Referrers")
	byDigest := func(a, b store.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) }
	slices.SortFunc(got, byDigest)
	slices.SortFunc(want, byDigest)
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.Fatalf("referrers of %s, type %q (-want +got):\n%s", subject, artifactType, diff)
	}
}

func noReferrers(f *fixture) {
	m := f.attached()
	f.lists(m.Digest, "")
	f.lists(digest.FromString("absent"), "")
}

func listsReferrers(f *fixture) {
	m := f.attached()
	_, one := f.refer(m, typeSBOM, "one")
	_, two := f.refer(m, typeSig, "two")
	f.lists(m.Digest, "", one, two)
}

func filtersReferrers(f *fixture) {
	m := f.attached()
	_, one := f.refer(m, typeSBOM, "one")
	_, two := f.refer(m, typeSig, "two")
	_, three := f.refer(m, typeSBOM, "three")
	f.lists(m.Digest, typeSBOM, one, three)
	f.lists(m.Digest, typeSig, two)
	f.lists(m.Digest, "application/vnd.example.none")
}

// typeFromConfig: "if the artifactType is empty or missing in the image
// manifest", it is the config's media type (distribution-spec, "Listing
// Referrers").
func typeFromConfig(f *fixture) {
	m := f.attached()
	d := store.Plain(m.Descriptor)
	v := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Subject: &d,
		Config: f.putBlob("{}"), Layers: []store.Descriptor{f.putBlob("layer")},
	}
	v.SchemaVersion, v.Config.MediaType = 2, typeSBOM
	listed := store.Plain(f.put(f.encode(v.MediaType, v)).Descriptor)
	listed.ArtifactType = typeSBOM
	f.lists(m.Digest, "", listed)
	f.lists(m.Digest, typeSBOM, listed)
}

func referrersOfReferrers(f *fixture) {
	m := f.attached()
	sbom, one := f.refer(m, typeSBOM, "sbom")
	_, two := f.refer(sbom, typeSig, "signature of the sbom")
	f.lists(m.Digest, "", one)
	f.lists(sbom.Digest, "", two)
}

func indexReferrer(f *fixture) {
	m := f.attached()
	child := f.put(f.image(typeArtifact, nil, nil, "child"))
	d := store.Plain(m.Descriptor)
	v := ocispec.Index{
		MediaType: ocispec.MediaTypeImageIndex, ArtifactType: typeSBOM, Subject: &d,
		Manifests: []store.Descriptor{child.Descriptor}, Annotations: map[string]string{"note": "index"},
	}
	v.SchemaVersion = 2
	listed := store.Plain(f.put(f.encode(v.MediaType, v)).Descriptor)
	listed.ArtifactType, listed.Annotations = typeSBOM, v.Annotations
	f.lists(m.Digest, "", listed)
}

func artifactReferrer(f *fixture) {
	m := f.attached()
	d := store.Plain(m.Descriptor)
	listed := store.Plain(f.put(f.artifact(typeSBOM, &d)).Descriptor)
	listed.ArtifactType, listed.Annotations = typeSBOM, map[string]string{"kind": "artifact"}
	f.lists(m.Digest, "", listed)
	f.lists(m.Digest, typeSBOM, listed)
	f.lists(m.Digest, typeSig)
}

// absentSubject: a registry "MUST accept an otherwise valid manifest with a
// subject field that references a manifest that does not exist"
// (distribution-spec, "Pushing Manifests with Subject").
func absentSubject(f *fixture) {
	m := f.image(typeArtifact, nil, nil, "subject")
	_, one := f.refer(m, typeSBOM, "one")
	f.lists(m.Digest, "", one)
	f.unknown(m.Digest.String())
	f.put(m, "late")
	f.lists(m.Digest, "", one)
}

func taggedReferrer(f *fixture) {
	m := f.attached()
	sbom, one := f.refer(m, typeSBOM, "one")
	f.put(sbom, "sbom", "sbom-2")
	f.lists(m.Digest, "", one)
	f.put(m, "sbom") // the tag moves to another manifest
	f.lists(m.Digest, "", one)
}

func manyReferrers(f *fixture) {
	m := f.attached()
	var want []store.Descriptor
	for i := range 12 {
		_, d := f.refer(m, typeSBOM, strings.Repeat("x", i+1))
		want = append(want, d)
	}
	f.lists(m.Digest, "", want...)
	f.lists(m.Digest, typeSBOM, want...)
}

func referrersStop(f *fixture) {
	m := f.attached()
	f.refer(m, typeSBOM, "one")
	f.refer(m, typeSBOM, "two")
	n := 0
	for _, err := range f.Referrers(f.ctx, m.Digest, "") {
		f.ok(err, "Referrers")
		n++
		break
	}
	if n != 1 {
		f.Errorf("got %d referrers before the break", n)
	}
}

func deletedReferrer(f *fixture) {
	m := f.attached()
	sbom, one := f.refer(m, typeSBOM, "one")
	_, two := f.refer(m, typeSig, "two")
	f.lists(m.Digest, "", one, two)
	f.deleted(f.DeleteManifest(f.ctx, sbom.Descriptor), store.AbilityManifestDelete)
	f.lists(m.Digest, "", two)
}
