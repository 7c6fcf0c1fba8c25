package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

func TestSplitDigestTag(t *testing.T) {
	hex := strings.Repeat("a", 64)
	for tag, want := range map[string][2]string{
		"sha256-" + hex:                  {"sha256:" + hex, ""},
		"sha256-" + hex + ".sig":         {"sha256:" + hex, "sig"},
		"sha256-" + hex + ".att":         {"sha256:" + hex, "att"},
		"sha512-" + hex + hex + ".sbom":  {"sha512:" + hex + hex, "sbom"},
		"sha256-" + hex[1:]:              {},
		"sha256-" + strings.ToUpper(hex): {},
		"v1.2":                           {},
		"sha256":                         {},
		"nonsense-" + hex:                {},
		"sha512-" + hex + ".sig":         {},
	} {
		d, suffix, ok := SplitDigestTag(tag)
		if d.String() != want[0] || suffix != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q, %q, %v, want %q", tag, d, suffix, ok, want)
		}
	}
}

func TestDigestTags(t *testing.T) {
	s := local.NewMemory()
	m := store.NewManifest(store.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	d := digest.FromString("x")
	base := "sha256-" + d.Encoded()
	if err := s.PutManifest(t.Context(), m, base, base+".att", base+".sig", "v1", "v1.sig"); err != nil {
		t.Fatal(err)
	}
	got, err := DigestTags(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{base + ".att", base + ".sig"}; len(got) != 1 || !slices.Equal(got[d], want) {
		t.Errorf("%v, want %v for %s", got, want, d)
	}
}
