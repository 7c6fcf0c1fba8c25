//go:build !windows

package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stet-oci/stet/pkg/store"
)

// source is a store whose blobs may be anything.
type source struct {
	store.Reader
	blobs map[digest.Digest][]byte

	mu      sync.Mutex
	offsets []int64         // of every Open
	fail    map[string]bool // titles that cannot be had
	opened  func()          // called in every Open
	closed  func()          // called in every Close
	endless bool            // every blob goes on for ever
}

func (s *source) Blob(_ context.Context, d store.Descriptor) (store.Blob, error) {
	raw, ok := s.blobs[d.Digest]
	if !ok || s.fail[store.NameOf(d)] {
		return store.Blob{}, fmt.Errorf("%w: %s", store.ErrNotFound, d.Digest)
	}
	return store.Blob{Descriptor: d, Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.offsets = append(s.offsets, offset)
		if s.opened != nil {
			s.opened()
		}
		if offset > int64(len(raw)) {
			return nil, store.ErrRange
		}
		if s.endless {
			return io.NopCloser(zeros{}), nil
		}
		return &closing{bytes.NewReader(raw[offset:]), s.closed}, nil
	}}, nil
}

// closing tells of its Close.
type closing struct {
	io.Reader
	closed func()
}

func (c *closing) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return nil
}

// add stores content as a layer with a title.
func (s *source) add(title, content string) store.Descriptor {
	if s.blobs == nil {
		s.blobs = map[digest.Digest][]byte{}
	}
	d := store.NewBlob("text/plain", []byte(content)).Descriptor
	s.blobs[d.Digest] = []byte(content)
	if title != "" {
		d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	}
	return d
}

func manifest(t *testing.T, layers ...store.Descriptor) store.Manifest {
	t.Helper()
	raw, err := json.Marshal(ocispec.Manifest{MediaType: store.MediaTypeImage, Config: store.EmptyJSON(), Layers: append([]store.Descriptor{}, layers...)})
	if err != nil {
		t.Fatal(err)
	}
	return store.NewManifest(store.MediaTypeImage, raw)
}

// tree lists what lies below a directory, with content, link targets and modes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		switch info, _ := e.Info(); {
		case e.IsDir():
			all[rel+"/"] = ""
		case info.Mode()&fs.ModeSymlink != 0:
			link, _ := os.Readlink(name)
			all[rel] = "-> " + link
		default:
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			all[rel] = string(raw)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

func TestUnpackFiles(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	s := &source{}
	layers := []store.Descriptor{
		s.add("a", "content a"), s.add("sub/dir/b", "content b"), s.add("c", "content a"), s.add("", "no name"), s.add("empty", ""), store.EmptyJSON(),
	}
	dir := filepath.Join(t.TempDir(), "new", "out")
	got, err := Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "content a", "sub/": "", "sub/dir/": "", "sub/dir/b": "content b", "c": "content a", "empty": ""}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantResult := Result{
		Files: []Unpacked{
			{dir + "/a", layers[0], Downloaded}, {dir + "/sub/dir/b", layers[1], Downloaded}, {dir + "/c", layers[2], Restored}, {dir + "/empty", layers[4], Downloaded},
		},
		Untitled: []store.Descriptor{layers[3]},
	}
	if diff := cmp.Diff(wantResult, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(dir + "/a"); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Again, after one was changed: only that one is read.
	write(t, dir+"/a", "changed a")
	s.offsets = nil
	got, err = Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: dir})
	if err != nil || got.Files[0].Outcome != Downloaded || got.Files[1].Outcome != Skipped || len(s.offsets) != 1 {
		t.Errorf("second pull: %+v, %v, %d reads", got.Files, err, len(s.offsets))
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("second pull (-want +got):\n%s", diff)
	}
}

