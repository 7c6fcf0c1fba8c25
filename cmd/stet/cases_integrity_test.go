package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// content is a blob that is larger than what one read gives.
var content = strings.Repeat("0123456789abcdef", 20000)

// pulled is a registry with app:v1, which has the file data.bin, and whose
// blob is answered by a script.
func pulled(t *testing.T, script http.HandlerFunc) (*shelf, *hostile) {
	s := newShelf()
	d := s.file("data.bin", content)
	s.artifact([]store.Descriptor{d}, "v1")
	return s, newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, d.Digest.String()) {
			w.Header().Set("Content-Type", octetsType)
			script(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// leftAlone wants that nothing but what a later pull proves again lies in the
// working directory: no file of the artifact, and no more than names with a dot.
func (d *desk) leftAlone() {
	d.t.Helper()
	for _, f := range d.files() {
		if !strings.HasPrefix(f, ".") {
			d.t.Errorf("left behind: %q", d.files())
			return
		}
	}
}

// flipped is content of the same length with another byte.
func flipped(raw string) string { return raw[:len(raw)/2] + "X" + raw[len(raw)/2+1:] }

// Case 1: blob bytes flipped: exit ≠ 0. Case 2: the same, residue: nothing but
// verified bytes under the final name.
func TestCase01And02PullFlippedBlob(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"some content\n", content} {
		s := newShelf()
		good, bad := s.file("good.txt", "good\n"), s.file("sub/bad.txt", raw)
		s.artifact([]store.Descriptor{good, bad}, "v1")
		s.set("/v2/app/blobs/"+bad.Digest.String(), item{octetsType, []byte(flipped(raw)), bad.Digest.String()})
		h := newHostile(t, s.ServeHTTP)
		d := newDesk(t)
		d.write("keep.txt", "mine\n")
		d.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
		d.stet(quick("pull", "-o", "-", "--include", "bad.txt", h.Name()+"/app:v1")...).cut(7, raw)
		for _, f := range d.files() {
			if strings.Contains(d.contentOf(f), "X") {
				t.Errorf("%s has the flipped byte; there is %q", f, d.files())
			}
			if strings.HasSuffix(f, "bad.txt") {
				t.Errorf("there is %s", f)
			}
		}
		if got := d.read("good.txt"); got != "" && got != "good\n" {
			t.Errorf("good.txt is %q", got)
		}
	}
}

// contentOf is what is in a file, "" for a directory.
func (d *desk) contentOf(name string) string {
	if strings.HasSuffix(name, "/") {
		return ""
	}
	return d.read(name)
}

// cut wants the exit code, and on stdout less than the whole: bytes that went
// there cannot be taken back, so the last ones never go.
func (o outcome) cut(code int, whole string) {
	o.t.Helper()
	if o.Code != code || len(o.Stdout) >= len(whole) {
		o.t.Errorf("%s\nwant exit code %d and less than %d bytes on stdout", o, code, len(whole))
	}
}

// Case 3: body cut off, every time: exit ≠ 0, nothing left.
func TestCase03BodyAlwaysCut(t *testing.T) {
	t.Parallel()
	cuts := map[string]http.HandlerFunc{
		"in the middle": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			io.WriteString(w, content[:len(content)/2])
			panic(http.ErrAbortHandler)
		},
		"before the first byte": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"before the last byte, chunked": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, content[:len(content)-1])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"a regular end, chunked": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, content[:len(content)-1])
			http.NewResponseController(w).Flush()
		},
	}
	for name, script := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, h := pulled(t, script)
			d := newDesk(t)
			d.stet("pull", "--retry", "1", h.Name()+"/app:v1").fails(7, 8)
			d.leftAlone()
			h.atMost(12)
		})
	}
}

