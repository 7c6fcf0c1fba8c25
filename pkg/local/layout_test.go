package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// manifest gives image manifests that differ in a note.
func manifest(note string) store.Manifest {
	return store.NewManifest(store.MediaTypeImage, []byte(`{"mediaType":"`+store.MediaTypeImage+`","annotations":{"note":"`+note+`"}}`))
}

// files lists what lies in a directory, without the work directory's name for temporary files.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, relErr := filepath.Rel(dir, path)
			names, err = append(names, filepath.ToSlash(name)), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, content string, elem ...string) {
	t.Helper()
	name := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// foreign makes a layout as another tool would.
func foreign(t *testing.T, index string, blobs ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, `{"imageLayoutVersion": "1.0.0"}`, dir, "oci-layout")
	write(t, index, dir, "index.json")
	for _, content := range blobs {
		write(t, content, dir, "blobs", "sha256", digest.FromString(content).Encoded())
	}
	return dir
}

func put(t *testing.T, s store.Store, m store.Manifest, tags ...string) {
	t.Helper()
	if err := s.PutManifest(t.Context(), m, tags...); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
}

func TestLayoutHasOnlyItsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "layout")
	s := openLayout(t, dir)
	m := manifest("x")
	put(t, s, m, "v1")
	if _, err := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		".stet/lock", "blobs/sha256/" + digest.FromString("hello").Encoded(), "blobs/sha256/" + m.Digest.Encoded(), "index.json", "oci-layout",
	}
	got := files(t, dir)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := read(t, dir, "oci-layout"); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
}

// Every manifest is listed once without a tag, or once under each of its tags.
func TestLayoutIndexEntries(t *testing.T) {
	a, b := manifest("a"), manifest("b")
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	for _, step := range []struct {
		do   string
		run  func() error
		want string // entries as a, a:tag or b, b:tag
	}{
		{"put a", func() error { return s.PutManifest(ctx, a) }, "a"},
		{"put a again", func() error { return s.PutManifest(ctx, a) }, "a"},
		{"tag a v1", func() error { return s.PutManifest(ctx, a, "v1") }, "a:v1"},
		{"tag a v1 again", func() error { return s.PutManifest(ctx, a, "v1") }, "a:v1"},
		{"put a without a tag", func() error { return s.PutManifest(ctx, a) }, "a:v1"},
		{"tag a v2", func() error { return s.PutManifest(ctx, a, "v2") }, "a:v1 a:v2"},
		{"move v2 to b", func() error { return s.PutManifest(ctx, b, "v2") }, "a:v1 b:v2"},
		{"move v1 to b", func() error { return s.PutManifest(ctx, b, "v1") }, "a b:v2 b:v1"},
		{"untag v2", func() error { return s.Untag(ctx, "v2") }, "a b:v1"},
		{"untag v1", func() error { return s.Untag(ctx, "v1") }, "a b"},
		{"a full name", func() error { return s.PutManifest(ctx, b, "example.com/foo:v1") }, "a b:example.com/foo:v1"},
		{"delete b", func() error { return s.DeleteManifest(ctx, b.Descriptor) }, "a"},
		{"delete a", func() error { return s.DeleteManifest(ctx, a.Descriptor) }, ""},
	} {
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.do, err)
		}
		if got := entries(t, dir, map[digest.Digest]string{a.Digest: "a", b.Digest: "b"}); got != step.want {
			t.Errorf("%s: index.json lists %q, want %q", step.do, got, step.want)
		}
	}
	if got := read(t, dir, "index.json"); got != emptyIndex {
		t.Errorf("an empty index is %s", got)
	}
}

