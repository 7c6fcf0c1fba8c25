//go:build !windows

package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stet-oci/stet/pkg/store"
)

func TestParseFileArg(t *testing.T) {
	for _, c := range []struct {
		arg         string
		windows     bool
		path, media string
		bad         bool
	}{
		{"a.txt", false, "a.txt", "", false},
		{"a.txt:text/plain", false, "a.txt", "text/plain", false},
		{"a:b:", false, "a:b", "", false},
		{"a:b:text/plain", false, "a:b", "text/plain", false},
		{`C:\a.txt`, true, `C:\a.txt`, "", false},
		{`C:/a.txt:text/plain`, true, `C:/a.txt`, "text/plain", false},
		{`c:\`, true, `c:\`, "", false},
		{`C:\x:text/plain`, true, `C:\x`, "text/plain", false},
		{`C:\x:`, true, `C:\x`, "", false},
		{`C:\x:y`, true, "", "", true},
		{`C:\x:y:`, true, "", "", true},
		{`C:\x:y:text/plain`, true, "", "", true},
		{`C:\x:text/plain`, false, `C:\x`, "text/plain", false},
		{`C:\x`, false, "", "", true},
		{`\\host\share\x:text/plain`, true, `\\host\share\x`, "text/plain", false},
		{`dir\x:text/plain`, true, `dir\x`, "text/plain", false},
		{"C:x", true, "", "", true},
		{"-:text/plain", false, "-", "text/plain", false},
		{"./-", false, "./-", "", false},
		{`1:\x`, true, "", "", true},
		{"a?:text/plain", true, "", "", true},
		{"a:b", false, "", "", true},
		{"", false, "", "", true},
		{":text/plain", false, "", "", true},
		{"a:text/plain; charset=utf-8", false, "", "", true},
		{"a\x00b", false, "", "", true},
	} {
		got, err := parseFileArg(c.arg, c.windows)
		if got.Path != c.path || got.MediaType != c.media || errors.Is(err, store.ErrUsage) != c.bad || (err != nil) != c.bad {
			t.Errorf("parseFileArg(%q, %v) = %+v, %v", c.arg, c.windows, got, err)
		}
	}
}

func FuzzParseFileArg(f *testing.F) {
	for _, s := range []string{"a", "a:b/c", "a:b:", `C:\x:a/b`, "::", ":"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, arg string, windows bool) {
		got, err := parseFileArg(arg, windows)
		if err != nil {
			return
		}
		if got.Path == "" || !strings.HasPrefix(arg, got.Path) || got.MediaType != "" && arg != got.Path+":"+got.MediaType {
			t.Errorf("%q is read as %+v", arg, got)
		}
	})
}

func TestParseAnnotations(t *testing.T) {
	got, err := ParseAnnotations([]string{"a=1", "b=x=y", "c="})
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "x=y", "c": ""}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range [][]string{{"a"}, {"=1"}, {"a=1", "a=2"}} {
		if _, err := ParseAnnotations(bad); !errors.Is(err, store.ErrUsage) {
			t.Errorf("%q: %v, want ErrUsage", bad, err)
		}
	}
	for _, bad := range []string{
		"", "[]", "{", `{"a":1}`, `{"a":{"b":1}}`, `{"a":{"b":"1","b":"2"}}`, `{"a":{},"a":{}}`, `{}{}`, `{} x`, "{\"a\xff\":{}}", "null", `{"a":null}`,
	} {
		if _, err := ParseAnnotationFile([]byte(bad)); !errors.Is(err, store.ErrUsage) {
			t.Errorf("%q: %v, want ErrUsage", bad, err)
		}
	}
	if all, err := ParseAnnotationFile([]byte(`{"a.txt":{"k":"1","K":"2"},"A.txt":{}}`)); err != nil || all["a.txt"]["K"] != "2" {
		t.Errorf("case is no difference: %v, %v", all, err)
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	abs := write(t, dir+"/in/a", "a")
	write(t, dir+"/b", "b")
	if err := syscall.Mkfifo(dir+"/in/pipe", 0o666); err != nil {
		t.Fatal(err)
	}
	created := map[string]string{"org.opencontainers.image.created": "yesterday"}
	for _, c := range []struct {
		name string
		r    PackRequest
		want error
		says string
	}{
		{"missing", PackRequest{Files: []File{{Path: "none"}}}, store.ErrNotFound, "none"},
		{"missing with colon", PackRequest{Files: []File{{Path: "x:y"}}}, store.ErrNotFound, "colon"},
		{"pipe", PackRequest{Files: []File{{Path: "pipe"}}}, store.ErrUsage, "pipe"},
		{"absolute", PackRequest{Files: []File{{Path: abs}}}, store.ErrUsage, "absolute"},
		{"parent", PackRequest{Files: []File{{Path: "../b"}}}, store.ErrUsage, `".."`},
		{"newline in title", PackRequest{Files: []File{{Path: "a", Title: "a\nb"}}}, store.ErrUsage, "control"},
		{"one title twice", PackRequest{Files: []File{{Path: "a"}, {Path: "./a"}}}, store.ErrUsage, "of a and of ./a"},
		{"config is a directory", PackRequest{Config: &File{Path: "."}}, store.ErrUsage, "directory"},
		{"unknown annotations", PackRequest{Files: []File{{Path: "./a"}}, Annotations: Annotations{"a": {}}}, store.ErrUsage, `["$manifest" "$config" "./a"]`},
		{"no config", PackRequest{Kind: KindArtifact, Annotations: Annotations{"$config": {}}}, store.ErrUsage, "$config"},
		{"time", PackRequest{Annotations: Annotations{"$manifest": created}}, store.ErrUsage, "yesterday"},
		{"contradiction", PackRequest{Kind: KindImageV10, Subject: &store.Descriptor{}}, store.ErrUsage, "subject"},
	} {
		c.r.Dir = dir + "/in"
		_, err := Pack(context.Background(), c.r)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.want, c.says)
		}
	}
	p, err := Pack(context.Background(), PackRequest{Dir: dir + "/in", AnyPath: true, Files: []File{{Path: "../b"}, {Path: abs}}})
	if err != nil || store.NameOf(p.Blobs[1].Descriptor) != "../b" || store.NameOf(p.Blobs[2].Descriptor) != abs {
		t.Errorf("AnyPath: %v", err)
	}
}

func TestPackArtifactManifest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "hello\n")
	at := time.Date(2024, 1, 2, 4, 4, 5, 6, time.FixedZone("", 3600))
	m := finish(t, PackRequest{
		Dir: dir, Kind: KindArtifact, ArtifactType: "a/b", Files: []File{{Path: "a", MediaType: "text/plain"}}, Created: &at,
		Subject: &store.Descriptor{MediaType: "c/d", Digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", Size: 2, ArtifactType: "x/y"},
	})
	want := `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b",` +
		`"blobs":[{"mediaType":"text/plain","digest":"sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03","size":6,` +
		`"annotations":{"org.opencontainers.image.title":"a"}}],` +
		`"subject":{"mediaType":"c/d","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"annotations":{"org.opencontainers.artifact.created":"2024-01-02T03:04:05Z"}}`
	if diff := cmp.Diff(want, string(m.Raw)); diff != "" {
		t.Error(diff)
	}
	empty := finish(t, PackRequest{Kind: KindArtifact})
	if string(empty.Raw) != `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"application/vnd.unknown.artifact.v1"}` {
		t.Errorf("empty: %s", empty.Raw)
	}
}

// A file that changes gives an error before its last bytes, so that nobody
// completes an upload of it.
func TestFileChanged(t *testing.T) {
	for name, change := range map[string]func(name string) error{
		"rewritten": func(name string) error { return os.WriteFile(name, []byte("other"), 0o666) },
		"longer":    func(name string) error { return os.WriteFile(name, []byte("hello and more"), 0o666) },
		"shorter":   func(name string) error { return os.Truncate(name, 3) },
		"replaced": func(name string) error {
			info, err := os.Stat(name)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(name+"2", []byte("hello"), 0o666), os.Chtimes(name+"2", info.ModTime(), info.ModTime()), os.Rename(name+"2", name))
		},
		"removed": os.Remove,
	} {
		for _, before := range []bool{true, false} {
			if name == "removed" && !before || name == "replaced" && !before {
				continue // the open file is what it was
			}
			dir := t.TempDir()
			file := write(t, dir+"/f", "hello")
			p, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "f"}}})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond)
			var rc io.ReadCloser
			if !before {
				if rc, err = p.Blobs[1].Open(context.Background(), 0); err != nil {
					t.Fatal(err)
				}
				_, _ = rc.Read(make([]byte, 2))
			}
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			if before {
				rc, err = p.Blobs[1].Open(context.Background(), 0)
			}
			if err == nil {
				var raw []byte
				raw, err = io.ReadAll(rc)
				if before && len(raw) == 5 || !before && len(raw) == 3 {
					t.Errorf("%s: all bytes were given out", name)
				}
				rc.Close()
			}
			if !errors.Is(err, store.ErrChanged) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s (before opening: %v): %v, want ErrChanged with its path", name, before, err)
			}
		}
	}
}

