package interop

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestBackup keeps three repositories with referrers of each registry in a tar,
// serves that, and restores it: every digest is where it was.
func TestBackup(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host, dir := reg.start(t), t.TempDir()
		at := run{dir: dir}
		write(t, dir, map[string]string{"base.bin": "shared by all\n", "sbom.txt": "sbom\n", "a": "a\n", "b": "b\n"})
		tags := map[string]string{} // "repository:tag" → digest
		subjects := map[string]string{}
		for _, repo := range []string{"bk/one", "bk/two", "three"} {
			for _, tag := range []string{"v1", "v2"} {
				write(t, dir, map[string]string{"own": repo + tag})
				ref := repo + ":" + tag
				at.ok(t, "push", "--artifact-type", "application/vnd.example.app", host+"/"+ref, "base.bin", "own")
				tags[ref] = digestOf(t, host+"/"+ref)
				subjects[ref] = at.ok(t, "attach", "--artifact-type", "application/vnd.example.sbom", "--format", "go-template={{.digest}}", host+"/"+ref, "sbom.txt")
			}
		}
		repos := []string{host + "/bk/one", host + "/bk/two", host + "/three"}
		args := append([]string{"backup", "--include-referrers", "-o", "all.tar"}, repos...)
		at.ok(t, args...)
		at.ok(t, args...) // adds nothing
		served, clean := startServe(t), startServe(t)
		at.ok(t, "restore", "--all", served+"/mirror", "--input", "all.tar")
		at.ok(t, "backup", "--include-referrers", "--all", "-o", "again", served+"/mirror")
		at.ok(t, "restore", "--all", clean, "--input", "again")
		back := host + "/back" // into the registry itself, by other names
		at.ok(t, "restore", "--all", back, "--input", "all.tar")
		tarball := "tar:" + filepath.Join(dir, "all.tar")
		for ref, want := range tags {
			for _, base := range []string{tarball, served + "/mirror", "oci:" + filepath.Join(dir, "again/mirror"), clean + "/mirror", back} {
				if got := digestOf(t, base+"/"+ref); got != want {
					t.Errorf("%s/%s is %s, want %s", base, ref, got, want)
				}
				if strings.HasSuffix(ref, "v1") {
					continue // one of each repository is enough
				}
				at.ok(t, "cp", "-r", base+"/"+ref, "oci:check:v")
				if got := digestOf(t, "oci:"+filepath.Join(dir, "check")+"@"+subjects[ref]); got != subjects[ref] {
					t.Errorf("the referrer of %s/%s is %s", base, ref, got)
				}
			}
		}
	})
}

// CNCF Distribution lists repositories in its catalog that it then does not know:
// one that lost its last manifest, or that never had one. A backup of all of it
// tells that, and is done.
func TestBackupOfAllDistribution(t *testing.T) {
	host, at := startDebian(t), run{dir: t.TempDir()}
	write(t, at.dir, map[string]string{"a": "a\n"})
	at.ok(t, "push", host+"/kept:v1", "a")
	at.ok(t, "blob", "push", host+"/blobs", "a")
	at.ok(t, "push", host+"/dead:v1", "a")
	at.ok(t, "manifest", "delete", "--force", host+"/dead:v1")
	out := at.ok(t, "backup", "--all", host, "-o", "all")
	for _, want := range []string{`"` + host + `/kept" to "all"`, `Skipped "` + host + `/blobs": no tags`, `Skipped "` + host + `/dead": no tags`} {
		if !strings.Contains(out, want) {
			t.Errorf("the result does not say %q:\n%s", want, out)
		}
	}
}