func TestUnpackConfig(t *testing.T) {
	s := &source{}
	s.add("", "{}")
	for _, c := range []struct {
		file, mediaType string
		want            map[string]string
	}{
		{"", "", map[string]string{}},
		{"cfg/c.json", "", map[string]string{"cfg/": "", "cfg/c.json": "{}"}},
		{"c.json", ocispec.MediaTypeEmptyJSON, map[string]string{"c.json": "{}"}},
		{"c.json", "text/plain", map[string]string{}},
	} {
		dir := t.TempDir()
		if _, err := Unpack(context.Background(), s, manifest(t), UnpackOptions{Dir: dir, Config: c.file, ConfigType: c.mediaType}); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, tree(t, dir)); diff != "" {
			t.Errorf("%q %q: %s", c.file, c.mediaType, diff)
		}
	}
}

// Titles that lead out, or could not be told apart, end the pull before
// anything is there.
func TestUnpackTitles(t *testing.T) {
	for _, titles := range [][]string{
		{"ok", ".."},
		{"ok", "../x"},
		{"a/../../x"},
		{"a/../x"},
		{"/tmp/x"},
		{"."},
		{"./"},
		{"a\x00b"},
		{"a\nb"},
		{"a\x1b[2J"},
		{"a\u0085b"},
		{strings.Repeat("n", 256)},
		{"x", "x"},
		{"x", "./x"},
		{"x", "y", "x/y"},
		{"x//y", "x/y"},
	} {
		s := &source{}
		var layers []store.Descriptor
		for _, title := range titles {
			layers = append(layers, s.add(title, "content of "+title))
		}
		top := t.TempDir()
		_, err := Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: top + "/out/put"})
		want := store.ErrInvalid
		if last := titles[len(titles)-1]; strings.Contains(last, "..") || strings.HasPrefix(last, "/") {
			want = store.ErrPath
		}
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", titles, err, want)
		}
		if left := tree(t, top); len(left) > 0 {
			t.Errorf("%q: left %v", titles, left)
		}
	}
}

func TestCheckNameOnWindows(t *testing.T) {
	for _, name := range []string{`a\b`, "C:x", "nul", "NUL.txt", "con", "dir/COM1", "lpt9.log", "a.", "a ", "a?", `a"b`, "a|b", "dir ./x"} {
		if checkName(name, true) == nil {
			t.Errorf("%q is taken on Windows", name)
		}
		if err := checkName(name, false); err != nil {
			t.Errorf("%q is refused elsewhere: %v", name, err)
		}
	}
	for _, name := range []string{"a", "a/b.c", "company", "nulls", "com10", "./a", ".gitignore"} {
		if err := checkName(name, true); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestUnpackTraversal(t *testing.T) {
	top := t.TempDir()
	s := &source{}
	layers := []store.Descriptor{s.add("../up", "1"), s.add(top+"/abs/x", "2"), s.add("x/../in", "3")}
	o := UnpackOptions{Dir: top + "/out", AllowTraversal: true}
	if _, err := Unpack(context.Background(), s, manifest(t, layers...), o); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"up": "1", "abs/": "", "abs/x": "2", "out/": "", "out/in": "3"}
	if diff := cmp.Diff(want, tree(t, top)); diff != "" {
		t.Error(diff)
	}
	for _, titles := range [][]string{{"a", top + "/out/a"}, {"../a\nb"}} {
		s := &source{}
		var layers []store.Descriptor
		for _, title := range titles {
			layers = append(layers, s.add(title, title))
		}
		if _, err := Unpack(context.Background(), s, manifest(t, layers...), o); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", titles, err)
		}
	}
}

