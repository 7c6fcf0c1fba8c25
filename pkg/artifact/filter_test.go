package artifact

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestFilterTakes(t *testing.T) {
	titles := []string{"a.txt", "docs/a.md", "docs/deep/b.md", "src/a.txt", "./x/../odd", "/abs/c"}
	for pattern, want := range map[string]string{
		"*":            "a.txt docs/a.md docs/deep/b.md src/a.txt ./x/../odd /abs/c",
		"**":           "a.txt docs/a.md docs/deep/b.md src/a.txt ./x/../odd /abs/c",
		"a.txt":        "a.txt src/a.txt",
		"/a.txt":       "a.txt",
		"a.*":          "a.txt docs/a.md src/a.txt",
		"?.md":         "docs/a.md docs/deep/b.md",
		"[b-c]*":       "docs/deep/b.md /abs/c",
		"docs":         "",
		"docs/*":       "docs/a.md",
		"docs/**":      "docs/a.md docs/deep/b.md",
		"docs/**/b.md": "docs/deep/b.md",
		"docs/**/a.md": "docs/a.md",
		"**/deep/*":    "docs/deep/b.md",
		"*/a.*":        "docs/a.md src/a.txt",
		"odd":          "./x/../odd",
		"abs/c":        "/abs/c",
		"/abs/**":      "/abs/c",
		"A.TXT":        "",
		`\a.txt`:       "a.txt src/a.txt",
	} {
		f := Filter{Include: []string{pattern}}
		if err := f.Check(); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
		var got []string
		for _, title := range titles {
			if f.Takes(title) {
				got = append(got, title)
			}
			if (Filter{Exclude: []string{pattern}}).Takes(title) == f.Takes(title) {
				t.Errorf("%q: included and excluded are not opposites for %q", pattern, title)
			}
			if (Filter{Include: []string{"*"}, Exclude: []string{pattern}}).Takes(title) == f.Takes(title) {
				t.Errorf("%q: what is included by * is not excluded for %q", pattern, title)
			}
		}
		if want := strings.Fields(want); !slices.Equal(got, want) {
			t.Errorf("%q takes %q, want %q", pattern, got, want)
		}
	}
	if !(Filter{}).Takes("x") {
		t.Error("no filter does not take all")
	}
}

func TestFilterCheck(t *testing.T) {
	for _, bad := range []string{"", "/", "[", "[a-", "docs/[", `a\`, "docs/"} {
		for _, f := range []Filter{{Include: []string{"ok", bad}}, {Exclude: []string{bad}}} {
			if err := f.Check(); !errors.Is(err, store.ErrUsage) {
				t.Errorf("%q: %v, want ErrUsage", bad, err)
			}
		}
	}
}

func TestUntitledName(t *testing.T) {
	hex := digest.FromString("x").Encoded()
	for mediaType, want := range map[string]string{
		"application/vnd.oci.image.layer.v1.tar":                       ".tar",
		"application/vnd.oci.image.layer.v1.tar+gzip":                  ".tar.gz",
		"application/vnd.oci.image.layer.v1.tar+zstd":                  ".tar.zst",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": ".tar.gz",
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            ".tar.gz",
		"application/vnd.docker.container.image.v1+json":               ".json",
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip":          ".tgz",
		"application/vnd.cncf.helm.chart.provenance.v1.prov":           ".prov",
		"application/json":                           ".json",
		"application/vnd.in-toto+json":               ".json",
		"application/vnd.wasm.content.layer.v1+wasm": ".wasm",
		"application/gzip":                           ".gz",
		"TEXT/PLAIN":                                 ".txt",
		"application/octet-stream":                   "",
		"application/avatar":                         "",
		"":                                           "",
	} {
		if got := UntitledName(store.Descriptor{MediaType: mediaType, Digest: digest.FromString("x")}); got != hex+want {
			t.Errorf("%q: %q, want %q", mediaType, got, hex+want)
		}
	}
}

// Select sees what Unpack would see, over all manifests, and each file once.
func TestSelect(t *testing.T) {
	s := &source{}
	a, b, other, untitled := s.add("a.txt", "1"), s.add("d/b.md", "2"), s.add("a.txt", "3"), s.add("", "4")
	one, two := manifest(t, a, b, untitled, untitled), manifest(t, a, other, store.EmptyJSON())
	for name, c := range map[string]struct {
		o    UnpackOptions
		want []string
		err  error
	}{
		"all":              {UnpackOptions{}, []string{"a.txt 1", "d/b.md 2", "a.txt 3"}, nil},
		"named":            {UnpackOptions{NameUntitled: true}, []string{"a.txt 1", "d/b.md 2", UntitledName(untitled) + " 4", "a.txt 3"}, nil},
		"some":             {UnpackOptions{Filter: Filter{Include: []string{"*.md"}}}, []string{"d/b.md 2"}, nil},
		"but":              {UnpackOptions{Filter: Filter{Exclude: []string{"*.txt"}}}, []string{"d/b.md 2"}, nil},
		"none":             {UnpackOptions{Filter: Filter{Exclude: []string{"*"}}}, nil, nil},
		"one of two is no": {UnpackOptions{Filter: Filter{Include: []string{"*.md", "*.exe"}}}, nil, store.ErrNotFound},
	} {
		got, err := Select([]store.Manifest{one, two}, c.o)
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		var names []string
		for _, l := range got {
			names = append(names, l.Title+" "+string(s.blobs[l.Digest]))
		}
		if diff := cmp.Diff(c.want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	many := make([]string, 30)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	if got := AreTitles(many); !strings.HasSuffix(got, `" and 10 more`) || strings.Count(got, `"`) != 40 {
		t.Errorf("a long list: %s", got)
	}
}
