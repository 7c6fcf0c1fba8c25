package artifact

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

func entryDesc(name string) store.Descriptor {
	return store.Descriptor{MediaType: store.MediaTypeImage, Digest: digest.FromString(name), Size: int64(len(name))}
}

func indexOf(t *testing.T, r IndexRequest) store.Manifest {
	t.Helper()
	m, err := NewIndex(r)
	if err != nil {
		t.Fatal(err)
	}
	if faults := Validate(m); len(faults) > 0 {
		t.Fatalf("%s: %+v", m.Raw, faults)
	}
	return m
}

// TestNewIndex compares the bytes with those that ORAS 1.3 makes: the fields in
// this order, no space, and the escapes of encoding/json.
func TestNewIndex(t *testing.T) {
	a, b := entryDesc("a"), entryDesc("bb")
	a.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	b.ArtifactType = "application/vnd.example"
	got := indexOf(t, IndexRequest{
		Manifests: []store.Descriptor{a, b}, ArtifactType: "application/vnd.example.set",
		Annotations: map[string]string{"b": "<2>", "a": "1"},
	})
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"application/vnd.example.set","manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + a.Digest.String() + `","size":1,"platform":{"architecture":"arm","os":"linux","variant":"v7"}},` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + b.Digest.String() + `","size":2,"artifactType":"application/vnd.example"}],` +
		`"annotations":{"a":"1","b":"\u003c2\u003e"}}`
	if string(got.Raw) != want || got.Digest != digest.FromString(want) {
		t.Errorf("%s\nwant %s", got.Raw, want)
	}
	if empty := indexOf(t, IndexRequest{}); !strings.HasSuffix(string(empty.Raw), `"manifests":[]}`) {
		t.Errorf("%s", empty.Raw)
	}
	if _, err := NewIndex(IndexRequest{ArtifactType: "x"}); !errors.Is(err, store.ErrUsage) {
		t.Errorf("%v, want ErrUsage", err)
	}
}

// TestEditIndexAsMadeAtOnce: an edit of what NewIndex made has the bytes of what
// it would make at once.
func TestEditIndexAsMadeAtOnce(t *testing.T) {
	a, b, c := entryDesc("a"), entryDesc("bb"), entryDesc("ccc")
	kind, none := "application/vnd.example.set", ""
	arm := &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	edited := func(d store.Descriptor, e EntryEdit) store.Descriptor { e.Apply(&d); return d }
	pa := EntryEdit{Digest: a.Digest, Platform: arm, Annotations: map[string]string{"x": "&"}}
	for name, c := range map[string]struct {
		from IndexRequest
		edit IndexEdit
		want IndexRequest
		did  IndexChange
	}{
		"remove": {
			IndexRequest{Manifests: []store.Descriptor{a, b, c}},
			IndexEdit{Remove: []digest.Digest{a.Digest, c.Digest}},
			IndexRequest{Manifests: []store.Descriptor{b}},
			IndexChange{Removed: []digest.Digest{a.Digest, c.Digest}},
		},
		"remove all of a digest": {
			IndexRequest{Manifests: []store.Descriptor{a, b, edited(a, pa)}},
			IndexEdit{Remove: []digest.Digest{a.Digest, a.Digest}},
			IndexRequest{Manifests: []store.Descriptor{b}},
			IndexChange{Removed: []digest.Digest{a.Digest}},
		},
		"remove, add, merge": {
			IndexRequest{Manifests: []store.Descriptor{a}},
			IndexEdit{Remove: []digest.Digest{a.Digest}, Add: []store.Descriptor{b, a}, Merge: []store.Manifest{indexOf(t, IndexRequest{Manifests: []store.Descriptor{a, c}})}},
			IndexRequest{Manifests: []store.Descriptor{b, a, c}},
			IndexChange{Removed: []digest.Digest{a.Digest}, Added: []digest.Digest{b.Digest, a.Digest}, Merged: []digest.Digest{c.Digest}, Present: []digest.Digest{a.Digest}},
		},
		"set the type": {
			IndexRequest{}, IndexEdit{ArtifactType: &kind}, IndexRequest{ArtifactType: kind}, IndexChange{},
		},
		"take the type away": {
			IndexRequest{ArtifactType: kind, Annotations: map[string]string{"a": "1"}},
			IndexEdit{ArtifactType: &none},
			IndexRequest{Annotations: map[string]string{"a": "1"}},
			IndexChange{},
		},
		"annotate": {
			IndexRequest{Manifests: []store.Descriptor{a}, Subject: &b, Annotations: map[string]string{"a": "1", "b": "2"}},
			IndexEdit{Annotations: map[string]string{"a": "<>", "c": ""}},
			IndexRequest{Manifests: []store.Descriptor{a}, Subject: &b, Annotations: map[string]string{"a": "<>", "b": "2", "c": ""}},
			IndexChange{},
		},
		"change an entry": {
			IndexRequest{Manifests: []store.Descriptor{b, a}},
			IndexEdit{Entries: []EntryEdit{pa}},
			IndexRequest{Manifests: []store.Descriptor{b, edited(a, pa)}},
			IndexChange{},
		},
		"change what is added": {
			IndexRequest{},
			IndexEdit{Add: []store.Descriptor{a}, Entries: []EntryEdit{pa}},
			IndexRequest{Manifests: []store.Descriptor{edited(a, pa)}},
			IndexChange{Added: []digest.Digest{a.Digest}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, did, err := EditIndex(indexOf(t, c.from), c.edit)
			if err != nil {
				t.Fatal(err)
			}
			want := indexOf(t, c.want)
			if string(got.Raw) != string(want.Raw) || got.Digest != want.Digest || got.Size != want.Size {
				t.Errorf("%s\nwant %s", got.Raw, want.Raw)
			}
			if !reflect.DeepEqual(did, c.did) {
				t.Errorf("%+v, want %+v", did, c.did)
			}
		})
	}
}

