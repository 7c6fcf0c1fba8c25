package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const siteType = "application/vnd.example.site"

// site makes the directory that is pushed below: what a digest could stumble
// over is in it.
func site(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, map[string]string{
		"site/index.html": "<h1>stet</h1>\n", "site/css/style.css": "h1 {}\n", "site/css/a.css": "", "site/B.txt": "b", "site/a.txt": "a",
		"site/é.txt": "accent", "site/big.bin": strings.Repeat("let it stand\n", 200_000), "note.txt": "let it stand\n",
		"site/" + strings.Repeat("long/", 30) + "name.txt": "a name that needs a PAX record\n",
	})
	script := filepath.Join(dir, "site", "run.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("index.html", filepath.Join(dir, "site", "home.html")); err != nil {
		t.Fatal(err)
	}
}

func pushSite(at run, t *testing.T, ref string) string {
	t.Helper()
	at.ok(t, "push", "--artifact-type", siteType, ref, "site", "note.txt:text/plain")
	return digestOf(t, ref)
}

func drySite(at run, t *testing.T) string {
	t.Helper()
	out := at.ok(t, "push", "--dry-run", "--format", "go-template={{.digest}}", "--artifact-type", siteType,
		"registry.invalid/site:v1", "site", "note.txt:text/plain")
	return strings.TrimSpace(out)
}

// TestOneDigest: one directory has one digest, whatever takes it and however
// it is pushed.
func TestOneDigest(t *testing.T) {
	dir := t.TempDir()
	site(t, dir)
	want := drySite(run{dir: dir}, t)

	each(t, func(t *testing.T, reg registry) {
		if got := pushSite(run{dir: dir}, t, reg.start(t)+"/site:v1"); got != want {
			t.Errorf("pushed %s, the dry run said %s", got, want)
		}
	})
	t.Run("layout", func(t *testing.T) {
		t.Parallel()
		if got := pushSite(run{dir: dir}, t, "oci:"+t.TempDir()+":v1"); got != want {
			t.Errorf("pushed %s, the dry run said %s", got, want)
		}
	})
	// Each of these has a copy of the files, made under its own umask and
	// changed as it says, and pushes that to a registry of its own.
	for _, tc := range []struct {
		name   string
		umask  string
		env    []string
		change func(t *testing.T, dir string)
	}{
		{name: "after touch", change: touch},
		{name: "umask 077", umask: "077"},
		{name: "umask 022", umask: "022"},
		{name: "other modes", change: closeModes},
		{name: "time zone of Kiritimati", env: []string{"TZ=Pacific/Kiritimati"}},
		{name: "time zone of Honolulu", env: []string{"TZ=Pacific/Honolulu"}},
		{name: "locale", env: []string{"LC_ALL=tr_TR.UTF-8", "LANG=tr_TR.UTF-8"}},
		{name: "one processor", env: []string{"GOMAXPROCS=1"}},
		{name: "eight processors", env: []string{"GOMAXPROCS=8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			here := filepath.Join(t.TempDir(), "copy")
			copyTree(t, tc.umask, dir, here)
			if tc.change != nil {
				tc.change(t, here)
			}
			at := run{dir: here, umask: tc.umask, env: tc.env}
			if got := drySite(at, t); got != want {
				t.Errorf("dry run: %s, want %s", got, want)
			}
			if got := pushSite(at, t, startServe(t)+"/site:v1"); got != want {
				t.Errorf("pushed: %s, want %s", got, want)
			}
		})
	}
	t.Run("from another directory", func(t *testing.T) {
		t.Parallel()
		// The same files under another path: copies, above, and a link.
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if got := pushSite(run{dir: link}, t, startServe(t)+"/site:v1"); got != want {
			t.Errorf("pushed %s, want %s", got, want)
		}
	})
}

// copyTree copies as a shell does under that umask: with new times, and modes
// that the umask has cut.
func copyTree(t *testing.T, umask, from, to string) {
	t.Helper()
	if umask == "" {
		umask = "027"
	}
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", `umask "$0"; cp -R "$1" "$2"`, umask, from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

func eachFile(t *testing.T, dir string, do func(path string) error) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		return do(path)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, dir string) {
	when := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	eachFile(t, dir, func(path string) error {
		when = when.Add(time.Hour)
		return os.Chtimes(path, when, when)
	})
}

// closeModes leaves the owner's bits alone, which say what is a program.
func closeModes(t *testing.T, dir string) {
	eachFile(t, dir, func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Chmod(path, fi.Mode().Perm()&0o700)
	})
}

// TestOneDigestScript: the script that shows the same to a person.
func TestOneDigestScript(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a shell script")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "one-digest.sh", stet)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("one-digest.sh: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, "one digest: yes") {
		t.Errorf("the last line is %q\n%s", last, out)
	}
	if _, err := exec.LookPath("docker-registry"); err == nil && !strings.Contains(string(out), "\ndocker-registry") {
		t.Errorf("docker-registry is here and not in the table\n%s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}