// Case 4: Content-Length short, empty body, HTML instead: exit ≠ 0, nothing left.
func TestCase04ShortEmptyOrHTML(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"short": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content[:100]) },
		"empty": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") },
		"no content": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("Content-Type")
			w.WriteHeader(http.StatusNoContent)
		},
		"html": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html><title>Sign in</title></html>")
		},
		"html of the right length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>"+content[6:])
		},
	}
	for name, script := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, h := pulled(t, script)
			d := newDesk(t)
			d.stet(quick("pull", h.Name()+"/app:v1")...).fails(7, 8)
			d.leftAlone()
		})
	}
}

// Case 5: extra bytes, endless body: exit ≠ 0 or exactly the declared bytes;
// stop near the size.
func TestCase05ExtraBytesOrEndless(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"one byte more":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content+"x") },
		"one byte more, chunked": chunked(content + "x"),
		"endless, the right beginning": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, content)
			pour(w)
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) { pour(w) },
	}
	for name, script := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, h := pulled(t, script)
			d := newDesk(t)
			d.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
			d.leftAlone()
			near(h, int64(len(content)))
		})
	}
}

// chunked answers without a Content-Length.
func chunked(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).Flush()
		io.WriteString(w, raw)
	}
}

// endlessly is how much pour sends at most: for whom it is endless, it is.
const endlessly = 1 << 30

// pour sends until the other side closes.
func pour(w io.Writer) {
	block := []byte(strings.Repeat("a", 64<<10))
	for n := 0; n < endlessly; n += len(block) {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// near wants that the bytes that went out are about as many as these: what the
// buffers of two kernels hold is on its way already.
func near(h *hostile, size int64) {
	h.t.Helper()
	const buffers = 16 << 20
	if got := h.gave(); got > size+buffers {
		h.t.Errorf("%d bytes were taken, want about %d", got, size)
	}
}

// Case 6: corrupt blob with blob fetch -o: exit ≠ 0, no bad output file.
func TestCase06BlobFetchCorrupt(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{flipped(content), content[1:], content + "x", ""} {
		_, h := pulled(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, raw) })
		d := newDesk(t)
		ref := h.Name() + "/app@" + digest.FromString(content).String()
		d.stet(quick("blob", "fetch", "-o", "new.bin", ref)...).fails(7)
		d.leftAlone()
		d.write("old.bin", "old")
		d.stet(quick("blob", "fetch", "-o", "old.bin", ref)...).fails(7)
		if got := d.read("old.bin"); got != "old" {
			t.Errorf("the old file has %d other bytes", len(got))
		}
		d.stet(quick("blob", "fetch", "-o", "-", ref)...).cut(7, content)
	}
}

// Case 7: pull by digest, other manifest (header lies, header honest, no
// header): exit ≠ 0, nothing written.
func TestCase07PullByDigestOtherManifest(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"header lies", "header honest", "no header"} {
		s := newShelf()
		asked := s.artifact([]store.Descriptor{s.file("asked.txt", "asked\n")})
		raw := imageOf(s.file("other.txt", "other\n"))
		header := map[string]string{"header lies": asked.Digest.String(), "header honest": digest.FromString(raw).String()}[kind]
		s.set("/v2/app/manifests/"+asked.Digest.String(), item{imageType, []byte(raw), header})
		h := newHostile(t, s.ServeHTTP)
		d := newDesk(t)
		ref := h.Name() + "/app@" + asked.Digest.String()
		d.stet(quick("pull", ref)...).fails(7)
		d.stet(quick("pull", h.Name()+"/app:v1@"+asked.Digest.String())...).fails(2, 7)
		d.leftAlone()
		d.stet(quick("cp", ref, "oci:copy:v1")...).fails(7)
		if strings.Contains(d.read("copy/index.json"), "sha256:") {
			t.Errorf("%s: cp kept it: %s", kind, d.read("copy/index.json"))
		}
	}
}

