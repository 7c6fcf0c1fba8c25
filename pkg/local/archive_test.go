package local_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

func openArchive(t *testing.T, file string) store.Store {
	t.Helper()
	s, err := local.OpenArchive(file, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func putBlob(t *testing.T, s store.Store, b store.Blob) store.Put {
	t.Helper()
	put, err := s.PutBlob(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return put
}

func text(content string) store.Blob { return store.NewBlob("text/plain", []byte(content)) }

// listing is the entries of a tar, links with what they lead to.
func listing(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	dirs := map[string]bool{"./": true}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == nil && !dirs[path.Dir(strings.TrimSuffix(h.Name, "/"))+"/"] {
			t.Errorf("%s comes before the entry of its directory", h.Name)
		}
		if err == nil && h.Typeflag == tar.TypeDir {
			dirs[h.Name] = true
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if h.Typeflag == tar.TypeLink {
			name += " = " + h.Linkname
		}
		names = append(names, name)
	}
}

// Repositories of one archive share their blobs: the second has a link, in this
// session and in the next, and what tar unpacks is a registry of layouts.
func TestArchivesShareBlobs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	r := openArchives(t, file)
	first, second := repository(t, r, "team/first"), repository(t, r, "team/second")
	d := putBlob(t, first, text("hello")).Descriptor
	b, err := first.Blob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if got := putBlob(t, second, b); got.How != store.Mounted {
		t.Errorf("it was %s", got.How)
	}
	put(t, first, manifest("a"), "v1")
	put(t, second, manifest("a"), "v1", "v2")
	closed(t, r)
	for range 2 { // as written, and as carried over
		a, m := d.Digest.Encoded(), manifest("a").Digest.Encoded()
		want := []string{
			"team/first/blobs/sha256/" + a, "team/first/blobs/sha256/" + m, "team/first/index.json", "team/first/oci-layout",
			"team/second/blobs/sha256/" + a + " = team/first/blobs/sha256/" + a,
			"team/second/blobs/sha256/" + m + " = team/first/blobs/sha256/" + m,
			"team/second/index.json", "team/second/oci-layout",
			"team/", "team/first/", "team/first/blobs/", "team/first/blobs/sha256/", "team/second/", "team/second/blobs/", "team/second/blobs/sha256/",
		}
		slices.Sort(want)
		got := slices.DeleteFunc(listing(t, file), func(s string) bool { return strings.HasPrefix(s, "third/") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		r = openArchives(t, file)
		put(t, repository(t, r, "third"), manifest("c"), "v1")
		closed(t, r)
	}
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", file, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := repository(t, openLayouts(t, dir), "team/second")
	if _, err := s.Manifest(t.Context(), "v2"); err != nil {
		t.Error(err)
	}
	if err := readBlob(t, store.Verify(s), d); err != nil {
		t.Error(err)
	}
}

// One layout of a tar can be opened alone, by a path that goes on in the file.
func TestArchivePathInside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	r := openArchives(t, file)
	put(t, repository(t, r, "team/app"), manifest("a"), "v1")
	put(t, repository(t, r, "other"), manifest("b"), "v1")
	closed(t, r)
	s := openArchive(t, filepath.Join(file, "team", "app"))
	d, err := s.Resolve(t.Context(), "v1")
	if err != nil || d.Digest != manifest("a").Digest {
		t.Errorf("got %s, %v", d.Digest, err)
	}
	put(t, s, manifest("c"), "v2")
	closed(t, s)
	r = openArchives(t, file)
	for name, want := range map[string]string{"team/app": "v1 v2", "other": "v1"} {
		if tags, err := store.Collect(repository(t, r, name).Tags(t.Context(), "")); err != nil || strings.Join(tags, " ") != want {
			t.Errorf("%s has the tags %q, %v", name, tags, err)
		}
	}
	_, err = local.OpenArchive(file, local.LayoutOptions{})
	wants(t, err, store.ErrUsage, "holds layouts in other, team/app", "tar:"+filepath.ToSlash(file)+"/other")
	s = openArchive(t, filepath.Join(file, "none"))
	_, err = s.Resolve(t.Context(), "v1")
	wants(t, err, store.ErrNotFound, "none")
	closed(t, s)
}

// A tar that is one layout is a registry of one repository, called as the file.
func TestArchivesRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "My App.tar")
	s := openArchive(t, file)
	put(t, s, manifest("a"), "v1")
	closed(t, s)
	r := openArchives(t, file)
	if names, err := store.Collect(r.Repositories(t.Context(), "")); err != nil || len(names) != 1 || names[0] != "my-app" {
		t.Fatalf("repositories %q, %v", names, err)
	}
	if _, err := repository(t, r, "my-app").Resolve(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
}

// What was put and deleted before the archive was closed is not in it.
func TestArchiveForgetsDeleted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	s := openArchive(t, file)
	gone, kept := putBlob(t, s, text("gone")).Descriptor, putBlob(t, s, text("kept")).Descriptor
	again := putBlob(t, s, text("again")).Descriptor
	put(t, s, manifest("a"), "v1")
	put(t, s, manifest("b"), "v2")
	for _, err := range []error{s.DeleteBlob(t.Context(), gone), s.DeleteBlob(t.Context(), again), s.DeleteManifest(t.Context(), manifest("b").Descriptor)} {
		if err != nil {
			t.Error(err)
		}
	}
	putBlob(t, s, text("again"))
	closed(t, s)
	s = openArchive(t, file)
	defer closed(t, s)
	wants(t, readBlob(t, s, gone), store.ErrNotFound)
	_, err := s.Resolve(t.Context(), manifest("b").Digest.String())
	wants(t, err, store.ErrNotFound)
	for _, d := range []store.Descriptor{kept, again} {
		if err := readBlob(t, store.Verify(s), d); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 2 { // the archive and its lock
		t.Errorf("left over: %v, %v", left, err)
	}
}

// What changes nothing does not write the file anew, and what fails leaves it.
func TestArchiveIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	s := openArchive(t, file)
	put(t, s, manifest("a"), "v1")
	closed(t, s)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	s = openArchive(t, file)
	put(t, s, manifest("a"), "v1")
	b := text("hello")
	b.Size = 3
	_, err = s.PutBlob(t.Context(), b)
	wants(t, err, store.ErrMismatch)
	closed(t, s)
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written anew: %v", err)
	}
}

