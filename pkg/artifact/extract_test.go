//go:build !windows

package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stet-oci/stet/pkg/store"
)

func file(name, content string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Linkname: content}
}

func link(kind byte, name, to string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Mode: 0o777, Linkname: to}
}

// makeTar writes a tar; a file's content is in Linkname.
func makeTar(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		one, content := *h, ""
		if h.Typeflag == tar.TypeReg {
			one.Linkname, content = "", h.Linkname
		}
		if err := tw.WriteHeader(&one); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packed stores a tar as a layer to unpack.
func (s *source) packed(t testing.TB, title string, c Compression, raw []byte) store.Descriptor {
	t.Helper()
	var b bytes.Buffer
	z, err := newCompressor(&b, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	d := s.add(title, b.String())
	d.Annotations[AnnotationUnpack], d.Annotations[AnnotationContentDigest] = "true", digest.FromBytes(raw).String()
	return d
}

// What is packed comes out again, whatever the compression.
func TestUnpackWhatWasPacked(t *testing.T) {
	src := makeTree(t)
	want := tree(t, src)
	for _, c := range []Compression{Gzip, Zstd, None} {
		d, raw := packTree(t, PackRequest{Dir: src, Compression: c})
		s := &source{blobs: map[digest.Digest][]byte{d.Digest: raw}}
		out := t.TempDir()
		for i, outcome := range []Outcome{Downloaded, Skipped, Downloaded} { // the second time over the first
			if i == 2 {
				write(t, out+"/tree/a", "changed")
			}
			got, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: out})
			if err != nil {
				t.Fatal(c, err)
			}
			if diff := cmp.Diff(Result{Files: []Unpacked{{out + "/tree/", d, outcome}}}, got); diff != "" {
				t.Errorf("%s: %s", c, diff)
			}
			if outcome == Skipped && len(s.offsets) != 1 {
				t.Errorf("%s: what was there was read %d times", c, len(s.offsets))
			}
			if diff := cmp.Diff(want, tree(t, out)); diff != "" {
				t.Errorf("%s: files (-packed +unpacked):\n%s", c, diff)
			}
		}
		if again, _ := packTree(t, PackRequest{Dir: out, Compression: c}); again.Digest != d.Digest {
			t.Errorf("%s: what was unpacked packs to another digest", c)
		}
	}
}

// The working directory, a directory beside it, and one by its absolute path
// keep their names, and come out under them.
func TestUnpackOddTitles(t *testing.T) {
	src := makeTree(t)
	want := tree(t, src+"/tree")
	for _, title := range []string{".", "../tree", src + "/new/tree"} {
		r := PackRequest{Dir: src + "/tree", AnyPath: title != ".", Files: []File{{Path: ".", Title: title}}}
		m := finish(t, r)
		p, err := Pack(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.ParseOutline(m)
		if err != nil || o.Layers[0].Annotations[ocispec.AnnotationTitle] != title {
			t.Fatalf("%s: %+v, %v", title, o, err)
		}
		s := &source{blobs: map[digest.Digest][]byte{o.Layers[0].Digest: readBlob(t, p.Blobs[1], 0)}}
		out := t.TempDir()
		got, err := Unpack(context.Background(), s, m, UnpackOptions{Dir: out + "/x", AllowTraversal: title != "."})
		if err != nil {
			t.Errorf("%s: %v", title, err)
			continue
		}
		if diff := cmp.Diff(want, tree(t, got.Files[0].Path)); diff != "" {
			t.Errorf("%s in %s (-packed +unpacked):\n%s", title, got.Files[0].Path, diff)
		}
	}
}

func TestExtractTakes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	dated := file("d/dated", "x")
	dated.ModTime = time.Unix(1_000_000_000, 0)
	setid := file("d/setid", "x")
	setid.Mode = 0o6755
	s := &source{}
	d := s.packed(t, "d", Gzip, makeTar(
		t,
		file("d/no/parents/f", "1"), file("./d/dot", "2"), link(tar.TypeLink, "d/hard", "d/dot"), link(tar.TypeSymlink, "d/no/up", "../dot"),
		setid, dated, &tar.Header{Name: "d/closed", Typeflag: tar.TypeDir, Mode: 0o555}, file("d/closed/f", "3"), file("d/over", "4"), file("d/dir/x", "5"),
	))
	out := t.TempDir()
	write(t, out+"/victim", "untouched")
	write(t, out+"/d/kept", "kept")
	for _, err := range []error{os.Symlink("../victim", out+"/d/over"), os.Symlink("..", out+"/d/dir")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: out}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"victim": "untouched", "d/": "", "d/kept": "kept", "d/no/": "", "d/no/parents/": "", "d/no/parents/f": "1", "d/dot": "2", "d/hard": "2",
		"d/no/up": "-> ../dot", "d/setid": "x", "d/dated": "x", "d/closed/": "", "d/closed/f": "3", "d/over": "4", "d/dir/": "", "d/dir/x": "5",
	}
	if diff := cmp.Diff(want, tree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	t.Cleanup(func() { _ = os.Chmod(out+"/d/closed", 0o755) }) // so that it can be removed
	for name, mode := range map[string]os.FileMode{"d/setid": 0o755, "d/closed": 0o555 | os.ModeDir, "d/dot": 0o644} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info.Mode(), err, mode)
		}
	}
	if info, err := os.Stat(out + "/d/dated"); err != nil || !info.ModTime().Equal(dated.ModTime) {
		t.Errorf("time %v, %v", info.ModTime(), err)
	}
	if info, err := os.Stat(out + "/d/dot"); err != nil || info.ModTime().Unix() == 0 {
		t.Errorf("time %v, %v: zero means none", info.ModTime(), err)
	}
}

