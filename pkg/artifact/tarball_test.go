//go:build !windows

package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stet-oci/stet/pkg/store"
)

// The digests of makeTree packed. They are promises to users: the same tree has
// them on every machine and with every release. A new compressor that changes
// one is not taken.
var golden = map[Compression]string{
	Gzip: "sha256:0cdce256be19ec77493299f4d5f0c15756842f5c9e459251d69d67dfa93bc1c0",
	Zstd: "sha256:644adb82851f2c363bbff6e236174144bae8cedfae24132371a421de5b65481a",
	None: "sha256:6d5ce0f83aee55b15074fcb4769720fd711495d7c90cc0bf574958a761916dab",
}

// makeTree makes the directory "tree" below a new one and returns that.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	big := make([]byte, 3*gzipBlock+1234) // several blocks, hardly compressible
	for i, x := 0, uint32(1); i < len(big); i++ {
		x = x*1664525 + 1013904223
		big[i] = byte(x >> 24 & 0x3f)
	}
	for name, content := range map[string]string{
		"a": "file a\n", "b/x": "deep\n", "b.txt": "between b and b/\n", "big": string(big), "run.sh": "#!/bin/sh\n", "ö": "umlaut\n",
		"long/" + strings.Repeat("n", 120) + "/" + strings.Repeat("m", 120): "PAX\n",
	} {
		name = filepath.Join(dir, "tree", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "tree/run.sh"), 0o710),
		os.Mkdir(filepath.Join(dir, "tree/empty"), 0o777),
		os.Symlink("../a", filepath.Join(dir, "tree/b/link")),
		os.Link(filepath.Join(dir, "tree/a"), filepath.Join(dir, "tree/hard")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packTree packs dir/tree and gives its descriptor in the manifest and its bytes.
func packTree(t *testing.T, r PackRequest) (store.Descriptor, []byte) {
	t.Helper()
	r.Files = []File{{Path: "tree"}}
	m := finish(t, r)
	p, err := Pack(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		t.Fatal(err)
	}
	return o.Layers[0], readBlob(t, p.Blobs[1], 0)
}

func readBlob(t *testing.T, b store.Blob, offset int64) []byte {
	t.Helper()
	rc, err := b.Open(context.Background(), offset)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	raw, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTarballGolden(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	defer func(old *time.Location) { time.Local = old }(time.Local)
	oldMask := syscall.Umask(0o022)
	defer syscall.Umask(oldMask)
	for _, c := range []struct {
		procs, mask int
		zone        *time.Location
	}{{1, 0o022, time.UTC}, {8, 0o077, time.FixedZone("far", 13*3600)}} {
		runtime.GOMAXPROCS(c.procs)
		syscall.Umask(c.mask)
		time.Local = c.zone
		dir := makeTree(t) // other inodes, times and modes each time
		for compression, want := range golden {
			d, raw := packTree(t, PackRequest{Dir: dir, Compression: compression})
			if d.Digest.String() != want {
				t.Errorf("%s, %d cores, umask %o: %s, golden is %s", compression, c.procs, c.mask, d.Digest, want)
			}
			if d.MediaType != compression.MediaType() || d.Size != int64(len(raw)) {
				t.Errorf("%s: %+v", compression, d)
			}
			if got := d.Annotations[AnnotationContentDigest]; got != golden[None] || d.Annotations[AnnotationUnpack] != "true" {
				t.Errorf("%s: annotations %v", compression, d.Annotations)
			}
		}
	}
	if _, raw := packTree(t, PackRequest{Dir: makeTree(t)}); !bytes.Equal(raw[:10], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}) {
		t.Errorf("gzip header % x", raw[:10])
	}
}

func TestTarballEntries(t *testing.T) {
	_, raw := packTree(t, PackRequest{Dir: makeTree(t), Compression: None})
	var got []string
	tr := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		name := strings.NewReplacer(strings.Repeat("n", 120), "N", strings.Repeat("m", 120), "M").Replace(h.Name)
		got = append(got, fmt.Sprintf("%s %c %o %s %v", name, h.Typeflag, h.Mode, h.Linkname, h.Format))
	}
	want := []string{
		"tree/ 5 755  USTAR", "tree/a 0 644  USTAR", "tree/b.txt 0 644  USTAR", "tree/b/ 5 755  USTAR", "tree/b/link 2 777 ../a USTAR",
		"tree/b/x 0 644  USTAR", "tree/big 0 644  USTAR", "tree/empty/ 5 755  USTAR", "tree/hard 0 644  USTAR", "tree/long/ 5 755  USTAR",
		"tree/long/N/ 5 755  PAX", "tree/long/N/M 0 644  PAX", "tree/run.sh 0 755  USTAR", "tree/ö 0 644  PAX",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if !slices.IsSorted(got) {
		t.Error("entries are not sorted")
	}
}

func TestTarballOffset(t *testing.T) {
	dir := makeTree(t)
	p, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "tree"}}})
	if err != nil {
		t.Fatal(err)
	}
	whole := readBlob(t, p.Blobs[1], 0)
	for _, offset := range []int64{1, 1000, int64(len(whole)) / 2, int64(len(whole)) - 1, int64(len(whole))} {
		if rest := readBlob(t, p.Blobs[1], offset); !bytes.Equal(rest, whole[offset:]) {
			t.Errorf("from %d: %d other bytes", offset, len(rest))
		}
	}
	rc, err := p.Blobs[1].Open(context.Background(), int64(len(whole))+1)
	if err == nil {
		_, err = io.ReadAll(rc)
		rc.Close()
	}
	if !errors.Is(err, store.ErrRange) {
		t.Errorf("behind the end: %v, want ErrRange", err)
	}
}

