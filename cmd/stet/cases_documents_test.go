package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// refusesDocument wants that a document under app:bad is neither pulled nor
// copied, and that the program asks for nothing that only the document names.
func refusesDocument(t *testing.T, s *shelf, why string, i item) {
	t.Helper()
	if i.dcd == "" {
		i.dcd = digest.FromBytes(i.raw).String()
	}
	for _, ref := range []string{"bad", digest.FromBytes(i.raw).String()} {
		s.set("/v2/app/manifests/"+ref, i)
	}
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	about := func(o outcome) {
		t.Helper()
		if o.Code == 0 || o.Code == 2 || o.Stdout != "" || !threeLines.MatchString(o.Stderr) {
			t.Errorf("%s: %s", why, o)
		}
	}
	about(d.stet(quick("pull", h.Name()+"/app:bad")...))
	about(d.stet(quick("pull", h.Name()+"/app@"+digest.FromBytes(i.raw).String())...))
	d.leftAlone()
	about(d.stet(quick("cp", h.Name()+"/app:bad", "oci:copy:v1")...))
	if strings.Contains(d.read("copy/index.json"), "sha256:") {
		t.Errorf("%s: cp listed it: %s", why, d.read("copy/index.json"))
	}
	for _, n := range h.heard("", "") {
		if strings.Contains(n.URI, "..") || strings.Contains(n.URI, "/etc/") {
			t.Errorf("%s: the program asked for %s", why, n)
		}
	}
}

// imageWith is an image manifest of one file in which old is replaced. The
// layer is content, so that what should be refused is the document alone.
func imageWith(t *testing.T, s *shelf, old, replacement string) item {
	t.Helper()
	s.blob("{}")
	raw := imageOf(s.file("data.bin", content))
	if strings.Count(raw, old) == 0 {
		t.Fatalf("%s is not in %s", old, raw)
	}
	return item{kind: imageType, raw: []byte(strings.Replace(raw, old, replacement, 1))}
}

// Case 13: size too big, too small, negative, 2^63-1, string: exit ≠ 0, no
// crash, no allocation.
func TestCase13Sizes(t *testing.T) {
	t.Parallel()
	size := fmt.Sprintf(`"size":%d`, len(content))
	for _, wrong := range []string{
		fmt.Sprint(len(content) + 1), fmt.Sprint(len(content) - 1), "0", "-1", "-9223372036854775808", "9223372036854775807",
		"9223372036854775808", "1e30", "1.5", "68719476736", `"320000"`, "null", "[]",
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			refusesDocument(t, s, "a layer's size "+wrong, imageWith(t, s, size, `"size":`+wrong))
			if !plausible(wrong) { // else who does not read the config cannot know
				refusesDocument(t, s, "the config's size "+wrong, imageWith(t, s, `"size":2,`, `"size":`+wrong+","))
			}
			child := s.artifact([]store.Descriptor{s.file("a.txt", "a\n")})
			raw := strings.Replace(indexOf(child), fmt.Sprintf(`"size":%d`, child.Size), `"size":`+wrong, 1)
			refusesDocument(t, s, "a child's size "+wrong, item{kind: indexType, raw: []byte(raw)})
		})
	}
	// A size that is missing is no size.
	s := newShelf()
	refusesDocument(t, s, "no size", imageWith(t, s, ","+size, ""))
	refusesDocument(t, s, "no size of the config", imageWith(t, s, `"size":2,`, ""))
	// The config is read by cp, and by pull where it is asked for.
	i := imageWith(t, s, `"size":2,`, `"size":3,`)
	s.manifest(imageType, string(i.raw), "config")
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	d.stet(quick("pull", "--config", "config.json", h.Name()+"/app:config")...).fails(7)
	d.leftAlone()
	d.stet(quick("cp", h.Name()+"/app:config", "oci:copy:v1")...).fails(7)
}

// plausible says whether a size could be one.
func plausible(size string) bool {
	_, err := strconv.ParseUint(size, 10, 63)
	return err == nil
}