// Tricks with entries end before anything is written.
func TestExtractRefuses(t *testing.T) {
	leadsOut := map[string]bool{
		"parent": true, "far parent": true, "absolute": true, "beside": true, "name begins alike": true, "link out": true, "absolute link": true,
		"link deep out": true, "link by way of a link": true, "the same from deeper": true, "hard link out": true, "hard link to the parent": true,
	}
	for name, headers := range map[string][]*tar.Header{
		"parent":                  {file("d/../x", "")},
		"far parent":              {file("d/a/../../../x", "")},
		"absolute":                {file("/tmp/x", "")},
		"beside":                  {file("e/x", "")},
		"name begins alike":       {file("dd/x", "")},
		"control":                 {file("d/a\nb", "")},
		"long":                    {file("d/"+strings.Repeat("n", 256), "")},
		"link out":                {link(tar.TypeSymlink, "d/l", "../x")},
		"absolute link":           {link(tar.TypeSymlink, "d/l", "/etc")},
		"link deep out":           {link(tar.TypeSymlink, "d/a/l", "../../x")},
		"link by way of a link":   {link(tar.TypeSymlink, "d/a/up", ".."), link(tar.TypeSymlink, "d/l", "a/up/../x")},
		"the same from deeper":    {link(tar.TypeSymlink, "d/a/b/up", "../.."), link(tar.TypeSymlink, "d/a/b/l", "up/../x")},
		"through a link":          {link(tar.TypeSymlink, "d/l", "a"), file("d/l/x", "")},
		"through a link, deep":    {link(tar.TypeSymlink, "d/l", "a"), file("d/l/x/y/z", "")},
		"link over a directory":   {file("d/a/x", ""), link(tar.TypeSymlink, "d/a", "b")},
		"file over a link":        {link(tar.TypeSymlink, "d/a", "b"), file("d/a", "")},
		"file twice":              {file("d/a", "1"), file("d/./a", "2")},
		"file as directory":       {file("d/a", ""), file("d/a/b", "")},
		"title is a link":         {link(tar.TypeSymlink, "d", "x")},
		"title is a file":         {file("d", "x")},
		"hard link out":           {link(tar.TypeLink, "d/l", "/etc/passwd")},
		"hard link to the parent": {link(tar.TypeLink, "d/l", "d/../../x")},
		"hard link to what was":   {link(tar.TypeLink, "d/l", "d/old")},
		"hard link to a link":     {link(tar.TypeSymlink, "d/a", "old"), link(tar.TypeLink, "d/l", "d/a")},
		"device":                  {{Name: "d/dev", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"character device":        {{Name: "d/dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"pipe":                    {{Name: "d/pipe", Typeflag: tar.TypeFifo}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{}
			raw := makeTar(t, append([]*tar.Header{file("d/first", "1")}, headers...)...)
			top := t.TempDir()
			write(t, top+"/out/d/old", "old")
			want := tree(t, top)
			_, err := Unpack(context.Background(), s, manifest(t, s.packed(t, "d", Gzip, raw)), UnpackOptions{Dir: top + "/out"})
			class := store.ErrInvalid
			if leadsOut[name] {
				class = store.ErrPath
			}
			if !errors.Is(err, class) {
				t.Errorf("%v, want %v", err, class)
			}
			if diff := cmp.Diff(want, tree(t, top)); diff != "" {
				t.Errorf("something was written:\n%s", diff)
			}
		})
	}
}

// Content that is not what it says, or too much, ends before anything is
// written.
func TestExtractProves(t *testing.T) {
	good := makeTar(t, file("d/a", "1"), file("d/b", strings.Repeat("0", 1<<20)))
	for name, c := range map[string]struct {
		raw   []byte
		spoil func(s *source, d *store.Descriptor)
		o     UnpackOptions
		want  error
	}{
		"content digest": {good, func(_ *source, d *store.Descriptor) {
			d.Annotations[AnnotationContentDigest] = digest.FromString("x").String()
		}, UnpackOptions{}, store.ErrMismatch},
		"content digest no digest": {good, func(_ *source, d *store.Descriptor) { d.Annotations[AnnotationContentDigest] = "x" }, UnpackOptions{}, store.ErrInvalid},
		"bytes": {good, func(s *source, d *store.Descriptor) {
			s.blobs[d.Digest] = bytes.Replace(s.blobs[d.Digest], []byte{0xff}, []byte{0x03}, 1)
		}, UnpackOptions{}, store.ErrMismatch},
		"cut tar":         {good[:len(good)/2], nil, UnpackOptions{}, store.ErrInvalid},
		"no tar":          {[]byte(strings.Repeat("no tar ", 200)), nil, UnpackOptions{}, store.ErrInvalid},
		"bytes too many":  {good, nil, UnpackOptions{MaxUnpacked: 1 << 20}, store.ErrTooLarge},
		"entries":         {good, nil, UnpackOptions{MaxEntries: 1}, store.ErrTooLarge},
		"bytes after end": {append(bytes.Clone(good), make([]byte, 1<<20)...), nil, UnpackOptions{MaxUnpacked: 3 << 19}, store.ErrTooLarge},
		"kept directory":  {good, nil, UnpackOptions{KeepOld: true}, store.ErrExists},
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{}
			d := s.packed(t, "d", Gzip, c.raw)
			if c.spoil != nil {
				c.spoil(s, &d)
			}
			c.o.Dir = t.TempDir()
			write(t, c.o.Dir+"/d/old", "old")
			_, err := Unpack(context.Background(), s, manifest(t, d), c.o)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if diff := cmp.Diff(map[string]string{"d/": "", "d/old": "old"}, tree(t, c.o.Dir)); diff != "" {
				t.Errorf("something was written:\n%s", diff)
			}
		})
	}
}