// Who stops reading leaves nothing behind: Close returns when the packing ended.
func TestTarballClose(t *testing.T) {
	dir := makeTree(t)
	for _, c := range []Compression{Gzip, Zstd, None} {
		p, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "tree"}}, Compression: c})
		if err != nil {
			t.Fatal(err)
		}
		rc, err := p.Blobs[1].Open(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = rc.Read(make([]byte, 10))
		if err := rc.Close(); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestTarballTimesAndModes(t *testing.T) {
	dir := makeTree(t)
	old, date := time.Unix(1_000_000_000, 5), time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(filepath.Join(dir, "tree/a"), old, old); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		request    PackRequest
		a, b, mode int64
	}{
		{PackRequest{SourceDate: &date}, date.Unix(), date.Unix(), 0o755},
		{PackRequest{Preserve: Preserve{MTime: true}, SourceDate: &date}, old.Unix(), date.Unix(), 0o755},
		{PackRequest{Preserve: Preserve{Mode: true}}, 0, 0, 0o710},
	} {
		c.request.Dir, c.request.Compression = dir, None
		_, raw := packTree(t, c.request)
		tr := tar.NewReader(bytes.NewReader(raw))
		got := map[string]*tar.Header{}
		for h, err := tr.Next(); err == nil; h, err = tr.Next() {
			got[h.Name] = h
		}
		if a, b, mode := got["tree/a"].ModTime.Unix(), got["tree/b.txt"].ModTime.Unix(), got["tree/run.sh"].Mode; a != c.a || b != c.b || mode != c.mode {
			t.Errorf("%+v: times %d, %d, mode %o", c.request, a, b, mode)
		}
	}
}

func TestTarballRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(dir string) error
	}{
		{"a pipe", func(dir string) error { return syscall.Mkfifo(dir+"/tree/pipe", 0o666) }},
		{"a link out", func(dir string) error { return os.Symlink("../secret", dir+"/tree/out") }},
		{"an absolute link", func(dir string) error { return os.Symlink("/etc/passwd", dir+"/tree/out") }},
		{"a line break", func(dir string) error { return os.WriteFile(dir+"/tree/new\nline", nil, 0o666) }},
		{"a directory with a line break", func(dir string) error { return os.Mkdir(dir+"/tree/new\nline", 0o777) }},
		{"a link with a line break", func(dir string) error { return os.Symlink("a", dir+"/tree/new\nline") }},
		{"a link down and up", func(dir string) error { return os.Symlink("b/../a", dir+"/tree/out") }},
	} {
		dir := makeTree(t)
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "tree"}}})
		if !errors.Is(err, store.ErrUsage) || !strings.Contains(err.Error(), "tree/") {
			t.Errorf("%s: %v, want ErrUsage with its path", c.name, err)
		}
		if c.name == "a pipe" {
			continue // nothing takes it
		}
		if !strings.Contains(fmt.Sprint(err), "--disable-path-validation") {
			t.Errorf("%s: %v does not name the flag that takes it", c.name, err)
		}
		if _, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "tree"}}, AnyPath: true}); err != nil {
			t.Errorf("%s: with AnyPath: %v", c.name, err)
		}
	}
}

func TestTarballChanged(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"content":  func(dir string) error { return os.WriteFile(dir+"/tree/a", []byte("FILE a\n"), 0o666) },
		"new file": func(dir string) error { return os.WriteFile(dir+"/tree/new", nil, 0o666) },
		"removed":  func(dir string) error { return os.Remove(dir + "/tree/a") },
		"mode":     func(dir string) error { return os.Chmod(dir+"/tree/a", 0o777) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(dir+"/tree/b/link"), os.Symlink("x", dir+"/tree/b/link"))
		},
		"all gone": func(dir string) error { return os.RemoveAll(dir + "/tree/b") },
	} {
		dir := makeTree(t)
		p, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "tree"}}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // the clock of file times is coarse
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Hash(context.Background(), nil); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%s: %v, want ErrChanged", name, err)
		}
	}
}

// A store that got the parts of two readings has bytes that no reading gave.
func TestTarballMixed(t *testing.T) {
	p, err := Pack(context.Background(), PackRequest{Dir: makeTree(t), Files: []File{{Path: "tree"}}})
	if err != nil {
		t.Fatal(err)
	}
	descs, err := p.Hash(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	descs[1].Digest = descs[0].Digest
	if _, err := p.Finish(descs); !errors.Is(err, store.ErrChanged) {
		t.Errorf("Finish: %v, want ErrChanged", err)
	}
}

func TestChooseCompression(t *testing.T) {
	for _, c := range []struct {
		compression Compression
		mediaType   string
		want        Compression
		wantType    string
	}{
		{"", "", Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"},
		{Zstd, "", Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"},
		{None, "", None, "application/vnd.oci.image.layer.v1.tar"},
		{"", "a/b+zstd", Zstd, "a/b+zstd"},
		{Zstd, "a/b", Zstd, "a/b"},
		{Zstd, "a/b+gzip", "", ""},
	} {
		got, gotType, err := compressionOf(c.compression, c.mediaType)
		if got != c.want || gotType != c.wantType || (err != nil) != (c.want == "") {
			t.Errorf("compressionOf(%q, %q) = %q, %q, %v", c.compression, c.mediaType, got, gotType, err)
		}
	}
}
