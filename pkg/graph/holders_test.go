package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// putIndex puts an index of what refs name, under tags.
func putIndex(t *testing.T, s store.Store, note string, tags []string, entries ...store.Descriptor) store.Descriptor {
	t.Helper()
	raw, err := json.Marshal(ocispec.Index{MediaType: store.MediaTypeIndex, Manifests: append([]store.Descriptor{}, entries...), Annotations: map[string]string{"note": note}})
	if err != nil {
		t.Fatal(err)
	}
	m := store.NewManifest(store.MediaTypeIndex, raw)
	if err := s.PutManifest(t.Context(), m, tags...); err != nil {
		t.Fatal(err)
	}
	return m.Descriptor
}

// counting counts the manifests that are read, and can refuse to list tags.
type counting struct {
	store.Store
	manifests atomic.Int64
	noTags    error
}

func (c *counting) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	c.manifests.Add(1)
	return c.Store.Manifest(ctx, ref)
}

func (c *counting) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	if c.noTags != nil {
		return func(yield func(string, error) bool) { yield("", c.noTags) }
	}
	return c.Store.Tags(ctx, after)
}

const maxStanding = 100

func TestFindStanding(t *testing.T) {
	s := &counting{Store: local.NewMemory()}
	m := putIndex(t, s, "m", []string{"m2", "m1"})
	other := putIndex(t, s, "other", []string{"other"})
	holder := putIndex(t, s, "holder", []string{"a", "b"}, other, m)
	putIndex(t, s, "outer", []string{"outer"}, holder, other)
	second := putIndex(t, s, "second", nil, m)
	putIndex(t, s, "above", []string{"above"}, second, store.Descriptor{MediaType: store.MediaTypeIndex, Digest: digest.FromString("gone"), Size: 4})
	putIndex(t, s, "untagged", nil, m)
	putIndex(t, s, "referrers", []string{"sha256-" + other.Digest.Encoded()}, m) // the referrers tag of a subject

	got, err := FindStanding(t.Context(), s, m.Digest, maxStanding)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Holders, func(a, b Holder) int { return len(b.Tags) - len(a.Tags) })
	want := Standing{Tags: []string{"m1", "m2"}, Holders: []Holder{{holder.Digest, []string{"a", "b", "outer"}}, {second.Digest, []string{"above"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if n := s.manifests.Load(); n != 6 { // holder, outer, other, above, second, and the one that is gone
		t.Errorf("%d manifests were read, want each index once: 6", n)
	}
	if got, err := FindStanding(t.Context(), s, holder.Digest, maxStanding); err != nil || len(got.Tags) != 2 || len(got.Holders) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFindStandingBounds(t *testing.T) {
	s := &counting{Store: local.NewMemory()}
	var tags []string
	for i := range maxStanding {
		tags = append(tags, fmt.Sprint("t", i))
	}
	m := putIndex(t, s, "m", tags)
	if got, err := FindStanding(t.Context(), s, m.Digest, maxStanding); err != nil || len(got.Tags) != maxStanding {
		t.Errorf("%d tags, %v", len(got.Tags), err)
	}
	putIndex(t, s, "m", []string{"one-more"})
	if _, err := FindStanding(t.Context(), s, m.Digest, maxStanding); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	s.noTags = store.ErrDenied
	if _, err := FindStanding(t.Context(), s, m.Digest, maxStanding); !errors.Is(err, store.ErrDenied) {
		t.Errorf("%v, want ErrDenied", err)
	}
}

// TestEntries: the platform is the config's where that says it is JSON, the
// artifact type is the manifest's own.
func TestEntries(t *testing.T) {
	s := local.NewMemory()
	put := func(tag, artifactType, configType, config string) {
		t.Helper()
		b := store.NewBlob(configType, []byte(config))
		if _, err := s.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(ocispec.Manifest{MediaType: store.MediaTypeImage, ArtifactType: artifactType, Config: b.Descriptor, Layers: []store.Descriptor{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutManifest(t.Context(), store.NewManifest(store.MediaTypeImage, raw), tag); err != nil {
			t.Fatal(err)
		}
	}
	const image = ocispec.MediaTypeImageConfig
	for tag, c := range map[string]struct {
		artifactType, configType, config string
		want                             *ocispec.Platform
	}{
		"image":    {"", image, `{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","rootfs":{}}`, &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7", OSVersion: "1"}},
		"docker":   {"", "application/vnd.docker.container.image.v1+json", `{"os":"linux","architecture":"amd64"}`, &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		"wasm":     {"", "application/vnd.wasm.config.v0+json", `{"os":"wasip1","architecture":"wasm"}`, &ocispec.Platform{OS: "wasip1", Architecture: "wasm"}},
		"artifact": {"application/vnd.example", ocispec.MediaTypeEmptyJSON, `{}`, nil},
		"half":     {"", image, `{"os":"linux"}`, &ocispec.Platform{OS: "linux"}},
		"none":     {"", image, `{}`, nil},
		"text":     {"", image, `os: linux`, nil},
		"other":    {"", "application/vnd.example", `{"os":"linux","architecture":"amd64"}`, nil},
	} {
		put(tag, c.artifactType, c.configType, c.config)
		got, err := Entries(t.Context(), s, []string{tag})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got[0].Platform, c.want) || got[0].ArtifactType != c.artifactType {
			t.Errorf("%s: %+v, want %+v", tag, got[0], c.want)
		}
	}
	if _, err := Entries(t.Context(), s, []string{"image", "absent"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}
