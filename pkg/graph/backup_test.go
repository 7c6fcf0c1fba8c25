package graph_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

func openLayout(t *testing.T, dir string) store.Store {
	t.Helper()
	s, err := local.OpenLayout(dir, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return store.VerifyManifests(s)
}

// spoil changes the bytes of what a layout holds, and not its size.
func spoil(t *testing.T, dir string, d digest.Digest) {
	t.Helper()
	name := filepath.Join(dir, "blobs", "sha256", d.Encoded())
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

func unlink(t *testing.T, dir string, d digest.Digest) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "blobs", "sha256", d.Encoded())); err != nil {
		t.Fatal(err)
	}
}

func backup(t *testing.T, src store.Reader, dir string, opts graph.BackupOptions, tags ...string) (graph.BackupResult, error) {
	t.Helper()
	return graph.NewBackup(nil, opts).Repository(t.Context(), src, graph.Kept{Store: openLayout(t, dir)}, tags)
}

// A first backup reads nothing twice: what it wrote it has proven. A second
// reads what was there, or with Shallow looks at it.
func TestBackupProvesOnce(t *testing.T) {
	src, dir := newRecorder(), filepath.Join(t.TempDir(), "b")
	b := builder{t, src}
	subject := b.image("one", nil, "v1")
	b.image("sbom", &subject)
	for i, want := range []graph.BackupResult{{}, {Reread: 3}} { // two layers and the config
		res, err := backup(t, src, dir, graph.BackupOptions{Referrers: true}, "v1")
		if err != nil || res.Reread != want.Reread || res.Mended != 0 || res.Referrers != 1 {
			t.Errorf("%d: %+v, %v", i, res, err)
		}
	}
	if res, err := backup(t, src, dir, graph.BackupOptions{Shallow: true}, "v1"); err != nil || res.Reread != 0 {
		t.Errorf("shallow: %+v, %v", res, err)
	}
	if _, err := backup(t, src, dir, graph.BackupOptions{}, "v1", "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a tag that is not there: %v", err)
	}
}

// Whatever is damaged under a tag that has not moved is put again.
func TestBackupMends(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string, child, layer, sbom digest.Digest){
		"other bytes in a blob":     func(t *testing.T, dir string, _, layer, _ digest.Digest) { spoil(t, dir, layer) },
		"a blob that is gone":       func(t *testing.T, dir string, _, layer, _ digest.Digest) { unlink(t, dir, layer) },
		"other bytes in a manifest": func(t *testing.T, dir string, child, _, _ digest.Digest) { spoil(t, dir, child) },
		"a manifest that is gone":   func(t *testing.T, dir string, child, _, _ digest.Digest) { unlink(t, dir, child) },
		"a damaged referrer":        func(t *testing.T, dir string, _, _, sbom digest.Digest) { spoil(t, dir, sbom) },
		"a cut blob and a manifest": func(t *testing.T, dir string, child, layer, _ digest.Digest) {
			spoil(t, dir, child)
			truncate(t, dir, layer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dir := newRecorder(), filepath.Join(t.TempDir(), "b")
			b := builder{t, src}
			child := b.image("a layer", nil)
			sbom := b.image("sbom", &child)
			index(b, []store.Descriptor{child}, "", "v1")
			var warned []string
			opts := graph.BackupOptions{Referrers: true, Events: func(e store.Event) {
				if e.Kind == store.Warning {
					warned = append(warned, e.Text)
				}
			}}
			if _, err := backup(t, src, dir, opts, "v1"); err != nil || len(warned) > 0 {
				t.Fatal(err, warned)
			}
			harm(t, dir, child.Digest, digest.FromString("a layer"), sbom.Digest)
			res, err := backup(t, src, dir, opts, "v1")
			// A manifest that is gone is copied as any that is not there yet.
			told := strings.Contains(strings.Join(warned, "\n"), "it is fetched again") && res.Mended > 0
			if err != nil || !told && name != "a manifest that is gone" {
				t.Fatalf("%+v, %v, warned of %q", res, err, warned)
			}
			if res, err := backup(t, src, dir, opts, "v1"); err != nil || res.Mended != 0 {
				t.Errorf("after that: %+v, %v", res, err)
			}
		})
	}
}

func truncate(t *testing.T, dir string, d digest.Digest) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, "blobs", "sha256", d.Encoded()), 1); err != nil {
		t.Fatal(err)
	}
}