func TestFileOffset(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", "hello")
	p, err := Pack(context.Background(), PackRequest{Dir: dir, Files: []File{{Path: "f"}}})
	if err != nil {
		t.Fatal(err)
	}
	if b := p.Blobs[1]; b.Digest != "" || b.Size != 5 || string(readBlob(t, b, 2)) != "llo" || len(readBlob(t, b, 5)) != 0 {
		t.Errorf("blob %+v", b.Descriptor)
	}
	if _, err := p.Blobs[1].Open(context.Background(), 6); !errors.Is(err, store.ErrRange) {
		t.Errorf("behind the end: %v", err)
	}
	if _, err := p.Finish(nil); !errors.Is(err, store.ErrUsage) {
		t.Errorf("Finish without descriptors: %v", err)
	}
	descs, _ := p.Hash(context.Background(), nil)
	descs[1].Size++
	if _, err := p.Finish(descs); !errors.Is(err, store.ErrMismatch) {
		t.Errorf("Finish with another size: %v", err)
	}
}

// A large file is streamed: what is allocated does not grow with it.
func TestPackMemory(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir+"/f", "")
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	finish(t, PackRequest{Dir: dir, Files: []File{{Path: "f"}}})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("64 MiB were read with %d bytes of buffers", used)
	}
}

// Files are read beside each other for their digests: one waits for the disk
// while another is hashed. The order of the descriptors stays that of the blobs.
func TestHashReadsBeside(t *testing.T) {
	reading, both := make(chan struct{}, 2), make(chan struct{})
	request := PackRequest{}
	for _, name := range []string{"a", "b"} {
		request.Files = append(request.Files, File{
			Path: name, Title: name,
			Content: func(context.Context, int64) (io.ReadCloser, error) {
				reading <- struct{}{}
				select {
				case <-both:
				case <-time.After(10 * time.Second):
					return nil, errors.New("the other is not read meanwhile")
				}
				return io.NopCloser(strings.NewReader(name)), nil
			},
		})
	}
	p, err := Pack(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-reading
		<-reading
		close(both)
	}()
	descs, err := p.Hash(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"{}", "a", "b"} {
		if want := store.NewBlob("", []byte(text)).Digest; descs[i].Digest != want {
			t.Errorf("blob %d is %s, want that of %q", i, descs[i].Digest, text)
		}
	}
}