// Case 8: manifest fetch by digest, other bytes: exit ≠ 0, not printed.
func TestCase08ManifestFetchOtherBytes(t *testing.T) {
	t.Parallel()
	s := newShelf()
	asked := s.artifact([]store.Descriptor{s.file("asked.txt", "asked\n")})
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	ref := h.Name() + "/app@" + asked.Digest.String()
	for _, raw := range []string{imageOf(s.file("evil.txt", "other\n")), "evil", "{}"} {
		s.set("/v2/app/manifests/"+asked.Digest.String(), item{imageType, []byte(raw), asked.Digest.String()})
		d.stet(quick("manifest", "fetch", ref)...).fails(7).never("evil")
		d.stet(quick("manifest", "fetch", "-o", "m.json", ref)...).fails(7)
		d.stet(quick("manifest", "fetch", "--descriptor", ref)...).fails(7)
		d.stet(quick("manifest", "fetch-config", ref)...).fails(7)
		d.leftAlone()
	}
}

// Case 9: Docker-Content-Digest lies for a tag: refuse or never repeat it.
func TestCase09DigestHeaderLiesForTag(t *testing.T) {
	t.Parallel()
	s := newShelf()
	raw := imageOf(s.file("a.txt", "a\n"))
	s.blob("{}")
	lie := digest.FromString("lie").String()
	s.set("/v2/app/manifests/v1", item{imageType, []byte(raw), lie})
	s.set("/v2/app/manifests/"+digest.FromString(raw).String(), item{imageType, []byte(raw), ""})
	h := newHostile(t, s.ServeHTTP)
	ref := h.Name() + "/app:v1"
	for _, args := range [][]string{
		{"resolve", ref},
		{"resolve", "--format", "json", ref},
		{"manifest", "fetch", ref},
		{"manifest", "fetch", "--descriptor", ref},
		{"pull", ref},
		{"pull", "--format", "json", ref},
		{"cp", ref, "oci:copy:v1"},
		{"discover", ref},
	} {
		d := newDesk(t)
		o := d.stet(quick(args...)...)
		if o.Code == 2 || strings.Contains(o.Stdout, lie) || strings.Contains(d.read("copy/index.json"), lie) {
			t.Errorf("%s\nit repeats the lie", o)
		}
	}
}

// Case 10: tag moves between HEAD and GET: one consistent result.
func TestCase10TagMoves(t *testing.T) {
	t.Parallel()
	s := newShelf()
	first := s.artifact([]store.Descriptor{s.file("name.txt", "first\n")}, "first")
	second := s.artifact([]store.Descriptor{s.file("name.txt", "second, which is longer\n")}, "second")
	// Each request for the tag sees the other of the two.
	for _, begin := range []int64{0, 1} {
		var asked atomic.Int64
		asked.Store(begin)
		h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
			if path, ok := strings.CutSuffix(r.URL.Path, "/manifests/v1"); ok {
				r.URL.Path = path + "/manifests/" + []string{"first", "second"}[asked.Add(1)%2]
			}
			s.ServeHTTP(w, r)
		})
		d := newDesk(t)
		ref := h.Name() + "/app:v1"
		want := map[string]string{first.Digest.String(): "first\n", second.Digest.String(): "second, which is longer\n"}
		o := d.stet(quick("pull", "--format", "go-template={{.digest}}", ref)...).ok()
		said := strings.TrimSpace(o.Stdout)
		if got := d.read("name.txt"); want[said] != got || got == "" {
			t.Errorf("pull says %s, and the file is %q", said, got)
		}
		o = d.stet(quick("cp", "--format", "go-template={{.digest}}", ref, "oci:copy:v1")...).ok()
		if said = strings.TrimSpace(o.Stdout); !strings.Contains(d.read("copy/index.json"), said) {
			t.Errorf("cp says %s, and the layout has %s", said, d.read("copy/index.json"))
		}
		o = d.stet(quick("manifest", "fetch", "-o", "m.json", "--format", "go-template={{.digest}}", ref)...).ok()
		if got := digest.FromString(d.read("m.json")).String(); got != strings.TrimSpace(o.Stdout) {
			t.Errorf("manifest fetch says %s, and the file has %s", o.Stdout, got)
		}
	}
}