// What a killed writer left is removed by the next, and files of others are not.
func TestArchiveSweeps(t *testing.T) {
	dir := t.TempDir()
	write(t, "half", dir, ".a.tar.123.partial")
	write(t, "of a.tar.b", dir, ".a.tar.b.123.partial")
	s := openArchive(t, filepath.Join(dir, "a.tar"))
	put(t, s, manifest("a"), "v1")
	closed(t, s)
	if diff := cmp.Diff([]string{".a.tar.b.123.partial", "a.tar", "a.tar.lock"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestArchiveLocked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	lock := flock.New(file + ".lock")
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s, err := local.OpenArchive(file, local.LayoutOptions{LockWait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, s.PutManifest(t.Context(), manifest("a"), "v1"), store.ErrLocked, "a.tar.lock")
	s = openArchive(t, filepath.Join(t.TempDir(), "none", "a.tar"))
	wants(t, s.PutManifest(t.Context(), manifest("a"), "v1"), os.ErrNotExist)
}

// tarball writes a tar: names with content, and "link = target".
func tarball(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname // which is not needed otherwise
		h.Uname, h.Size, h.Mode = "", int64(len(content)), 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, w)
	return b.Bytes()
}

func file(name, content string) tar.Header { return tar.Header{Name: name, Uname: content} }

func link(kind byte, name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: kind}
}

// Archives that are not plainly right are refused when they are opened, with
// the reason.
func TestArchiveBad(t *testing.T) {
	layout := file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	index := file("index.json", emptyIndex)
	blob := "blobs/sha256/" + digest.FromString("hello").Encoded()
	whole := tarball(t, layout, index, file(blob, "hello"))
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"text":              {[]byte("no tar at all, but long enough to be told so"), "not a whole tar archive"},
		"empty":             {nil, "end mark"},
		"nothing in it":     {tarball(t), "no OCI layout"},
		"cut in a file":     {whole[:512*5+2], "not a whole tar archive"},
		"cut between files": {whole[:512*4], "end mark"},
		"gzip":              {[]byte("\x1f\x8b\x08 and so on"), "compressed with gzip"},
		"zstd":              {[]byte("\x28\xb5\x2f\xfd and so on"), "compressed with zstd"},
		"no index.json":     {tarball(t, layout), "index.json is missing"},
		"damaged index":     {tarball(t, layout, file("index.json", "{")), "index.json"},
		"damaged below":     {tarball(t, layout, index, file("a/oci-layout", layout.Uname), file("a/index.json", `{"schemaVersion":3}`)), "a/index.json"},
		"other version":     {tarball(t, file("oci-layout", `{"imageLayoutVersion":"9"}`), index), "imageLayoutVersion 1.0.0"},
		"leads out":         {tarball(t, layout, index, file("../x", "")), `"../x" leads out`},
		"leads out late":    {tarball(t, layout, index, file("a/../../x", "")), "leads out"},
		"absolute":          {tarball(t, layout, index, file("/etc/passwd", "")), `"/etc/passwd" leads out`},
		"twice":             {tarball(t, layout, index, file("./index.json", emptyIndex)), `"index.json" stands twice`},
		"link out":          {tarball(t, layout, index, link(tar.TypeSymlink, blob, "../../../x")), "leads out"},
		"link to absolute":  {tarball(t, layout, index, link(tar.TypeSymlink, blob, "/etc/passwd")), "leads out"},
		"hard link out":     {tarball(t, layout, index, link(tar.TypeLink, blob, "../x")), "leads out"},
		"link to nothing":   {tarball(t, layout, index, link(tar.TypeLink, blob, "none")), `leads to "none", which is not in the archive`},
		"link to itself":    {tarball(t, layout, index, link(tar.TypeSymlink, blob, filepath.Base(blob))), "not in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, string(c.raw), dir, "a.tar")
			_, err := local.OpenArchive(filepath.Join(dir, "a.tar"), local.LayoutOptions{})
			wants(t, err, store.ErrInvalid, "a.tar", c.says)
			_, err = local.OpenArchives(filepath.Join(dir, "a.tar"), local.LayoutOptions{})
			wants(t, err, store.ErrInvalid, "a.tar", c.says)
		})
	}
	dir := t.TempDir()
	_, err := local.OpenArchive(dir, local.LayoutOptions{})
	wants(t, err, store.ErrInvalid, "not a regular file")
	write(t, string(tarball(t, layout, index, file("Team/oci-layout", layout.Uname), file("Team/index.json", emptyIndex))), dir, "a.tar")
	_, err = local.OpenArchives(filepath.Join(dir, "a.tar"), local.LayoutOptions{})
	wants(t, err, store.ErrInvalid, `"Team"`)
}

