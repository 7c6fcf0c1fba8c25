package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// nobody is an account that has no rights of its own.
const nobody = 65534

// unprivileged makes the desk run the program as an ordinary user, who owns the
// desk's directories. Root may write where nobody else may.
func (d *desk) unprivileged() {
	d.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		d.t.Skip("root cannot become an ordinary user here: there is no setpriv")
	}
	// The test binary and what is above the desk are for root alone.
	dir, err := os.MkdirTemp("", "stet-case")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err == nil {
		err = copyFile(self, filepath.Join(dir, "stet"))
	}
	for _, own := range []string{dir, d.Dir, d.Home, d.out} {
		if err == nil {
			err = os.Chown(own, nobody, nobody)
		}
		if err == nil {
			err = os.Chmod(filepath.Dir(own), 0o1777)
		}
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.bin = filepath.Join(dir, "stet")
	d.wrap(`exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$STET" "$@"`)
	for _, path := range []string{d.bin, filepath.Dir(d.bin)} {
		if err := os.Chmod(path, 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// writers are the commands that write files, into the directory DIR.
func writers(h *hostile) map[string][]string {
	ref := h.Name() + "/app:v1"
	return map[string][]string{
		"pull":           {"pull", "-o", "DIR", ref},
		"cp to a layout": {"cp", ref, "oci:DIR/lay:v1"},
		"cp to a tar":    {"cp", ref, "tar:DIR/a.tar:v1"},
		"blob fetch":     {"blob", "fetch", "-o", "DIR/blob", h.Name() + "/app@" + largeOf(h)},
		"export":         {"cp", "--export-manifest", "DIR/m.json", ref, "oci:lay:v1"},
		"manifest fetch": {"manifest", "fetch", "-o", "DIR/m.json", ref},
	}
}

// largeOf is the digest of data.bin, which shelved has.
func largeOf(*hostile) string { return newShelf().blob(content).Digest.String() }

// Case 74: read-only directory; full disk: reason told, no partial file.
func TestCase74NoRoom(t *testing.T) {
	t.Parallel()
	h := newHostile(t, shelved().ServeHTTP)
	for name, args := range writers(h) {
		t.Run("read-only, "+name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.unprivileged()
			ro := filepath.Join(d.Dir, "ro")
			if err := os.Mkdir(ro, 0o555); err != nil {
				t.Fatal(err)
			}
			o := d.stet(quick(within(args, "ro")...)...).fails(1).says("permission denied", "ro")
			if left := filesBelow(t, ro); len(left) > 0 {
				t.Errorf("%s\nleft %q", o, left)
			}
		})
	}
	if ok, err := condition("namespaces"); err != nil || !ok {
		t.Logf("a small file system needs a mount namespace, which is not allowed here: %v", err)
		return
	}
	for name, args := range writers(h) {
		for how, mount := range map[string]string{"full": "size=40k", "read-only file system": "ro,size=1m"} {
			t.Run(how+", "+name, func(t *testing.T) {
				t.Parallel()
				if how == "full" && (name == "export" || name == "manifest fetch") {
					mount = "size=4k"
				}
				d := newDesk(t)
				if err := os.Mkdir(filepath.Join(d.Dir, "small"), 0o755); err != nil {
					t.Fatal(err)
				}
				fill := ""
				if mount == "size=4k" { // of which nothing is left
					fill = "head -c 4096 /dev/zero >small/full; "
				}
				d.wrap(`exec unshare -rm sh -c 'mount -t tmpfs -o ` + mount + ` none small; ` + fill + `"$0" "$@"; e=$?; find small -type f >listed; [ ! -e small/lay ] || cp -r small/lay kept; exit $e' "$STET" "$@"`)
				want := "no space left on device"
				if how != "full" {
					want = "read-only file system"
				}
				o := d.stet(quick(within(args, "small")...)...).fails(1).says(want, "small")
				for _, left := range strings.Fields(d.read("listed")) {
					if left != "small/full" && !isTrace(left) {
						t.Errorf("%s\nleft %s", o, left)
					}
				}
				d.verifyBlobs("kept")
			})
		}
	}
}

// within puts a directory into the arguments.
func within(args []string, dir string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, "DIR", dir)
	}
	return out
}

// isTrace says whether a file is a lock, or one of a layout that has its final
// name; what is in those is proven by verifyBlobs.
func isTrace(name string) bool {
	base, dir := filepath.Base(name), filepath.Base(filepath.Dir(name))
	return base == "oci-layout" || base == "index.json" || base == "lock" || strings.HasSuffix(base, ".lock") || dir == "sha256"
}

// verifyBlobs wants every blob of a layout to be what it is called.
func (d *desk) verifyBlobs(layout string) {
	d.t.Helper()
	blobs, _ := filepath.Glob(filepath.Join(d.Dir, layout, "blobs", "sha256", "*"))
	for _, file := range blobs {
		if got := digest.FromString(slurp(d.t, file)).Encoded(); got != filepath.Base(file) {
			d.t.Errorf("%s has the digest %s", file, got)
		}
	}
}

// Case 74, for the limit of a process on the size of files, which comes with a
// signal.
func TestCase74FileSizeLimit(t *testing.T) {
	t.Parallel()
	h := newHostile(t, shelved().ServeHTTP)
	for name, args := range writers(h) {
		if name == "export" || name == "manifest fetch" {
			continue // small
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.wrap(`ulimit -f 100; exec "$STET" "$@"`)
			o := d.stet(quick(within(args, ".")...)...).fails(1).says("file too large")
			for _, left := range d.files() {
				if !isTrace(left) && !strings.HasSuffix(left, "/") {
					t.Errorf("%s\nleft %s", o, left)
				}
			}
			d.verifyBlobs("lay")
		})
	}
}

// Case 74, for what is there already: a layout whose files may be read alone, as
// another account's.
func TestCase74OthersFiles(t *testing.T) {
	t.Parallel()
	h := newHostile(t, shelved().ServeHTTP)
	d := newDesk(t)
	d.stet("cp", h.Name()+"/app:v1", "oci:lay:v1").ok()
	before := d.read("lay/index.json")
	err := filepath.WalkDir(filepath.Join(d.Dir, "lay"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(path, 0o555)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(filepath.Join(d.Dir, "lay"), func(path string, e os.DirEntry, err error) error { return os.Chmod(path, 0o755) })
	})
	d.unprivileged()
	d.write("new.txt", "new\n")
	d.stet("push", "oci:lay:v2", "new.txt").fails(1).says("permission denied", "lay")
	d.stet("tag", "oci:lay:v1", "v3").fails(1).says("permission denied", "lay")
	if d.read("lay/index.json") != before {
		t.Error("the index changed")
	}
	d.stet("pull", "-o", "out", "oci:lay:v1").ok()
}
