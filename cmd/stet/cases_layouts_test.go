package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// layout makes the layout lay with the artifact v1, and gives the path of the
// blob of its file.
func (d *desk) layout() string {
	d.t.Helper()
	d.write("a.txt", content)
	d.stet("push", "oci:lay:v1", "a.txt").ok()
	return filepath.Join(d.Dir, "lay", "blobs", "sha256", digest.FromString(content).Encoded())
}

// Case 88: OCI layout: index.json from outside, symlinked blobs, digest as path:
// as 1, 17, 79.
func TestCase88Layouts(t *testing.T) {
	t.Parallel()
	entry := func(d string) string {
		return `{"schemaVersion":2,"manifests":[{"mediaType":"` + imageType + `","digest":"` + d + `","size":10,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`
	}
	for name, spoil := range map[string]func(d *desk, outer, blob string) error{
		"index.json is HTML": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte("<html>"), 0o644)
		},
		"index.json is an array": func(d *desk, _, _ string) error { return os.WriteFile(d.Dir+"/lay/index.json", []byte("[]"), 0o644) },
		"index.json is deep": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(strings.Repeat("[", 100000)), 0o644)
		},
		"index.json has two names": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(`{"manifests":[],"Manifests":[]}`), 0o644)
		},
		"index.json is two": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(entry(digest.FromString("x").String())+"{}"), 0o644)
		},
		"index.json is large": func(d *desk, _, _ string) error {
			return os.Truncate(d.Dir+"/lay/index.json", 300<<20)
		},
		"digest as path": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(entry("sha256:../../../victim")), 0o644)
		},
		"digest as absolute path": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(entry("/etc:passwd")), 0o644)
		},
		"algorithm as path": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/index.json", []byte(entry("../..:victim")), 0o644)
		},
		"index.json leads out": func(d *desk, outer, _ string) error { return relink("../../victim", d.Dir+"/lay/index.json") },
		"index.json is a pipe": func(d *desk, _, _ string) error {
			os.Remove(d.Dir + "/lay/index.json")
			return exec.Command("mkfifo", d.Dir+"/lay/index.json").Run()
		},
		"index.json is a directory": func(d *desk, _, _ string) error {
			os.Remove(d.Dir + "/lay/index.json")
			return os.Mkdir(d.Dir+"/lay/index.json", 0o755)
		},
		"index.json never ends":    func(d *desk, _, _ string) error { return relink("/dev/zero", d.Dir+"/lay/index.json") },
		"blob leads out":           func(d *desk, _, blob string) error { return relink("../../../../victim", blob) },
		"blob leads out, absolute": func(d *desk, outer, blob string) error { return relink(outer+"/victim", blob) },
		"blob leads out, rightly": func(d *desk, _, blob string) error {
			return errors.Join(os.Rename(blob, d.Dir+"/a.out"), os.Symlink("../../../a.out", blob))
		},
		"blobs lead out": func(d *desk, outer, _ string) error {
			return errors.Join(os.Rename(d.Dir+"/lay/blobs", d.Dir+"/moved"), os.Symlink("../moved", d.Dir+"/lay/blobs"))
		},
		"blob flipped":        func(_ *desk, _, blob string) error { return os.WriteFile(blob, []byte(flipped(content)), 0o644) },
		"blob short":          func(_ *desk, _, blob string) error { return os.Truncate(blob, 100) },
		"blob long":           func(_ *desk, _, blob string) error { return os.WriteFile(blob, []byte(content+"more"), 0o644) },
		"blob is a pipe":      func(_ *desk, _, blob string) error { os.Remove(blob); return exec.Command("mkfifo", blob).Run() },
		"blob is a directory": func(_ *desk, _, blob string) error { os.Remove(blob); return os.Mkdir(blob, 0o755) },
		"no oci-layout":       func(d *desk, _, _ string) error { return os.Remove(d.Dir + "/lay/oci-layout") },
		"oci-layout of the future": func(d *desk, _, _ string) error {
			return os.WriteFile(d.Dir+"/lay/oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o644)
		},
		"oci-layout is a pipe": func(d *desk, _, _ string) error {
			os.Remove(d.Dir + "/lay/oci-layout")
			return exec.Command("mkfifo", d.Dir+"/lay/oci-layout").Run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			outer := d.nested()
			blob := d.layout()
			if err := spoil(d, outer, blob); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"pull", "-o", "out", "oci:lay:v1"}, {"cp", "oci:lay:v1", "oci:copy:v1"}} {
				o := d.stet(args...).fails(1, 3, 5, 6, 7)
				if o.Took > 10*time.Second {
					t.Errorf("%s\ntook long", o)
				}
				o.never("victim\n")
			}
			d.untouched(outer)
			if d.read("out/a.txt") != "" {
				t.Error("there is a file")
			}
			d.stet("resolve", "oci:copy:v1").fails(5)
		})
	}
	// Who writes does not write out of the layout either.
	for name, spoil := range map[string]func(d *desk, outer string) error{
		"blobs": func(d *desk, outer string) error { return os.Symlink("../..", d.Dir+"/lay/blobs") },
		"sha256": func(d *desk, outer string) error {
			return errors.Join(os.Mkdir(d.Dir+"/lay/blobs", 0o755), os.Symlink(outer, d.Dir+"/lay/blobs/sha256"))
		},
		"index.json": func(d *desk, outer string) error { return os.Symlink("../../victim", d.Dir+"/lay/index.json") },
		"oci-layout": func(d *desk, outer string) error { return os.Symlink("../../victim", d.Dir+"/lay/oci-layout") },
		"work":       func(d *desk, outer string) error { return os.Symlink("../..", d.Dir+"/lay/.stet") },
		"lock": func(d *desk, outer string) error {
			return errors.Join(os.Mkdir(d.Dir+"/lay/.stet", 0o755), os.Symlink("../../../new", d.Dir+"/lay/.stet/lock"))
		},
	} {
		t.Run("write "+name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			outer := d.nested()
			d.write("a.txt", content)
			if err := errors.Join(os.Mkdir(d.Dir+"/lay", 0o755), spoil(d, outer)); err != nil {
				t.Fatal(err)
			}
			d.stet("push", "oci:lay:v1", "a.txt")
			d.untouched(outer)
		})
	}
}