// No tar writes outside of its directory, or leaves a link that leads out. Two
// entries are made of what the fuzzer gives, because it would hardly find the
// checksum of a header.
func FuzzExtract(f *testing.F) {
	f.Add("d/a", "1", byte(tar.TypeReg), "d/h", "d/a", byte(tar.TypeLink))
	f.Add("d/l", "..", byte(tar.TypeSymlink), "d/l/x", "1", byte(tar.TypeReg))
	f.Add("d/a/b/up", "../..", byte(tar.TypeSymlink), "d/e", "a/b/up/../x", byte(tar.TypeSymlink))
	f.Add("d/x/../../../e", "", byte(tar.TypeDir), "/d/x", "", byte(tar.TypeChar))
	f.Fuzz(func(t *testing.T, name1, link1 string, kind1 byte, name2, link2 string, kind2 byte) {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, h := range []*tar.Header{link(kind1, name1, link1), link(kind2, name2, link2)} {
			if h.Typeflag == tar.TypeReg {
				h.Linkname = ""
			}
			if tw.WriteHeader(h) != nil {
				return
			}
		}
		if tw.Close() != nil {
			return
		}
		top, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := &source{}
		d := s.packed(t, "d", None, b.Bytes())
		_, _ = Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: top + "/out", MaxUnpacked: 1 << 20})
		for name := range tree(t, top) {
			if name != "out/" && name != "out/d/" && !strings.HasPrefix(name, "out/d/") {
				t.Errorf("%q was made", name)
			}
			real, err := filepath.EvalSymlinks(filepath.Join(top, name))
			if err == nil && name != "out/" && !strings.HasPrefix(real+"/", top+"/out/d/") {
				t.Errorf("%q leads to %q", name, real)
			}
		}
	})
}

func TestDecompressorLimits(t *testing.T) {
	// A gzip of zeros is read without keeping it.
	var b bytes.Buffer
	z, _ := newCompressor(&b, Gzip)
	_, _ = io.CopyN(z, zeros{}, 8<<20)
	_ = z.Close()
	s := &source{}
	d := s.add("d", b.String())
	d.Annotations[AnnotationUnpack] = "true"
	_, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: t.TempDir(), MaxUnpacked: 1 << 20})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
