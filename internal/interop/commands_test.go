package interop

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCommands does the daily work against each registry: push, resolve, tag,
// pull, cp out and back, delete.
func TestCommands(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host, dir := reg.start(t), t.TempDir()
		at := run{dir: dir}
		write(t, dir, map[string]string{
			"site/index.html": "<h1>stet</h1>\n", "site/css/style.css": "h1 {}\n",
			"hello.txt": "hello\n", "empty.txt": "", "large.bin": strings.Repeat("0123456789abcdef", 200_000),
		})
		ref := host + "/app/one:v1"
		at.ok(t, "push", "--artifact-type", "application/vnd.example.site", ref+",v1.0",
			"hello.txt:text/plain", "empty.txt", "large.bin", "site")
		want := digestOf(t, ref)
		same := func(ref string) {
			t.Helper()
			if got := digestOf(t, ref); got != want {
				t.Errorf("%s is %s, want %s", ref, got, want)
			}
		}
		same(host + "/app/one:v1.0")
		same(host + "/app/one@" + want)

		at.ok(t, "tag", ref, "stable", "latest")
		same(host + "/app/one:stable")
		same(host + "/app/one:latest")

		at.ok(t, "pull", "-o", "out", ref)
		for _, name := range []string{"hello.txt", "empty.txt", "large.bin", "site/index.html", "site/css/style.css"} {
			if got, want := read(t, filepath.Join(dir, "out", name)), read(t, filepath.Join(dir, name)); got != want {
				t.Errorf("%s: pulled %d bytes, other than the %d that were pushed", name, len(got), len(want))
			}
		}

		at.ok(t, "cp", ref, host+"/app/two:v1") // within one registry: mounts
		same(host + "/app/two:v1")
		at.ok(t, "cp", ref, "oci:layout:v1")
		at.ok(t, "cp", "oci:layout:v1", host+"/app/three:v1,v2")
		same(host + "/app/three:v2")
		other := startServe(t)
		at.ok(t, "cp", ref, other+"/app:v1")
		same(other + "/app:v1")
		at.ok(t, "cp", other+"/app:v1", host+"/app/four:v1")
		same(host + "/app/four:v1")

		deletes(t, reg, host)
	})
}

// deletes deletes a manifest, which a second time is not there.
func deletes(t *testing.T, reg registry, host string) {
	t.Helper()
	ref := host + "/app/three"
	d := digestOf(t, ref+":v1")
	run{}.ok(t, "manifest", "delete", "--force", ref+":v1")
	const notFound = 5
	run{}.fails(t, notFound, "manifest", "fetch", ref+"@"+d)
	if !reg.keepTags {
		run{}.fails(t, notFound, "resolve", ref+":v2")
	}
	run{}.ok(t, "manifest", "delete", "--force", ref+"@"+d)
	run{}.fails(t, notFound, "resolve", ref+":never")
	digestOf(t, host+"/app/four:v1") // what is elsewhere stays
}

// TestErrors: what each registry says of a wrong request ends in the exit code
// of its class.
func TestErrors(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host, dir := reg.start(t), t.TempDir()
		at := run{dir: dir}
		write(t, dir, map[string]string{"hello.txt": "hello\n"})
		const usage, notFound = 2, 5
		at.fails(t, notFound, "pull", host+"/nowhere:v1")
		at.ok(t, "push", host+"/app:v1", "hello.txt")
		at.fails(t, notFound, "pull", host+"/app:v2")
		at.fails(t, notFound, "cp", host+"/app:v2", host+"/app:v3")
		at.fails(t, usage, "push", host+"/APP:v1", "hello.txt")
		at.fails(t, notFound, "push", host+"/app:v2", "absent.txt")
		at.fails(t, notFound, "resolve", host+"/app:v2")
	})
}

// TestManifestKind: a registry that does not take an artifact manifest gets
// nothing else instead, and no tag.
func TestManifestKind(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host, dir := reg.start(t), t.TempDir()
		at := run{dir: dir}
		write(t, dir, map[string]string{"hello.txt": "hello\n"})
		args := []string{"push", "--manifest-kind", "artifact", "--artifact-type", "application/vnd.example.x", host + "/app:v1", "hello.txt"}
		if reg.limits.NoArtifactManifests {
			at.fails(t, 6, args...)
			at.fails(t, 5, "resolve", host+"/app:v1")
			return
		}
		at.ok(t, args...)
		dry := at.ok(t, "push", "--dry-run", "--format", "go-template={{.digest}}",
			"--manifest-kind", "artifact", "--artifact-type", "application/vnd.example.x", host+"/app:v1", "hello.txt")
		if got := digestOf(t, host+"/app:v1"); got != strings.TrimSpace(dry) {
			t.Errorf("pushed %s, the dry run said %s", got, dry)
		}
	})
}