// Links inside the archive are followed, wherever what they lead to stands.
func TestArchiveFollowsLinks(t *testing.T) {
	name := digest.FromString("hello").Encoded()
	raw := tarball(
		t, file("./oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("./index.json", emptyIndex),
		link(tar.TypeSymlink, "blobs/sha256/"+name, "../../data/b"), link(tar.TypeLink, "data/b", "data/a"), file("data/a", "hello"),
		link(tar.TypeSymlink, "README", "nowhere"),
	)
	dir := t.TempDir()
	write(t, string(raw), dir, "a.tar")
	s := store.Verify(openArchive(t, filepath.Join(dir, "a.tar")))
	defer closed(t, s)
	if err := readBlob(t, s, text("hello").Descriptor); err != nil {
		t.Error(err)
	}
}

// A damaged manifest is an error for who asks for it or for a whole list, and
// hides nothing else; an absent one is absent. Putting it again mends it.
func TestArchiveDamagedManifest(t *testing.T) {
	good, bad, absent := manifest("good"), manifest("bad"), manifest("absent")
	entry := func(m store.Manifest, tag string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":%q}}`, m.MediaType, m.Digest, m.Size, tag)
	}
	raw := tarball(
		t, file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
		file("index.json", `{"schemaVersion":2,"manifests":[`+entry(good, "good")+","+entry(bad, "bad")+","+entry(absent, "absent")+`]}`),
		file("blobs/sha256/"+good.Digest.Encoded(), string(good.Raw)),
		file("blobs/sha256/"+bad.Digest.Encoded(), strings.ToUpper(string(bad.Raw))),
	)
	dir := t.TempDir()
	write(t, string(raw), dir, "a.tar")
	s := openArchive(t, filepath.Join(dir, "a.tar"))
	if _, err := s.Manifest(t.Context(), "good"); err != nil {
		t.Error(err)
	}
	_, err := s.Manifest(t.Context(), "bad")
	wants(t, err, store.ErrMismatch, "a.tar")
	_, err = s.Resolve(t.Context(), bad.Digest.String())
	wants(t, err, store.ErrMismatch)
	_, err = s.Manifest(t.Context(), "absent")
	wants(t, err, store.ErrNotFound, "a.tar")
	_, err = store.Collect(s.Referrers(t.Context(), good.Digest, ""))
	wants(t, err, store.ErrMismatch)
	put(t, s, bad)
	closed(t, s)
	s = openArchive(t, filepath.Join(dir, "a.tar"))
	defer closed(t, s)
	if m, err := s.Manifest(t.Context(), "bad"); err != nil || !bytes.Equal(m.Raw, bad.Raw) {
		t.Errorf("after it was put again: %v", err)
	}
}