// What cannot be mended, because the source has it no more, is an error, and no
// backup is called done.
func TestBackupTellsWhatIsLost(t *testing.T) {
	src, dir := newReads(), filepath.Join(t.TempDir(), "b")
	builder{t, src.Store}.image("a layer", nil, "v1")
	if _, err := backup(t, src, dir, graph.BackupOptions{}, "v1"); err != nil {
		t.Fatal(err)
	}
	layer := digest.FromString("a layer")
	spoil(t, dir, layer)
	src.broken[layer] = store.ErrUnavailable
	if _, err := backup(t, src, dir, graph.BackupOptions{}, "v1"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// A blob that a repository beside it has is not asked of the source; one that
// is damaged there is.
func TestBackupTakesFromBeside(t *testing.T) {
	dir := t.TempDir()
	reg, err := local.OpenLayouts(dir, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	repo := func(name string) graph.Kept {
		s, err := reg.Repository(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return graph.Kept{Name: name, Store: store.VerifyManifests(s)}
	}
	begin := func() *graph.Backup {
		return graph.NewBackup(func(context.Context) ([]graph.Kept, error) { return []graph.Kept{repo("a")}, nil }, graph.BackupOptions{})
	}
	src := newReads()
	b := builder{t, src.Store}
	b.image("shared", nil, "v1")
	run := begin()
	if _, err := run.Repository(t.Context(), src, repo("a"), []string{"v1"}); err != nil {
		t.Fatal(err)
	}
	clear(src.counts)
	res, err := run.Repository(t.Context(), src, repo("b"), []string{"v1"})
	layer := digest.FromString("shared")
	if err != nil || res.Mounted != 2 || res.Reread != 0 || src.counts["blob "+layer.String()] != 0 {
		t.Errorf("%+v, %v, read %v", res, err, src.counts)
	}
	spoil(t, filepath.Join(dir, "a"), layer) // which is the same file in b
	res, err = begin().Repository(t.Context(), src, repo("c"), []string{"v1"})
	if err != nil || res.Mended != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "c", "blobs", "sha256", layer.Encoded()))
	if err != nil || string(raw) != "shared" {
		t.Errorf("%q, %v", raw, err)
	}
	// The damaged file has two names. Each repository has its own mended, and the
	// second links what was proven in the first.
	clear(src.counts)
	run = begin()
	for _, name := range []string{"a", "b"} {
		if res, err := run.Repository(t.Context(), src, repo(name), []string{"v1"}); err != nil || res.Mended != 1 {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, name, "blobs", "sha256", layer.Encoded()))
		if err != nil || string(raw) != "shared" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
	if n := src.counts["blob "+layer.String()]; n != 1 {
		t.Errorf("read %d times", n)
	}
}

// A manifest that a tag names is mended whatever is wrong with it, and so is one
// that nobody asked for where it keeps lists from being read; healthy tags go on.
func TestBackupMendsRoots(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string, d digest.Digest){
		"other bytes": spoil, "another size": truncate, "gone": unlink,
	} {
		for _, tags := range [][]string{{"v1", "v2"}, {"v2"}} {
			src, dir := newRecorder(), filepath.Join(t.TempDir(), "b")
			b := builder{t, src}
			first, second := b.image("one", nil, "v1"), b.image("two", nil, "v2")
			b.image("sbom", &second)
			opts := graph.BackupOptions{Referrers: true}
			if _, err := backup(t, src, dir, opts, "v1", "v2"); err != nil {
				t.Fatal(err)
			}
			harm(t, dir, first.Digest)
			if res, err := backup(t, src, dir, opts, tags...); err != nil {
				t.Errorf("%s, %v: %+v, %v", name, tags, res, err)
			}
			if _, err := openLayout(t, dir).Manifest(t.Context(), "v1"); err != nil && (name != "gone" || len(tags) == 2) {
				t.Errorf("%s, %v: %v", name, tags, err)
			}
		}
	}
}

// What cannot be mended because the source has it no more is said to be in the
// backup, not in the source.
func TestBackupBlamesTheBackup(t *testing.T) {
	src, dir := newRecorder(), filepath.Join(t.TempDir(), "b")
	b := builder{t, src}
	first, second := b.image("one", nil, "v1"), b.image("two", nil, "v2")
	b.image("sbom", &second)
	opts := graph.BackupOptions{Referrers: true}
	if _, err := backup(t, src, dir, opts, "v1", "v2"); err != nil {
		t.Fatal(err)
	}
	if err := src.DeleteManifest(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	truncate(t, dir, first.Digest)
	_, err := backup(t, src, dir, opts, "v2")
	var at *graph.Error
	if !errors.As(err, &at) || at.Side != graph.Destination || at.Desc.Digest != first.Digest {
		t.Errorf("got %v", err)
	}
}

// asked counts the blobs that a store is asked for.
type asked struct {
	store.Store
	n int
}

func (a *asked) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	a.n++
	return a.Store.Blob(ctx, d)
}

// A repository that does not have a blob is not asked for it, however many there
// are; they are listed once.
func TestBackupAsksWhoHasIt(t *testing.T) {
	src := newRecorder()
	b := builder{t, src}
	var all []graph.Kept
	var counts []*asked
	listed := 0
	run := graph.NewBackup(func(context.Context) ([]graph.Kept, error) { listed++; return all, nil }, graph.BackupOptions{})
	for i := range 5 {
		tag := fmt.Sprint("v", i)
		b.image(tag, nil, tag)
		a := &asked{Store: local.NewMemory()}
		to := graph.Kept{Name: tag, Store: a}
		all, counts = append(all, to), append(counts, a)
		if _, err := run.Repository(t.Context(), src, to, []string{tag}); err != nil {
			t.Fatal(err)
		}
	}
	// Each has an empty config, which the others take from the first; none is asked
	// for a layer that is another's.
	for i, a := range counts[1:] {
		if a.n != 0 {
			t.Errorf("%d was asked %d times", i+1, a.n)
		}
	}
	if counts[0].n > 4*2 || listed != 1 {
		t.Errorf("the first was asked %d times; listed %d times", counts[0].n, listed)
	}
}