// TestEditIndexKeepsBytes: entries and fields that are not named stay as they
// are, whoever wrote them; without a change everything does.
func TestEditIndexKeepsBytes(t *testing.T) {
	d := entryDesc("a").Digest.String()
	const head = `{ "com.example.first": 1.0,` + "\n" + `"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", `
	entry := `{ "size": 1, "digest": "` + d + `", "x": {"b": 1, "a": "A"}, "mediaType": "application/vnd.oci.image.manifest.v1+json" }`
	old := store.NewManifest(store.MediaTypeIndex, []byte(head+`"manifests": [ `+entry+` ], "last": [1,  2] }`))
	b := entryDesc("bb")
	got, _, err := EditIndex(old, IndexEdit{Add: []store.Descriptor{b}})
	if err != nil {
		t.Fatal(err)
	}
	added, _ := json.Marshal(b)
	want := `{"com.example.first":1.0,"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + entry + `,` + string(added) + `],"last":[1,  2]}`
	if string(got.Raw) != want {
		t.Errorf("%s\nwant %s", got.Raw, want)
	}
	empty := ""
	for _, e := range []IndexEdit{{}, {Add: []store.Descriptor{entryDesc("a")}}, {ArtifactType: &empty}, {Merge: []store.Manifest{old}}} {
		same, _, err := EditIndex(old, e)
		if err != nil || same.Digest != old.Digest || string(same.Raw) != string(old.Raw) {
			t.Errorf("%+v: %s, %v", e, same.Raw, err)
		}
	}
	sha512 := old
	sha512.Digest = digest.SHA512.FromBytes(old.Raw)
	if got, _, err := EditIndex(sha512, IndexEdit{Add: []store.Descriptor{b}}); err != nil || got.Digest != digest.SHA512.FromBytes(got.Raw) {
		t.Errorf("%s, %v: another algorithm than before", got.Digest, err)
	}
}

func TestEditIndexFaults(t *testing.T) {
	a, none, bad := entryDesc("a"), entryDesc("none"), "bad"
	index := indexOf(t, IndexRequest{Manifests: []store.Descriptor{a}})
	image := store.NewManifest(store.MediaTypeImage, []byte(`{}`))
	for name, c := range map[string]struct {
		m    store.Manifest
		edit IndexEdit
		want error
	}{
		"remove what is not there": {index, IndexEdit{Remove: []digest.Digest{none.Digest}}, store.ErrNotFound},
		"change what is not there": {index, IndexEdit{Entries: []EntryEdit{{Digest: none.Digest}}}, store.ErrNotFound},
		"no index":                 {image, IndexEdit{}, store.ErrUsage},
		"merge no index":           {index, IndexEdit{Merge: []store.Manifest{image}}, store.ErrUsage},
		"no media type":            {index, IndexEdit{ArtifactType: &bad}, store.ErrUsage},
		"broken":                   {store.NewManifest(store.MediaTypeIndex, []byte(`{"manifests":[{}]}`)), IndexEdit{}, store.ErrInvalid},
	} {
		got, _, err := EditIndex(c.m, c.edit)
		if !errors.Is(err, c.want) || !slices.Equal(got.Raw, c.m.Raw) {
			t.Errorf("%s: %v, want %v and the old index", name, err, c.want)
		}
	}
}