// Case 14: digest: unknown algorithm, uppercase, empty, short: exit ≠ 0, never
// "not verified".
func TestCase14Digests(t *testing.T) {
	t.Parallel()
	good := digest.FromString(content)
	for _, wrong := range []string{
		"md5:d41d8cd98f00b204e9800998ecf8427e", "crc32:00000000", "sha256:" + strings.ToUpper(good.Encoded()), "SHA256:" + good.Encoded(),
		"", "sha256:", "sha256", good.Encoded(), "sha256:" + good.Encoded()[:63], "sha256:" + good.Encoded() + "0", " " + good.String(),
		good.String() + "\\n", "sha384:" + strings.Repeat("0", 95), "sha256:" + strings.Repeat("g", 64), "sha256+b64:" + good.Encoded(),
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			s.set("/v2/app/blobs/"+wrong, item{octetsType, []byte(content), wrong})
			refusesDocument(t, s, "a layer's digest", imageWith(t, s, good.String(), wrong))
			child := s.artifact([]store.Descriptor{s.file("a.txt", "a\n")})
			raw := strings.Replace(indexOf(child), child.Digest.String(), wrong, 1)
			refusesDocument(t, s, "a child's digest", item{kind: indexType, raw: []byte(raw)})
		})
	}
	// One that the registry names itself in a header counts as little.
	for _, lie := range []string{"md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:0", "../../x", "\u202e"} {
		s := newShelf()
		s.artifact([]store.Descriptor{s.file("a.txt", "a\n")}, "v1")
		i := s.items["/v2/app/manifests/v1"]
		i.dcd = lie
		s.set("/v2/app/manifests/v1", i)
		h := newHostile(t, s.ServeHTTP)
		newDesk(t).stet(quick("resolve", h.Name()+"/app:v1")...).never(lie)
	}
}

// Case 15: digest with ../: exit ≠ 0, never in a request or path.
func TestCase15DigestWithDots(t *testing.T) {
	t.Parallel()
	good := digest.FromString(content)
	for _, wrong := range []string{
		"sha256:../../../../../../etc/passwd", "../../../v2/", "sha256:" + strings.Repeat("../", 20) + "abcd", "sha256/../..:" + good.Encoded(),
		"sha256:..%2f..%2f" + strings.Repeat("0", 54), "..:" + good.Encoded(),
	} {
		s := newShelf()
		refusesDocument(t, s, "a layer", imageWith(t, s, good.String(), wrong))
		refusesDocument(t, s, "the config", imageWith(t, s, digest.FromString("{}").String(), wrong))
		refusesDocument(t, s, "a child", item{kind: indexType, raw: []byte(indexOf(store.Descriptor{
			MediaType: imageType, Digest: digest.Digest(wrong), Size: 10,
		}))})
		// In a list of referrers, which another account could have written.
		root := s.artifact([]store.Descriptor{s.file("a.txt", "a\n")}, "v1")
		list := item{indexType, []byte(indexOf(store.Descriptor{MediaType: imageType, Digest: digest.Digest(wrong), Size: 10})), ""}
		s.set("/v2/app/referrers/"+root.Digest.String(), list)
		h := newHostile(t, s.ServeHTTP)
		d := newDesk(t)
		d.stet(quick("cp", "-r", h.Name()+"/app:v1", "oci:copy:v1")...).fails(7)
		d.stet(quick("discover", h.Name()+"/app:v1")...).fails(7)
		h.without("..")
	}
	d := newDesk(t)
	h := newHostile(t, newShelf().ServeHTTP)
	for _, args := range [][]string{
		{"pull", h.Name() + "/app@sha256:../../x"},
		{"blob", "fetch", "-o", "x", h.Name() + "/app@sha256:../../x"},
		{"pull", h.Name() + "/app/../other:v1"},
		{"manifest", "fetch", h.Name() + "/app@../x"},
	} {
		d.stet(quick(args...)...).fails(2)
	}
	h.atMost(0)
}

