package artifact_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// shelf is a store that tests fill by hand.
type shelf struct {
	t *testing.T
	store.Store
}

func newShelf(t *testing.T) shelf { return shelf{t, local.NewMemory()} }

// blob puts content and gives its descriptor in JSON, with more fields.
func (s shelf) blob(mediaType, content, more string) string {
	s.t.Helper()
	if _, err := s.PutBlob(s.t.Context(), store.NewBlob(mediaType, []byte(content))); err != nil {
		s.t.Fatal(err)
	}
	return entry(store.Descriptor{MediaType: mediaType, Digest: digest.FromString(content), Size: int64(len(content))}, more)
}

func entry(d store.Descriptor, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, d.MediaType, d.Digest, d.Size, more)
}

func (s shelf) manifest(mediaType, raw string, tags ...string) store.Descriptor {
	s.t.Helper()
	m := store.NewManifest(mediaType, []byte(raw))
	if err := s.PutManifest(s.t.Context(), m, tags...); err != nil {
		s.t.Fatal(err)
	}
	return m.Descriptor
}

func (s shelf) image(config string, layers, more string) store.Descriptor {
	return s.manifest(store.MediaTypeImage, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]%s}`, config, layers, more))
}

// told is a difference as the tests compare it.
func told(list []artifact.Difference) []string {
	var all []string
	for _, d := range list {
		s := fmt.Sprintf("%s %s %s", d.Change, d.Kind, d.Path)
		if d.Why != "" {
			s += " because " + d.Why
		}
		all = append(all, s)
	}
	return all
}

func title(name string) string {
	return fmt.Sprintf(`,"annotations":{"org.opencontainers.image.title":%q}`, name)
}

func packed(name string, plain string) string {
	return fmt.Sprintf(`,"annotations":{"io.deis.oras.content.digest":%q,"io.deis.oras.content.unpack":"true","org.opencontainers.image.title":%q}`, digest.FromString(plain), name)
}

// The table of what differs between two manifests, and why.
func TestDiffOfManifests(t *testing.T) {
	s := newShelf(t)
	empty := s.blob("application/vnd.oci.empty.v1+json", "{}", "")
	one, other := s.blob("text/plain", "1", title("a")), s.blob("text/plain", "2", title("a"))
	bare := func(content string) string { return s.blob("text/plain", content, "") }
	config := func(content string) string { return s.blob("application/json", content, "") }
	base := s.image(empty, one, "")
	artifactOf := s.manifest(store.MediaTypeArtifact, fmt.Sprintf(`{"mediaType":%q,"artifactType":"a/b","blobs":[%s]}`, store.MediaTypeArtifact, one))
	for name, c := range map[string]struct {
		a, b store.Descriptor
		want []string
	}{
		"nothing": {base, base, nil},
		"a file that changed": {base, s.image(empty, other, ""), []string{
			"changed manifest ", "changed file layers[a]",
		}},
		"a file that has another media type": {base, s.image(empty, s.blob("text/html", "1", title("a")), ""), []string{
			"changed manifest ", "changed mediaType layers[a]/mediaType",
		}},
		"a file that has another name": {base, s.image(empty, s.blob("text/plain", "1", title("b")), ""), []string{
			"changed manifest ", "removed file layers[a]", "added file layers[b]",
		}},
		"one more without a name, in front": {
			s.image(empty, bare("x")+","+bare("y"), ""), s.image(empty, bare("n")+","+bare("x")+","+bare("y"), ""), []string{
				"changed manifest ", "added file layers[0]",
			},
		},
		"two of one name": {s.image(empty, one+","+other, ""), s.image(empty, one+","+s.blob("text/plain", "3", title("a")), ""), []string{
			"changed manifest ", "changed file layers[a#1]",
		}},
		"another order": {s.image(empty, bare("x")+","+bare("y"), ""), s.image(empty, bare("y")+","+bare("x"), ""), []string{
			"changed manifest  because only the order differs", "changed order layers because the same, in another order",
		}},
		"annotations of both": {
			s.image(empty, one, `,"annotations":{"k":"1","gone":"x"}`),
			s.image(empty, s.blob("text/plain", "1", `,"annotations":{"org.opencontainers.image.title":"a","n":"1"}`), `,"annotations":{"k":"2"}`),
			[]string{
				"changed manifest  because only annotations differ", "added annotation layers[a]/annotations[n]",
				"removed annotation annotations[gone]", "changed annotation annotations[k]",
			},
		},
		"the time of creation": {base, s.image(empty, one, `,"annotations":{"org.opencontainers.image.created":"2020-01-01T00:00:00Z"}`), []string{
			"changed manifest  because only the time of creation differs", "added annotation annotations[org.opencontainers.image.created]",
		}},
		"the subject": {base, s.image(empty, one, `,"subject":`+entry(store.Plain(artifactOf), "")), []string{
			"changed manifest  because only the subject differs", "added subject subject",
		}},
		"white space": {base, s.image(empty, one, " "), []string{
			"changed manifest  because the same meaning in other bytes: only the white space differs",
		}},
		"how characters are written": {base, s.image(empty, strings.ReplaceAll(one, "text/plain", `text\/plain`), ""), []string{
			"changed manifest  because the same meaning in other bytes: the order of names, or how characters are written, differs",
		}},
		"the mediaType field": {base, s.image(empty, one, fmt.Sprintf(`,"mediaType":%q`, store.MediaTypeImage)), []string{
			"changed manifest ", "added field mediaType",
		}},
		"an artifact type that is written out": {base, s.image(empty, one, `,"artifactType":"application/vnd.oci.empty.v1+json"`), []string{
			"changed manifest ", "added artifactType artifactType",
		}},
		"fields that nobody knows": {
			s.image(empty, strings.Replace(one, "}}", `},"x":{"deep":[1,2]}}`, 1), `,"new":1`), s.image(empty, strings.Replace(one, "}}", `},"x":{"deep":[1,3]}}`, 1), ""), []string{
				"changed manifest ", "changed field layers[a]/x/deep[1]", "removed field new",
			},
		},
		"another kind": {base, artifactOf, []string{
			"changed manifest  because one is an artifact manifest, the other is not: the same files have another digest then",
			"changed mediaType mediaType", "added artifactType artifactType", "removed config config",
		}},
		"a config": {s.image(config(`{"a":1,"b":[true]}`), one, ""), s.image(config(`{"a":"1","b":[true,null],"c":{}}`), one, ""), []string{
			"changed manifest ", "changed config config", "changed config config/a", "added config config/b[1]", "added config config/c",
		}},
		"a config in other bytes": {s.image(config(`{"a":1}`), one, ""), s.image(config(`{"a": 1}`), one, ""), []string{
			"changed manifest ", "changed config config because the same meaning in other bytes: only the white space differs",
		}},
		"a config that is no JSON": {s.image(config("x"), one, ""), s.image(config("y"), one, ""), []string{
			"changed manifest ", "changed config config",
		}},
		"a compression": {
			s.image(empty, s.blob("t+gzip", "z1", packed("d", "tar")), ""), s.image(empty, s.blob("t+zstd", "z2", packed("d", "tar")), ""), []string{
				"changed manifest  because the same files, compressed in another way",
				"changed file layers[d] because the same files, compressed in another way", "changed mediaType layers[d]/mediaType",
			},
		},
		"media types alone": {s.image(empty, s.blob("t/1", "z", title("d")), ""), s.image(empty, s.blob("t/2", "z", title("d")), ""), []string{
			"changed manifest ", "changed mediaType layers[d]/mediaType",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := artifact.Diff(t.Context(), artifact.Side{Store: s, Root: c.a}, artifact.Side{Store: s, Root: c.b}, artifact.DiffOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := told(list); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func (s shelf) index(entries ...string) store.Descriptor {
	return s.manifest(store.MediaTypeIndex, `{"schemaVersion":2,"manifests":[`+strings.Join(entries, ",")+`]}`)
}

func platform(arch string) string {
	return fmt.Sprintf(`,"platform":{"os":"linux","architecture":%q}`, arch)
}

func TestDiffOfIndexes(t *testing.T) {
	s := newShelf(t)
	empty := s.blob("application/vnd.oci.empty.v1+json", "{}", "")
	image := func(content string) store.Descriptor {
		return s.image(empty, s.blob("text/plain", content, title("a")), "")
	}
	one, two, three := image("1"), image("2"), image("3")
	a := s.index(entry(one, platform("amd64")), entry(two, platform("arm64")), entry(one, platform("s390x")))
	b := s.index(entry(three, platform("arm64")), entry(one, platform("amd64")), entry(two, ""))
	list, err := artifact.Diff(t.Context(), artifact.Side{Store: s, Root: a}, artifact.Side{Store: s, Root: b}, artifact.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"changed manifest ", "removed entry manifests[linux/s390x]", "added entry manifests[2]",
		"changed order manifests because the same, in another order",
		"changed manifest manifests[linux/arm64]", "changed file manifests[linux/arm64]/layers[a]",
	}
	if got := told(list); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The same pair at two places is compared once, and the second says where.
	a = s.index(entry(one, platform("a")), entry(one, platform("b")))
	b = s.index(entry(two, platform("a")), entry(two, platform("b")))
	list, err = artifact.Diff(t.Context(), artifact.Side{Store: s, Root: a}, artifact.Side{Store: s, Root: b}, artifact.DiffOptions{})
	want = []string{
		"changed manifest ", "changed manifest manifests[linux/a]", "changed file manifests[linux/a]/layers[a]",
		`changed manifest manifests[linux/b] because the same two are compared at "manifests[linux/a]"`,
	}
	if got := told(list); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func tarOf(t *testing.T, headers ...*tar.Header) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Size, h.Linkname = int64(len(content)), ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(content))
		}
	}
	w.Close()
	return b.String()
}

func TestDiffOfContents(t *testing.T) {
	s := newShelf(t)
	empty := s.blob("application/vnd.oci.empty.v1+json", "{}", "")
	layer := func(headers ...*tar.Header) store.Descriptor {
		return s.image(empty, s.blob("application/vnd.oci.image.layer.v1.tar", tarOf(t, headers...), ""), "")
	}
	file := func(name, content string, mode int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: mode}
	}
	a := layer(file("same", "1", 0o644), file("content", "1", 0o644), file("mode", "1", 0o644), file("twice", "1", 0o644), file("twice", "2", 0o644),
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "there"})
	b := layer(file("same", "1", 0o644), file("content", "2", 0o644), file("mode", "1", 0o755), file("twice", "1", 0o644), file("new", "1", 0o644),
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "elsewhere"})
	owned := file("same", "1", 0o644)
	owned.Uid = 7
	for name, c := range map[string]struct {
		a, b store.Descriptor
		want []string
	}{
		"entries": {a, b, []string{
			"changed content layers[0]/contents[content]", "changed content layers[0]/contents[link]",
			"changed content layers[0]/contents[mode]", "added content layers[0]/contents[new]",
			"removed content layers[0]/contents[twice#2]",
		}},
		"owners": {layer(file("same", "1", 0o644)), layer(owned), []string{
			"changed content layers[0]/contents because the same entries, with other times or owners",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := artifact.Diff(t.Context(), artifact.Side{Store: s, Root: c.a}, artifact.Side{Store: s, Root: c.b}, artifact.DiffOptions{Contents: true})
			if err != nil {
				t.Fatal(err)
			}
			list = slices.DeleteFunc(list, func(d artifact.Difference) bool { return d.Kind != artifact.DiffContent })
			if got := told(list); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// Configs that are too large, or nested too deep, are compared by their digests.
func TestDiffBoundsConfigs(t *testing.T) {
	s := newShelf(t)
	one := s.blob("text/plain", "1", title("a"))
	config := func(content string) string { return s.blob("application/json", content, "") }
	large := func(c string) string { return config(`"` + strings.Repeat(c, 4<<20) + `"`) }
	deep := func(n int) string { return config(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	many := func(v int) string {
		return config("[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d,", v), 5000), ",") + "]")
	}
	for name, c := range map[string]struct {
		a, b string
		why  string
		list int
	}{
		"large": {large("x"), large("y"), "not looked into: over 4194304 bytes", 2},
		"deep":  {deep(1000), deep(1001), "", 2},
		"many":  {many(1), many(2), "", 2 + 1000 + 1},
	} {
		a, b := s.image(c.a, one, ""), s.image(c.b, one, "")
		list, err := artifact.Diff(t.Context(), artifact.Side{Store: s, Root: a}, artifact.Side{Store: s, Root: b}, artifact.DiffOptions{})
		if err != nil || len(list) != c.list || list[1].Why != c.why {
			t.Errorf("%s: %d differences, %q, %v", name, len(list), list[1].Why, err)
		}
	}
}

func TestDiffSaysWhichSideFailed(t *testing.T) {
	s, none := newShelf(t), newShelf(t)
	empty := s.blob("application/vnd.oci.empty.v1+json", "{}", "")
	a, b := s.image(empty, s.blob("text/plain", "1", title("a")), ""), s.image(empty, s.blob("text/plain", "2", title("a")), "")
	_, err := artifact.Diff(t.Context(), artifact.Side{Store: s, Root: a}, artifact.Side{Store: none, Root: b}, artifact.DiffOptions{})
	var side *artifact.SideError
	if !errors.As(err, &side) || !side.Second || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