// What lies in the output directory is replaced or in the way, never written
// through.
func TestUnpackInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		before func(out string) error
		title  string
		keep   bool
		want   error
		after  map[string]string // beside what was there
	}{
		"file":             {func(out string) error { return os.WriteFile(out+"/x", []byte("old"), 0o600) }, "x", false, nil, map[string]string{"out/x": "new"}},
		"file to keep":     {func(out string) error { return os.WriteFile(out+"/x", []byte("old"), 0o600) }, "x", true, store.ErrExists, nil},
		"link to a file":   {func(out string) error { return os.Symlink("../victim", out+"/x") }, "x", false, nil, map[string]string{"out/x": "new"}},
		"link to keep":     {func(out string) error { return os.Symlink("gone", out+"/x") }, "x", true, store.ErrExists, nil},
		"dangling link":    {func(out string) error { return os.Symlink("../gone", out+"/x") }, "x", false, nil, map[string]string{"out/x": "new"}},
		"directory":        {func(out string) error { return os.Mkdir(out+"/x", 0o777) }, "x", false, store.ErrExists, nil},
		"parent links out": {func(out string) error { return os.Symlink("..", out+"/d") }, "d/x", false, store.ErrExists, nil},
		"parent links in":  {func(out string) error { return errors.Join(os.Mkdir(out+"/e", 0o777), os.Symlink("e", out+"/d")) }, "d/x", false, store.ErrExists, nil},
		"parent is a file": {func(out string) error { return os.WriteFile(out+"/d", nil, 0o666) }, "d/x", false, store.ErrExists, nil},
		"partial is a link": {func(out string) error {
			return os.Symlink("../victim", out+"/"+partialName("x", digest.FromString("new")))
		}, "x", false, nil, map[string]string{"out/x": "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			write(t, top+"/victim", "untouched")
			out := top + "/out"
			if err := errors.Join(os.Mkdir(out, 0o777), c.before(out)); err != nil {
				t.Fatal(err)
			}
			want := tree(t, top)
			for k, v := range c.after {
				want[k] = v
			}
			s := &source{}
			d := s.add(c.title, "new")
			_, err := Unpack(context.Background(), s, manifest(t, d), UnpackOptions{Dir: out, KeepOld: c.keep})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if diff := cmp.Diff(want, tree(t, top)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// A pull that fails leaves old files as they were, and nothing new: all or none.
func TestUnpackFails(t *testing.T) {
	for name, spoil := range map[string]func(s *source, d *store.Descriptor, cancel func()){
		"missing":    func(s *source, d *store.Descriptor, _ func()) { delete(s.blobs, d.Digest) },
		"flipped":    func(s *source, d *store.Descriptor, _ func()) { s.blobs[d.Digest] = []byte("Content b") },
		"short":      func(s *source, d *store.Descriptor, _ func()) { s.blobs[d.Digest] = []byte("content") },
		"empty":      func(s *source, d *store.Descriptor, _ func()) { s.blobs[d.Digest] = nil },
		"long":       func(s *source, d *store.Descriptor, _ func()) { s.blobs[d.Digest] = []byte("content b and more") },
		"size small": func(_ *source, d *store.Descriptor, _ func()) { d.Size-- },
		"size huge":  func(_ *source, d *store.Descriptor, _ func()) { d.Size = 1<<63 - 1 },
		"endless":    func(s *source, _ *store.Descriptor, _ func()) { s.endless = true },
		"cancelled":  func(s *source, _ *store.Descriptor, cancel func()) { s.opened = cancel },
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{}
			a, b := s.add("a", "new a"), s.add("new/dir/b", "content b")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			spoil(s, &b, cancel)
			dir := t.TempDir()
			write(t, dir+"/a", "old a")
			_, err := Unpack(ctx, s, manifest(t, a, b), UnpackOptions{Dir: dir})
			if !errors.Is(err, store.ErrMismatch) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(map[string]string{"a": "old a"}, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
	s, top := &source{}, t.TempDir()
	gone := s.add("d/x", "content")
	s.blobs = nil
	if _, err := Unpack(context.Background(), s, manifest(t, gone), UnpackOptions{Dir: top + "/new/out"}); err == nil || len(tree(t, top)) > 0 {
		t.Errorf("%v; left %v", err, tree(t, top))
	}
	index := store.NewManifest(store.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	if _, err := Unpack(context.Background(), &source{}, index, UnpackOptions{Dir: t.TempDir()}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("index: %v", err)
	}
}

// A pull that is cut when all has come gives nothing its name, keeps what came
// under other names, and the next one reads none of it again.
func TestUnpackCut(t *testing.T) {
	s := &source{}
	a, b := s.add("a", "new a"), s.add("new/dir/b", "content b")
	ctx, cancel := context.WithCancel(context.Background())
	left := 2 // blobs
	s.closed = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if left--; left == 0 {
			cancel()
		}
	}
	dir := t.TempDir()
	write(t, dir+"/a", "old a")
	if _, err := Unpack(ctx, s, manifest(t, a, b), UnpackOptions{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	want := map[string]string{
		"a": "old a", partialName("a", a.Digest): "new a",
		"new/": "", "new/dir/": "", partialName("new/dir/b", b.Digest): "content b",
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	opened := len(s.offsets)
	if _, err := Unpack(context.Background(), s, manifest(t, a, b), UnpackOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"a": "new a", "new/": "", "new/dir/": "", "new/dir/b": "content b"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if len(s.offsets) != opened {
		t.Errorf("read again from %v", s.offsets[opened:])
	}
}

// refusing gives half of a blob, and then an error.
func refusing(src store.Reader, title string, err error) store.Reader {
	return refusingReader{src, title, err}
}

type refusingReader struct {
	store.Reader
	title string
	err   error
}

func (r refusingReader) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	b, err := r.Reader.Blob(ctx, d)
	if err != nil || store.NameOf(d) != r.title {
		return b, err
	}
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err != nil {
			return nil, err
		}
		half := io.LimitReader(rc, d.Size/2-offset)
		return io.NopCloser(io.MultiReader(half, iotest.ErrReader(fmt.Errorf("going on: %w", r.err)))), nil
	}
	return b, nil
}

// What came is gone on with when the reason why the rest did not is mended: who
// lost his token logs in, and who misses another file pushes it. Content that is
// wrong, and little of what another file stopped, is not kept.
func TestUnpackKeepsForLater(t *testing.T) {
	large, small := strings.Repeat("large", 1<<19), "small" // large is over two mebibytes
	for _, c := range []struct {
		name    string
		content string // of the file that is gone on with
		title   string // of what fails half-way
		err     error
		opens   []int64 // of the next pull
	}{
		{"not allowed any more", small + small, "a", store.ErrDenied, []int64{5, 0}},
		{"signed out", small + small, "a", store.ErrUnauthorized, []int64{5, 0}},
		{"another is gone", large, "b", store.ErrNotFound, []int64{0}},
		{"another is wrong", large, "b", store.ErrMismatch, []int64{0}},
		{"another is gone, and this is little", small, "b", store.ErrNotFound, []int64{0, 0}},
		{"itself is gone", large, "a", store.ErrNotFound, []int64{0, 0}},
		{"itself is wrong", large, "a", store.ErrMismatch, []int64{0, 0}},
		{"no room", large, "a", syscall.ENOSPC, []int64{0, 0}},
		{"no room for another", large, "b", syscall.ENOSPC, []int64{0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := &source{}, t.TempDir()
			m := manifest(t, s.add("a", c.content), s.add("b", "another"))
			o := UnpackOptions{Dir: dir, Concurrency: 1}
			if _, err := Unpack(t.Context(), refusing(s, c.title, c.err), m, o); !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			s.offsets = nil
			if _, err := Unpack(t.Context(), s, m, o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.opens, s.offsets); diff != "" {
				t.Errorf("the next pull read from (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"a": c.content, "b": "another"}, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%.200s", diff)
			}
		})
	}
}

// A file has arrived when it is proven, and not before.
func TestUnpackTells(t *testing.T) {
	s, dir := &source{}, t.TempDir()
	good, same, bad := s.add("good", "content"), s.add("same", "content"), s.add("bad", "right bytes")
	half, skipped, tree := s.add("half", "half and half"), s.add("skipped", "here"), s.packed(t, "tree", Gzip, makeTar(t, file("tree/a", "1")))
	untrue := s.packed(t, "untrue", Gzip, makeTar(t, file("untrue/a", "1")))
	untrue.Annotations[AnnotationContentDigest] = digest.FromString("x").String()
	write(t, dir+"/skipped", "here")
	write(t, dir+"/"+partialName("half", half.Digest), "half and ")
	s.blobs[bad.Digest] = []byte("wrong bytes")
	pull := func(layers ...store.Descriptor) (told []string) {
		sink := func(e store.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			story := fmt.Sprintf("%s %s", e.Kind, e.Name)
			switch {
			case e.Kind == store.Advance:
				story += fmt.Sprintf(" %+d", e.Bytes)
			case e.Kind == store.Done:
				story += fmt.Sprintf(" %s", e.How)
			case e.Kind == store.Failed && e.Text == "":
				t.Errorf("%s: no text", e.Name)
			}
			told = append(told, story)
		}
		_, _ = Unpack(context.Background(), s, manifest(t, layers...), UnpackOptions{Dir: dir, Concurrency: 1, Events: sink})
		return told
	}
	for name, c := range map[string]struct{ got, want []string }{
		"good": {pull(good, same), []string{"planned good", "planned same", "start good", "advance good +7", "done good sent", "done same present"}},
		"bad":  {pull(bad), []string{"planned bad", "start bad", "advance bad +11", "failed bad"}},
		"half": {pull(half), []string{"planned half", "start half", "advance half +9", "retry half", "advance half +4", "done half sent"}},
		"here": {pull(skipped), []string{"done skipped present"}},
		"tree": {pull(tree), []string{"planned tree", "start tree", fmt.Sprintf("advance tree %+d", tree.Size), "done tree sent"}},
		"tar":  {pull(untrue), []string{"planned untrue", "start untrue", fmt.Sprintf("advance untrue %+d", untrue.Size), "failed untrue"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Manifests that would replace each other's files are told before one of them
// is unpacked.
func TestCheckTogether(t *testing.T) {
	s := &source{}
	app, same, other := s.add("bin/app", "1"), s.add("./bin/app", "1"), s.add("bin/app", "2")
	bin, below := s.add("bin", "3"), s.add("bin/tool", "4")
	dir := s.packed(t, "bin", Gzip, makeTar(t, file("bin/x", "")))
	for name, c := range map[string]struct {
		one, two store.Descriptor
		o        UnpackOptions
		want     error
	}{
		"apart":                  {app, below, UnpackOptions{}, nil},
		"same content":           {app, same, UnpackOptions{}, nil},
		"other content":          {same, other, UnpackOptions{}, store.ErrExists},
		"below a file":           {bin, below, UnpackOptions{}, store.ErrExists},
		"file above":             {below, bin, UnpackOptions{}, store.ErrExists},
		"below a directory":      {dir, below, UnpackOptions{}, nil},
		"one by another way":     {app, s.add("../out/bin/app", "5"), UnpackOptions{Dir: "out", AllowTraversal: true}, store.ErrExists},
		"a title that leads out": {app, s.add("../app", "6"), UnpackOptions{}, store.ErrPath},
		"the config of each":     {app, below, UnpackOptions{Config: "config.json"}, nil},
		"the config as a file":   {app, s.add("config.json", "7"), UnpackOptions{Config: "config.json"}, store.ErrInvalid},
	} {
		err := CheckTogether([]store.Manifest{manifest(t, c.one), manifest(t, c.two)}, c.o)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// Within one manifest it is the manifest that is wrong.
	if err := CheckTogether([]store.Manifest{manifest(t, app, other)}, UnpackOptions{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("one manifest: %v, want ErrInvalid", err)
	}
}