// Case 16: sha512 layer good; corrupt: pulled and verified; exit ≠ 0.
func TestCase16SHA512(t *testing.T) {
	t.Parallel()
	s := newShelf()
	layer := s.file("data.bin", content)
	layer.Digest = digest.SHA512.FromString(content)
	s.set("/v2/app/blobs/"+layer.Digest.String(), item{octetsType, []byte(content), layer.Digest.String()})
	s.artifact([]store.Descriptor{layer}, "v1")
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	d.stet(quick("pull", h.Name()+"/app:v1")...).ok()
	if d.read("data.bin") != content {
		t.Error("the file has another content")
	}
	d.stet(quick("cp", h.Name()+"/app:v1", "oci:copy:v1")...).ok()
	d.stet("verify", "oci:copy:v1").ok()
	s.set("/v2/app/blobs/"+layer.Digest.String(), item{octetsType, []byte(flipped(content)), layer.Digest.String()})
	d = newDesk(t)
	d.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
	d.leftAlone()
	d.stet(quick("cp", h.Name()+"/app:v1", "oci:copy:v1")...).fails(7)
	// A manifest under a sha512 is held against it, too.
	raw := imageOf(layer)
	sum := digest.SHA512.FromString(raw).String()
	s.set("/v2/app/manifests/"+sum, item{imageType, []byte(raw + " "), sum})
	d.stet(quick("manifest", "fetch", h.Name()+"/app@"+sum)...).fails(7)
	s.set("/v2/app/manifests/"+sum, item{imageType, []byte(raw), sum})
	if o := d.stet(quick("manifest", "fetch", h.Name()+"/app@"+sum)...).ok(); o.Stdout != raw {
		t.Errorf("%s", o)
	}
}

// Case 17: not JSON, array, null fields, 100 000 deep: exit ≠ 0, no crash.
func TestCase17NotADocument(t *testing.T) {
	t.Parallel()
	deep := func(open, inner, end string) string {
		return `{"schemaVersion":2,"x":` + strings.Repeat(open, 100_000) + inner + strings.Repeat(end, 100_000) + "}"
	}
	documents := map[string]string{
		"nothing": "", "space": " \n", "text": "hello", "array": "[]", "array of one": "[" + imageOf() + "]", "null": "null", "number": "7",
		"string": `"x"`, "cut": imageOf()[:40], "null config and layers": `{"schemaVersion":2,"mediaType":"` + imageType + `","config":null,"layers":null}`,
		"null layer":     strings.Replace(imageOf(store.EmptyJSON()), `"layers":[{`, `"layers":[null,{`, 1),
		"layers of text": `{"schemaVersion":2,"config":{},"layers":"x"}`,
		"deep arrays":    deep("[", "", "]"), "deep objects": deep(`{"a":`, "1", "}"), "deep and cut": `{"a":` + strings.Repeat("[", 2_000_000),
		"annotations of numbers": strings.Replace(imageOf(), `"artifactType"`, `"annotations":{"a":1},"artifactType"`, 1),
		"null manifests":         `{"schemaVersion":2,"manifests":null}`, "null child": `{"schemaVersion":2,"manifests":[null]}`,
	}
	for name, raw := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			s.blob("{}")
			refusesDocument(t, s, "an image", item{kind: imageType, raw: []byte(raw)})
			refusesDocument(t, s, "an index", item{kind: indexType, raw: []byte(raw)})
		})
	}
}

// Case 18: second document after the first: exit ≠ 0. And what else can be
// read in two ways: a name twice, or in another case.
func TestCase18SecondDocument(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.blob("{}")
	raw := imageOf(s.file("data.bin", content))
	other := asJSON([]store.Descriptor{s.file("other.bin", "other")})
	for why, doc := range map[string]string{
		"two documents": raw + raw, "a word after it": raw + "x", "a NUL after it": raw + "\x00", "a bracket after it": raw + "}",
		"layers twice": strings.Replace(raw, `"layers"`, `"layers":`+other+`,"layers"`, 1),
		"Layers":       strings.Replace(raw, `"layers"`, `"Layers":`+other+`,"layers"`, 1),
		"Kelvin sign":  strings.Replace(raw, `"layers"`, `"layerſ":`+other+`,"layers"`, 1),
		"escaped name": strings.Replace(raw, `"layers"`, `"l\u0061yers":`+other+`,"layers"`, 1),
		"Digest":       strings.Replace(raw, `"digest"`, `"Digest":"sha256:0","digest"`, 1),
		"a title twice": strings.Replace(raw, `"org.opencontainers.image.title"`,
			`"org.opencontainers.image.title":"x","org.opencontainers.image.title"`, 1),
	} {
		if !json.Valid([]byte(doc)) && strings.HasPrefix(why, "layers") {
			t.Fatal(doc)
		}
		refusesDocument(t, s, why, item{kind: imageType, raw: []byte(doc)})
	}
}