// Case 11: child of an index swapped: cp fails, no tag.
func TestCase11IndexChildSwapped(t *testing.T) {
	t.Parallel()
	s := newShelf()
	child := s.artifact([]store.Descriptor{s.file("a.txt", "a\n")})
	s.index([]store.Descriptor{child}, "all")
	raw := imageOf(s.file("b.txt", "b\n"))
	s.set("/v2/app/manifests/"+child.Digest.String(), item{imageType, []byte(raw), child.Digest.String()})
	h := newHostile(t, s.ServeHTTP)
	accept := newAcceptAll(t)
	d := newDesk(t)
	d.stet(quick("cp", h.Name()+"/app:all", "oci:copy:all")...).fails(7)
	if strings.Contains(d.read("copy/index.json"), "sha256:") {
		t.Errorf("the layout lists %s", d.read("copy/index.json"))
	}
	d.stet(quick("cp", h.Name()+"/app:all", accept.Name()+"/app:all")...).fails(7)
	accept.noTag()
	d.stet(quick("pull", h.Name()+"/app:all")...).fails(7)
	if slices.Contains(d.files(), "b.txt") {
		t.Errorf("the swapped child was written: %q", d.files())
	}
}

// Case 12: source corrupt during cp, destination accepts all: cp fails, no tag.
func TestCase12CopyOfCorruptSource(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{"flipped": flipped(content), "short": content[:1000], "long": content + "x"} {
		_, h := pulled(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, raw) })
		accept := newAcceptAll(t)
		d := newDesk(t)
		o := d.stet(quick("cp", h.Name()+"/app:v1", accept.Name()+"/app:v1")...).fails(7, 8)
		accept.noTag()
		d.stet(quick("cp", h.Name()+"/app:v1", "oci:copy:v1")...).fails(7)
		if index := d.read("copy/index.json"); strings.Contains(index, "sha256:") {
			t.Errorf("%s: %s\nthe layout lists %s", name, o, index)
		}
		blobs, _ := filepath.Glob(filepath.Join(d.Dir, "copy", "blobs", "sha256", "*"))
		for _, b := range blobs {
			if raw, err := os.ReadFile(b); err != nil || digest.FromBytes(raw).Encoded() != filepath.Base(b) {
				t.Errorf("%s: the layout has %s with other bytes", name, b)
			}
		}
		// Nor may a destination that takes everything be told that it is whole.
		for _, put := range accept.heard("", "/v2/app/blobs/uploads/") {
			if want := put.Query.Get("digest"); want == digest.FromString(content).String() && put.Took.Load() >= int64(len(content)) {
				t.Errorf("%s: %s was sent whole: %d bytes", name, put, put.Took.Load())
			}
		}
	}
}

// acceptAll is a registry that says yes to everything that is written and
// keeps nothing.
type acceptAll struct{ *hostile }

func newAcceptAll(t *testing.T) acceptAll {
	return acceptAll{newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case reads(r) && r.URL.Path == "/v2/":
		case reads(r):
			refuse(w, http.StatusNotFound, "NOT_FOUND")
		default:
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "/v2/app/blobs/uploads/1")
			if d := r.URL.Query().Get("digest"); d != "" || r.Method == http.MethodPut {
				w.WriteHeader(http.StatusCreated)
				return
			}
			w.WriteHeader(http.StatusAccepted)
		}
	})}
}

// noTag wants that no manifest was put.
func (a acceptAll) noTag() {
	a.t.Helper()
	if puts := a.heard(http.MethodPut, "/v2/app/manifests/"); len(puts) > 0 {
		a.t.Errorf("it was told %v", puts)
	}
}
