package local_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

func registries(t *testing.T) map[string]store.Registry {
	t.Helper()
	// The map of a memory registry and a directory must not differ for who serves them.
	return map[string]store.Registry{
		"memory":   newMemoryRegistry(t),
		"layouts":  openLayouts(t, filepath.Join(t.TempDir(), "registry")),
		"archives": openArchives(t, filepath.Join(t.TempDir(), "registry.tar")),
	}
}

func TestRegistryRepositories(t *testing.T) {
	for name, r := range registries(t) {
		t.Run(name, func(t *testing.T) {
			if got, err := store.Collect(r.Repositories(t.Context(), "")); err != nil || len(got) > 0 {
				t.Errorf("an empty registry lists %q, %v", got, err)
			}
			for _, repo := range []string{"b/c", "a", "b-c", "b", "blobs/x", "a/b/c/d"} {
				put(t, repository(t, r, repo), manifest(repo), "v1")
			}
			s := repository(t, r, "only/asked")
			_, err := s.Resolve(t.Context(), "v1")
			wants(t, err, store.ErrNotFound)
			_, err = store.Collect(s.Tags(t.Context(), ""))
			wants(t, err, store.ErrNotFound)
			if list, err := store.Collect(s.Referrers(t.Context(), manifest("a").Digest, "")); err != nil || len(list) > 0 {
				t.Errorf("referrers in a repository that is not there: %v, %v", list, err)
			}

			all := []string{"a", "a/b/c/d", "b", "b-c", "b/c", "blobs/x"}
			got, err := store.Collect(r.Repositories(t.Context(), ""))
			if diff := cmp.Diff(all, got); err != nil || diff != "" {
				t.Errorf("%v, repositories (-want +got):\n%s", err, diff)
			}
			got, err = store.Collect(r.Repositories(t.Context(), "b"))
			if diff := cmp.Diff(all[3:], got); err != nil || diff != "" {
				t.Errorf("%v, repositories after b (-want +got):\n%s", err, diff)
			}
			d, err := repository(t, r, "b/c").Resolve(t.Context(), "v1")
			if err != nil || d.Digest != manifest("b/c").Digest {
				t.Errorf("b/c:v1 is %s, %v", d.Digest, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRegistryNames(t *testing.T) {
	for name, r := range registries(t) {
		for _, repo := range []string{
			"", ".", "..", "../x", "a/../b", "/a", "a/", "a//b", "A", "a/.hidden", "a\\b", "a b", "a\x00", "-a", "a:v1", "c:/x",
		} {
			if _, err := r.Repository(t.Context(), repo); !errors.Is(err, store.ErrBadReference) {
				t.Errorf("%s: %q: got %v", name, repo, err)
			}
		}
	}
	layouts := openLayouts(t, t.TempDir())
	for _, repo := range []string{"a/blobs", "a/blobs/sha256/x", "a/index.json", "a/oci-layout"} {
		if _, err := layouts.Repository(t.Context(), repo); !errors.Is(err, store.ErrBadReference) {
			t.Errorf("%q: got %v", repo, err)
		}
	}
}

// A blob of one repository comes into another without being read.
func TestRegistryMounts(t *testing.T) {
	for name, r := range registries(t) {
		t.Run(name, func(t *testing.T) {
			from, to := repository(t, r, "team/from"), repository(t, r, "team/to")
			put, err := from.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello")))
			if err != nil {
				t.Fatal(err)
			}
			b, err := from.Blob(t.Context(), store.Descriptor{Digest: put.Digest, Size: store.UnknownSize})
			if err != nil {
				t.Fatal(err)
			}
			lying := b
			lying.Size = 3
			lying.Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, errors.New("was read") }
			if _, err := to.PutBlob(t.Context(), lying); err == nil {
				t.Error("a blob of another size was mounted")
			}
			lying.Size, lying.Digest = b.Size, manifest("absent").Digest
			if _, err := to.PutBlob(t.Context(), lying); err == nil {
				t.Error("a blob that is not there was mounted")
			}
			b.Open = lying.Open
			got, err := to.PutBlob(t.Context(), b)
			if err != nil || got.How != store.Mounted || got.Digest != put.Digest || got.Size != 5 {
				t.Fatalf("got %v, %v", got, err)
			}
			if err := from.DeleteBlob(t.Context(), put.Descriptor); err != nil {
				t.Fatal(err)
			}
			b, err = to.Blob(t.Context(), put.Descriptor)
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := store.ReadBlob(t.Context(), b, 100); err != nil || string(raw) != "hello" {
				t.Errorf("got %q, %v", raw, err)
			}
		})
	}
}

// Repository directories that are links do not lead out of the registry's.
func TestLayoutsLinksDoNotLeadOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	put(t, openLayout(t, filepath.Join(outside, "repo")), manifest("a"), "v1")
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Skip(err)
	}
	r := openLayouts(t, dir)
	if names, err := store.Collect(r.Repositories(t.Context(), "")); err != nil || len(names) > 0 {
		t.Errorf("repositories %q, %v", names, err)
	}
	s, err := r.Repository(t.Context(), "out/repo")
	if err == nil {
		_, err = s.Resolve(t.Context(), "v1")
	}
	if err == nil {
		t.Error("a repository outside was read")
	}
}

func TestLayoutsFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := repository(t, openLayouts(t, dir), "team/app")
	b := store.NewBlob("text/plain", []byte("hello"))
	b.Size = 3
	_, err := s.PutBlob(t.Context(), b)
	wants(t, err, store.ErrMismatch)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A directory that is a layout is a repository by its name, beside those in it.
func TestLayoutsRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "My Backup")
	put(t, openLayout(t, dir), manifest("a"), "v1")
	r := openLayouts(t, dir)
	put(t, repository(t, r, "team/app"), manifest("b"), "v1")
	put(t, repository(t, r, "my-backup"), manifest("c"), "v2")
	if names, err := store.Collect(r.Repositories(t.Context(), "")); err != nil || strings.Join(names, " ") != "my-backup team/app" {
		t.Errorf("repositories %q, %v", names, err)
	}
	if tags, err := store.Collect(openLayout(t, dir).Tags(t.Context(), "")); err != nil || strings.Join(tags, " ") != "v1 v2" {
		t.Errorf("tags %q, %v", tags, err)
	}
	root := repository(t, r, "my-backup")
	b, err := root.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := root.Blob(t.Context(), b.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := repository(t, r, "team/app").PutBlob(t.Context(), shared); err != nil || got.How != store.Mounted {
		t.Errorf("got %v, %v", got.How, err)
	}
}

func TestSupport(t *testing.T) {
	for name, s := range map[string]store.Store{"memory": newMemory(t), "layout": openLayout(t, t.TempDir())} {
		for _, a := range []store.Ability{store.AbilityReferrersAPI, store.AbilityArtifactManifests, store.AbilityTagDelete, store.AbilitySHA512} {
			if got := s.Support().Of(a); got != store.Yes {
				t.Errorf("%s: %s is %v", name, a, got)
			}
		}
		if got := s.Support().Of(store.AbilityMount); got != store.No {
			t.Errorf("%s: mount is %v, with no other repository", name, got)
		}
		if got := s.Support().Of(store.AbilityChunked); got != store.Unknown {
			t.Errorf("%s: chunked is %v, without a wire", name, got)
		}
	}
}

// A layout is not written among somebody's files; what belongs to a layout that
// is being made does not count.
func TestLayoutKeepsOutOfOtherDirectories(t *testing.T) {
	for name, want := range map[string]error{"index.html": store.ErrExists, "blobs": nil, ".stet": nil} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
		s, err := local.OpenLayout(dir, local.LayoutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.PutBlob(t.Context(), store.NewBlob("text/plain", []byte("x")))
		if !errors.Is(err, want) {
			t.Errorf("beside %s: %v, want %v", name, err, want)
		}
		if entries, _ := os.ReadDir(dir); want != nil && len(entries) != 1 {
			t.Errorf("beside %s: the directory now holds %v", name, entries)
		}
	}
}

// A server of many repositories keeps what it read of the last alone.
func TestLayoutsKeepTheLast(t *testing.T) {
	r := openLayouts(t, t.TempDir())
	tags := make([]string, 200)
	for i := range tags {
		tags[i] = fmt.Sprint("tag-", i)
	}
	var after [5]uint64 // so many times sixteen repositories
	for i := range 16 * len(after) {
		name := fmt.Sprint("r", i)
		put(t, repository(t, r, name), manifest("a"), tags...)
		if _, err := repository(t, r, name).Resolve(t.Context(), "tag-1"); err != nil { // as one that is there
			t.Fatal(err)
		}
		if i%16 == 15 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			after[i/16] = m.HeapAlloc
		}
	}
	if last := len(after) - 1; after[last] > after[0]+after[0]/5 {
		t.Errorf("the heap has %v bytes: it grows with every repository", after)
	}
	for i := range 16 * len(after) {
		if d, err := repository(t, r, fmt.Sprint("r", i)).Resolve(t.Context(), "tag-199"); err != nil || d.Digest != manifest("a").Digest {
			t.Errorf("r%d: %v, %v", i, d.Digest, err)
		}
	}
}