// Case 19: layers and manifests in one document: exit ≠ 0.
func TestCase19LayersAndManifests(t *testing.T) {
	t.Parallel()
	s := newShelf()
	child := s.artifact([]store.Descriptor{s.file("child.txt", "child\n")})
	raw := imageOf(s.file("data.bin", content))
	both := strings.Replace(raw, `"layers"`, `"manifests":`+asJSON([]store.Descriptor{child})+`,"layers"`, 1)
	refusesDocument(t, s, "as an image", item{kind: imageType, raw: []byte(both)})
	refusesDocument(t, s, "as an index", item{kind: indexType, raw: []byte(strings.Replace(both, imageType, indexType, 1))})
	empty := strings.Replace(raw, `"layers"`, `"manifests":[],"layers"`, 1)
	refusesDocument(t, s, "with an empty list", item{kind: imageType, raw: []byte(empty)})
}

// Case 20: Content-Type and mediaType differ, both ways: exit ≠ 0.
func TestCase20ContentTypeAndMediaType(t *testing.T) {
	t.Parallel()
	s := newShelf()
	child := s.artifact([]store.Descriptor{s.file("child.txt", "child\n")})
	image, index := imageOf(s.file("data.bin", content)), indexOf(child)
	refusesDocument(t, s, "an image called an index", item{kind: indexType, raw: []byte(image)})
	refusesDocument(t, s, "an index called an image", item{kind: imageType, raw: []byte(index)})
	refusesDocument(t, s, "an image called Docker's", item{kind: store.MediaTypeDockerImage, raw: []byte(image)})
	refusesDocument(t, s, "an index with mediaType of an image", item{kind: indexType, raw: []byte(strings.Replace(index, indexType, imageType, 1))})
	refusesDocument(t, s, "called octets, and itself something else", item{kind: octetsType, raw: []byte(strings.Replace(image, imageType, "application/x", 1))})
	// The descriptor in an index has a say as well.
	liar := child
	liar.MediaType = indexType
	refusesDocument(t, s, "a child of another type", item{kind: indexType, raw: []byte(indexOf(liar))})
	// Parameters of Content-Type are none of this.
	s.artifact([]store.Descriptor{s.file("a.txt", "a\n")}, "good")
	i := s.items["/v2/app/manifests/good"]
	i.kind += "; charset=utf-8"
	s.set("/v2/app/manifests/good", i)
	newDesk(t).stet(quick("pull", newHostile(t, s.ServeHTTP).Name()+"/app:good")...).ok()
}

// Case 21: HTML for a manifest: exit ≠ 0.
func TestCase21HTMLForManifest(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html><title>Sign in</title>"
	for _, kind := range []string{"text/html", "text/html; charset=utf-8", imageType, "", octetsType} {
		refusesDocument(t, newShelf(), "a page as "+kind, item{kind: kind, raw: []byte(page)})
	}
	h := newHostile(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	})
	d := newDesk(t)
	for _, args := range [][]string{
		{"resolve", h.Name() + "/app:v1"},
		{"manifest", "fetch", h.Name() + "/app:v1"},
		{"repo", "tags", h.Name() + "/app"},
		{"discover", h.Name() + "/app:v1"},
		{"tag", h.Name() + "/app:v1", "v2"},
	} {
		d.stet(quick(args...)...).fails(7)
	}
	d.stet("repo", "ls", h.Name()).fails(7)
}

// Case 22: bytes that are not UTF-8: exit ≠ 0.
func TestCase22NotUTF8(t *testing.T) {
	t.Parallel()
	s := newShelf()
	for _, bad := range []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
		refusesDocument(t, s, "in a title", imageWith(t, s, "data.bin", "data"+bad))
		refusesDocument(t, s, "in a type", imageWith(t, s, "application/vnd.case", "application/"+bad))
	}
	refusesDocument(t, s, "a byte order mark", item{kind: imageType, raw: []byte("\xef\xbb\xbf" + imageOf())})
	utf16 := "\xff\xfe{\x00}\x00"
	refusesDocument(t, s, "UTF-16", item{kind: imageType, raw: []byte(utf16)})
}
