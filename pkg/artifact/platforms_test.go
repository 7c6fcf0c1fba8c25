package artifact_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

// Odd spacing, escapes, numbers and unknown fields show whether anything is
// encoded anew.
const oddIndex = `{ "schemaVersion": 2, "x-number": 1.0e2,
  "manifests" : [
    ENTRY_A ,
    ENTRY_B,
    ENTRY_C
  ],
  "annotations": {"a": "\u00e9\u003c"} }
`

func oddEntry(content, arch string) string {
	return `{"digest":"` + digest.FromString(content).String() + `","size":4, "mediaType":"application\/vnd.oci.image.manifest.v1+json","platform":{"architecture":"` +
		arch + `","os":"linux","x":[ 1 ]}}`
}

func oddWith(list string) store.Manifest {
	return store.NewManifest(store.MediaTypeIndex, []byte(strings.Replace(oddIndex, "ENTRY_A ,\n    ENTRY_B,\n    ENTRY_C", list, 1)))
}

func TestSelectManifestsKeepsEveryByte(t *testing.T) {
	a, b, c := oddEntry("a", "amd64"), oddEntry("b", "arm64"), oddEntry("c", "s390x")
	whole := oddWith(a + " ,\n    " + b + ",\n    " + c)
	for wanted, list := range map[string]string{
		"amd64":             a,
		"s390x":             c,
		"amd64 s390x":       a + ",\n    " + c,
		"arm64 s390x":       b + ",\n    " + c,
		"amd64 arm64":       a + " ,\n    " + b,
		"amd64 arm64 s390x": a + " ,\n    " + b + ",\n    " + c,
	} {
		got, err := artifact.SelectManifests(whole, func(d store.Descriptor) bool { return strings.Contains(wanted, d.Platform.Architecture) })
		want := oddWith(list)
		if err != nil || string(got.Raw) != string(want.Raw) || got.Digest != want.Digest || got.Size != int64(len(want.Raw)) || got.MediaType != whole.MediaType {
			t.Errorf("%s: %v %v\n%s\nwant\n%s", wanted, got.Descriptor, err, got.Raw, want.Raw)
		}
	}
}

func TestSelectManifestsRefuses(t *testing.T) {
	entry := oddEntry("a", "amd64")
	for name, c := range map[string]struct {
		m    store.Manifest
		keep bool
		is   error
	}{
		"nothing":         {oddWith(entry), false, store.ErrNotFound},
		"an empty index":  {oddWith(""), true, store.ErrNotFound},
		"null":            {store.NewManifest(store.MediaTypeIndex, []byte(`{"manifests":null}`)), true, store.ErrInvalid},
		"no list":         {store.NewManifest(store.MediaTypeIndex, []byte(`{}`)), true, store.ErrNotFound},
		"an image":        {store.NewManifest(store.MediaTypeImage, []byte(`{}`)), true, store.ErrUnsupported},
		"two of one name": {store.NewManifest(store.MediaTypeIndex, []byte(`{"manifests":[`+entry+`],"manifests":[]}`)), true, store.ErrInvalid},
		"no JSON":         {store.NewManifest(store.MediaTypeIndex, []byte(`{"manifests":[`)), true, store.ErrInvalid},
	} {
		if _, err := artifact.SelectManifests(c.m, func(store.Descriptor) bool { return c.keep }); !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", name, err, c.is)
		}
	}
}

// The digest is of the same algorithm as that of the whole.
func TestSelectManifestsKeepsTheAlgorithm(t *testing.T) {
	m := oddWith(oddEntry("a", "amd64") + "," + oddEntry("b", "arm64"))
	m.Digest = digest.SHA512.FromBytes(m.Raw)
	got, err := artifact.SelectManifests(m, func(d store.Descriptor) bool { return d.Platform.Architecture == "arm64" })
	if err != nil || got.Digest != digest.SHA512.FromBytes(got.Raw) {
		t.Errorf("%s, %v", got.Digest, err)
	}
}