// relink replaces a file by a symbolic link.
func relink(to, at string) error { return errors.Join(os.Remove(at), os.Symlink(to, at)) }

// Case 89: two processes write one OCI layout: lock, index never lost. Here eight
// do, and the same for an archive.
func TestCase89LayoutWriters(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"oci:lay", "tar:a.tar"} {
		t.Run(to[:3], func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			for i := range 8 {
				s.artifact([]store.Descriptor{s.file("data.bin", content), s.file("n.txt", fmt.Sprint(i))}, fmt.Sprint("v", i))
			}
			h := newHostile(t, s.ServeHTTP)
			d := newDesk(t)
			d.write("a.txt", "a\n")
			d.stet("push", to+":old", "a.txt").ok()
			var all []*running
			for i := range 8 {
				if i%2 == 0 {
					all = append(all, d.start("cp", fmt.Sprintf("%s/app:v%d", h.Name(), i), fmt.Sprintf("%s:v%d", to, i)))
				} else {
					all = append(all, d.start("push", fmt.Sprintf("%s:v%d", to, i), "a.txt"))
				}
			}
			for _, r := range all {
				r.end().ok()
			}
			tags := d.stet("repo", "tags", to).ok()
			for i := range 8 {
				if !strings.Contains(tags.Stdout, fmt.Sprintf("v%d\n", i)) {
					t.Errorf("v%d is lost:\n%s", i, tags)
				}
				d.stet("verify", fmt.Sprintf("%s:v%d", to, i)).ok()
			}
			d.stet("verify", to+":old").ok()
			d.verifyBlobs("lay")
			for _, f := range d.files() {
				if strings.Contains(f, "partial") || strings.Contains(f, "ingest-") {
					t.Errorf("left %s", f)
				}
			}
		})
	}
}