// entries renders index.json with a name for each digest.
func entries(t *testing.T, dir string, names map[digest.Digest]string) string {
	t.Helper()
	var index struct{ Manifests []store.Descriptor }
	if err := json.Unmarshal([]byte(read(t, dir, "index.json")), &index); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range index.Manifests {
		name := names[d.Digest]
		if tag := d.Annotations["org.opencontainers.image.ref.name"]; tag != "" {
			name += ":" + tag
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

// What other tools wrote stays byte for byte, spacing and unknown fields too.
func TestLayoutKeepsWhatOthersWrote(t *testing.T) {
	a, b := manifest("a"), manifest("b")
	odd := `{ "size" : SIZE,  "unknown": [1.50, "<&>"], "digest": "DIGEST",
	"mediaType":"` + store.MediaTypeImage + `", "platform": {"os": "plan9", "architecture": "mips"} NOTES}`
	entry := func(m store.Manifest, notes string) string {
		return strings.NewReplacer("SIZE", "73", "DIGEST", m.Digest.String(), "NOTES", notes).Replace(odd)
	}
	tagged := entry(a, `, "annotations": {"org.opencontainers.image.ref.name": "v1", "other" : "\u003c"}`)
	bare := entry(b, "")
	ours := `{"mediaType":"application/vnd.other","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1}`
	unknown := `{"mediaType":"application/vnd.other","digest":"blake3:` + strings.Repeat("1", 64) + `","size":1}`
	dir := foreign(t, "{\n  \"<x>\": {\"y\" :1},\n  \"manifests\": ["+strings.Join([]string{tagged, bare, ours, unknown}, " , ")+
		"], \"annotations\": { \"top\": \"level\"}, \"schemaVersion\": 2\n}", string(a.Raw), string(b.Raw))
	s := openLayout(t, dir)
	holds := func(parts ...string) {
		t.Helper()
		index := read(t, dir, "index.json")
		for _, part := range parts {
			if !strings.Contains(index, part) {
				t.Errorf("index.json lost %s:\n%s", part, index)
			}
		}
	}
	put(t, s, manifest("c"), "v3")
	holds(tagged, bare, ours, unknown, `{"y" :1}`, `{ "top": "level"}`, `"<x>":`)

	// A tag that comes or goes changes the ref name of its entry and nothing else.
	put(t, s, b, "v2")
	holds(tagged, `"unknown":[1.50, "<&>"]`, `"annotations":{"org.opencontainers.image.ref.name":"v2"}`)
	if err := s.Untag(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	holds(`"annotations":{"other":"\u003c"}`, `{"os": "plan9", "architecture": "mips"}`)
	if _, err := s.Resolve(t.Context(), "v1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("v1 after Untag: %v", err)
	}
}

func TestLayoutTakesNullManifests(t *testing.T) {
	dir := foreign(t, `{"schemaVersion":2,"manifests":null}`)
	s := openLayout(t, dir)
	if tags, err := store.Collect(s.Tags(t.Context(), "")); err != nil || len(tags) > 0 {
		t.Errorf("tags %q, %v", tags, err)
	}
	put(t, s, manifest("a"), "v1")
}

func TestLayoutDamagedIndex(t *testing.T) {
	good := `{"mediaType":"` + store.MediaTypeImage + `","digest":"` + manifest("a").Digest.String() + `","size":1}`
	for name, index := range map[string]string{
		"empty":           "",
		"cut":             emptyIndex[:40],
		"not an object":   "[]",
		"two documents":   emptyIndex + emptyIndex,
		"schema version":  `{"schemaVersion":1,"manifests":[]}`,
		"media type":      `{"schemaVersion":2,"mediaType":"` + store.MediaTypeImage + `","manifests":[]}`,
		"name twice":      `{"schemaVersion":2,"manifests":[],"manifests":[]}`,
		"name in cases":   `{"schemaVersion":2,"manifests":[],"Manifests":[` + good + `]}`,
		"entries":         `{"schemaVersion":2,"manifests":{}}`,
		"entry":           `{"schemaVersion":2,"manifests":["x"]}`,
		"path as digest":  `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}]}`,
		"no digest":       `{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1}]}`,
		"negative size":   `{"schemaVersion":2,"manifests":[` + strings.Replace(good, `:1}`, `:-1}`, 1) + `]}`,
		"nested too deep": `{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := foreign(t, index)
			s, err := local.OpenLayout(dir, local.LayoutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "index.json")
			_, err = s.Resolve(t.Context(), "v1")
			wants(t, err, store.ErrInvalid, file)
			wants(t, s.PutManifest(t.Context(), manifest("a"), "v1"), store.ErrInvalid, file)
			wants(t, s.Untag(t.Context(), "v1"), store.ErrInvalid, file)
			if got := read(t, file); got != index {
				t.Errorf("the damaged file was overwritten: %s", got)
			}
		})
	}
}

func TestLayoutDamagedVersion(t *testing.T) {
	for name, content := range map[string]string{
		"another version": `{"imageLayoutVersion":"2.0.0"}`, "no version": `{}`, "not JSON": "1.0.0", "empty": "",
	} {
		dir := foreign(t, emptyIndex)
		write(t, content, dir, "oci-layout")
		_, err := local.OpenLayout(dir, local.LayoutOptions{})
		if !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), filepath.Join(dir, "oci-layout")) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, "x", file)
	_, err := local.OpenLayout(file, local.LayoutOptions{})
	wants(t, err, syscall.ENOTDIR, file)
}

// Reading what is not there is not found, and creates nothing.
func TestLayoutThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nowhere")
	s := openLayout(t, dir)
	ctx := t.Context()
	_, err := s.Resolve(ctx, "v1")
	wants(t, err, store.ErrNotFound, dir)
	_, err = s.Blob(ctx, manifest("a").Descriptor)
	wants(t, err, store.ErrNotFound, dir)
	_, err = store.Collect(s.Tags(ctx, ""))
	wants(t, err, store.ErrNotFound, dir)
	wants(t, s.Untag(ctx, "v1"), store.ErrNotFound, dir)
	wants(t, s.DeleteManifest(ctx, manifest("a").Descriptor), store.ErrNotFound, dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made the directory: %v", err)
	}
}

// A put that fails leaves no directory, and nothing beside what was there.
func TestLayoutFailedPutLeavesNothing(t *testing.T) {
	errBroken := errors.New("broken")
	blob := storetest.Broken(store.NewBlob("text/plain", []byte("hello")), 3, errBroken)
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	_, err := s.PutBlob(t.Context(), blob)
	wants(t, err, errBroken, dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed put left the directory: %v", err)
	}

	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = s.PutBlob(t.Context(), blob)
	wants(t, err, errBroken)
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("a failed put left %q", got)
	}

	put(t, s, manifest("a"), "v1")
	before := files(t, dir)
	_, err = s.PutBlob(t.Context(), blob)
	wants(t, err, errBroken)
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A file that a crash left too short is not taken for the blob.
func TestLayoutMendsShortBlob(t *testing.T) {
	dir := foreign(t, emptyIndex)
	b := store.NewBlob("text/plain", []byte("hello"))
	file := filepath.Join(dir, "blobs", "sha256", b.Digest.Encoded())
	write(t, "hel", file)
	s := openLayout(t, dir)
	_, err := s.Blob(t.Context(), b.Descriptor)
	wants(t, err, store.ErrMismatch)
	got, err := s.PutBlob(t.Context(), b)
	if err != nil || got.How != store.Sent || read(t, file) != "hello" {
		t.Errorf("got %v, %v, file %q", got.How, err, read(t, file))
	}
	if again, err := s.PutBlob(t.Context(), b); err != nil || again.How != store.Present {
		t.Errorf("again: %v, %v", again.How, err)
	}
}

func TestLayoutManifestWithOtherBytes(t *testing.T) {
	m := manifest("a")
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	put(t, s, m, "v1")
	write(t, strings.Replace(string(m.Raw), "note", "nope", 1), dir, "blobs", "sha256", m.Digest.Encoded())
	_, err := s.Manifest(t.Context(), "v1")
	wants(t, err, store.ErrMismatch, dir)
}

// No symbolic link in a layout from elsewhere leads out of it.
func TestLayoutLinksDoNotLeadOut(t *testing.T) {
	secret := t.TempDir()
	d := digest.FromString("secret")
	write(t, "secret", secret, "sha256", d.Encoded())
	write(t, emptyIndex, secret, "index")
	link := func(t *testing.T, to string, elem ...string) {
		t.Helper()
		name := filepath.Join(elem...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(to, name)); err != nil {
			t.Skip(err)
		}
	}
	for name, prepare := range map[string]func(*testing.T, string){
		"blob": func(t *testing.T, dir string) {
			link(t, filepath.Join(secret, "sha256", d.Encoded()), dir, "blobs/sha256", d.Encoded())
		},
		"algorithm": func(t *testing.T, dir string) { link(t, filepath.Join(secret, "sha256"), dir, "blobs/sha256") },
		"blobs":     func(t *testing.T, dir string) { link(t, secret, dir, "blobs") },
		"work":      func(t *testing.T, dir string) { link(t, secret, dir, ".stet") },
		"index": func(t *testing.T, dir string) {
			_ = os.Remove(dir + "/index.json")
			link(t, secret+"/index", dir, "index.json")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := foreign(t, emptyIndex)
			prepare(t, dir)
			s := openLayout(t, dir)
			b, err := s.Blob(t.Context(), store.Descriptor{Digest: d, Size: store.UnknownSize})
			if err == nil {
				_, err = b.Open(t.Context(), 0)
			}
			if err == nil {
				t.Error("the blob was opened")
			}
			err = s.PutManifest(t.Context(), manifest("a"), "v1")
			if name != "blob" && err == nil {
				t.Error("the manifest was put")
			}
			if got := files(t, secret); len(got) != 2 {
				t.Errorf("written outside: %q", got)
			}
		})
	}
}

func TestLayoutBlobMustBeAFile(t *testing.T) {
	dir := foreign(t, emptyIndex)
	d := digest.FromString("x")
	write(t, "", dir, "blobs", "sha256", d.Encoded(), "inside")
	s := openLayout(t, dir)
	b, err := s.Blob(t.Context(), store.Descriptor{Digest: d, Size: store.UnknownSize})
	if err == nil {
		_, err = b.Open(t.Context(), 0)
	}
	wants(t, err, store.ErrInvalid)
}

func TestLayoutLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	put(t, openLayout(t, dir), manifest("a"), "v1")
	other := flock.New(filepath.Join(dir, ".stet", "lock"))
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, err := local.OpenLayout(dir, local.LayoutOptions{LockWait: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a wait in vain keeps nobody else from waiting
		wants(t, s.PutManifest(t.Context(), manifest("b"), "v1"), store.ErrLocked, filepath.Join(dir, ".stet", "lock"))
	}
	if _, err := s.Resolve(t.Context(), "v1"); err != nil {
		t.Errorf("reading waits for no lock: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	wants(t, openLayout(t, dir).Untag(ctx, "v1"), context.DeadlineExceeded)
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	put(t, s, manifest("b"), "v1")
}

// An index in a layout from elsewhere may be the only thing that index.json
// lists: its children are found through it, and so is what refers to them.
func TestLayoutChildrenOfAnIndex(t *testing.T) {
	child := manifest("child")
	plain := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2}`)) // has no mediaType of its own
	subject, _ := json.Marshal(child.Descriptor)
	refers := store.NewManifest(store.MediaTypeImage, []byte(`{"artifactType":"x/y","subject":`+string(subject)+`}`))
	list, _ := json.Marshal([]store.Descriptor{child.Descriptor, plain.Descriptor, refers.Descriptor, manifest("sparse").Descriptor})
	index := store.NewManifest(store.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":`+string(list)+`}`))
	entry, _ := json.Marshal(index.Descriptor)
	dir := foreign(t, `{"schemaVersion":2,"manifests":[`+string(entry)+`]}`,
		string(child.Raw), string(plain.Raw), string(refers.Raw), string(index.Raw), "a blob", `{"mediaType":"x"}`)
	s := openLayout(t, dir)
	for _, m := range []store.Manifest{index, child, plain, refers} {
		d, err := s.Resolve(t.Context(), m.Digest.String())
		if diff := cmp.Diff(m.Descriptor, d); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	for _, blob := range []string{"a blob", `{"mediaType":"x"}`} {
		_, err := s.Resolve(t.Context(), digest.FromString(blob).String())
		wants(t, err, store.ErrNotFound)
	}
	want := refers.Descriptor
	want.ArtifactType = "x/y"
	got, err := store.Collect(s.Referrers(t.Context(), child.Digest, ""))
	if diff := cmp.Diff([]store.Descriptor{want}, got); err != nil || diff != "" {
		t.Errorf("%v, referrers (-want +got):\n%s", err, diff)
	}
	if err := s.DeleteManifest(t.Context(), refers.Descriptor); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Collect(s.Referrers(t.Context(), child.Digest, "")); err != nil || len(got) > 0 {
		t.Errorf("a deleted child still refers: %v, %v", got, err)
	}
}

func TestLayoutDeletes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	m := manifest("a")
	put(t, s, m, "v1")
	wants(t, s.DeleteBlob(t.Context(), m.Descriptor), store.ErrRefused)
	if err := s.DeleteManifest(t.Context(), m.Descriptor); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".stet/lock", "index.json", "oci-layout"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLayoutWithoutPermission(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	put(t, s, manifest("a"), "v1")
	if os.Geteuid() <= 0 {
		t.Skip("root may write anywhere, and Windows has other modes")
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.Chmod(blobs, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(blobs, 0o755) })
	before := files(t, dir)
	_, err := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello")))
	wants(t, err, fs.ErrPermission, dir)
	wants(t, s.PutManifest(t.Context(), manifest("b"), "v1"), fs.ErrPermission, dir)
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLayoutReaderEndsWithContext(t *testing.T) {
	for name, s := range map[string]store.Store{
		"layout": openLayout(t, filepath.Join(t.TempDir(), "layout")), "memory": local.NewMemory(),
	} {
		put, err := s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Blob(t.Context(), put.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		rc, err := b.Open(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.ReadAll(rc); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
		rc.Close()
	}
}

func TestPutManifestRefuses(t *testing.T) {
	for name, s := range map[string]store.Store{
		"layout": openLayout(t, filepath.Join(t.TempDir(), "layout")), "memory": local.NewMemory(),
	} {
		for _, m := range []store.Manifest{
			store.NewManifest(store.MediaTypeImage, []byte("not JSON")),
			store.NewManifest(store.MediaTypeImage, []byte(`{"layers":[],"Layers":[]}`)),
			store.NewManifest("", []byte("{}")),
		} {
			if err := s.PutManifest(t.Context(), m, "v1"); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%s: %s: got %v", name, m.Raw, err)
			}
		}
		for _, tag := range []string{"", manifest("a").Digest.String(), "\xff"} {
			if err := s.PutManifest(t.Context(), manifest("a"), tag); !errors.Is(err, store.ErrBadReference) {
				t.Errorf("%s: tag %q: got %v", name, tag, err)
			}
		}
		if _, err := s.Resolve(t.Context(), ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: an empty reference: %v", name, err)
		}
	}
}

// Who changes what a store gave does not change the store.
func TestStoresShareNothing(t *testing.T) {
	for name, s := range map[string]store.Store{
		"layout": openLayout(t, filepath.Join(t.TempDir(), "layout")), "memory": local.NewMemory(),
	} {
		subject, _ := json.Marshal(manifest("subject").Descriptor)
		m := store.NewManifest(store.MediaTypeImage, []byte(`{"annotations":{"k":"v"},"subject":`+string(subject)+`}`))
		given := store.Manifest{Descriptor: m.Descriptor, Raw: slices.Clone(m.Raw)}
		put(t, s, given, "v1")
		given.Raw[0] = 'x'
		for range 2 {
			got, err := s.Manifest(t.Context(), "v1")
			if diff := cmp.Diff(string(m.Raw), string(got.Raw)); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want +got):\n%s", name, err, diff)
			}
			got.Raw[0] = 'x'
			list, err := store.Collect(s.Referrers(t.Context(), manifest("subject").Digest, ""))
			if err != nil || len(list) != 1 || list[0].Annotations["k"] != "v" {
				t.Fatalf("%s: %v, %v", name, list, err)
			}
			list[0].Annotations["k"] = "changed"
		}
	}
}
