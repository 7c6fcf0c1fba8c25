package interop

import (
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// startArtifacts is a registry that takes artifact manifests, as zot did in 2022.
func startArtifacts(t *testing.T) string {
	return startQuirky(t, serve.Quirks{ArtifactManifests: true})
}

// TestUpgrade is the life of an artifact manifest from then to now: an index, an
// SBOM of it as an artifact manifest, and its signature, go to a registry of
// today. They are refused before anything is uploaded; converted, they go; and
// the old bytes can be had back.
func TestUpgrade(t *testing.T) {
	for _, today := range []registry{
		{name: "docker-registry-2.8", start: startDebian},
		{name: "distribution-v3", start: startDistribution},
		{name: "olareg", start: startOlareg},
	} {
		t.Run(today.name, func(t *testing.T) {
			t.Parallel()
			old, now := startArtifacts(t), today.start(t)
			dir := t.TempDir()
			write(t, dir, map[string]string{"app": "app\n", "sbom.json": "{}\n", "sig": "signed\n"})
			at := run{dir: dir}
			image := strings.TrimSpace(at.ok(t, "push", "--format", "go-template={{.digest}}", old+"/app:v1", "app"))
			s := openRepo(t, old, "app")
			index := put(t, s, store.MediaTypeIndex, map[string]any{
				"schemaVersion": 2, "mediaType": store.MediaTypeIndex,
				"manifests": []map[string]any{{"mediaType": store.MediaTypeImage, "digest": image, "size": sizeOf(t, old+"/app@"+image)}},
			}, "all")
			sbom := attach(t, at, old+"/app@"+index.Digest.String(), "application/vnd.example.sbom", "sbom.json")
			signature := attach(t, at, old+"/app@"+sbom, "application/vnd.cncf.notary.signature", "sig")

			refused := at.do(t, "cp", "-r", old+"/app:all", now+"/app:all")
			if refused.code != 6 || !strings.Contains(refused.stderr, "nothing was uploaded") || !strings.Contains(refused.stderr, "stet convert") {
				t.Errorf("cp -r before: exit %d\n%s", refused.code, refused.stderr)
			}
			at.fails(t, 5, "resolve", now+"/app:all")

			// The map is the same on two runs and from a layout.
			at.ok(t, "cp", "-r", old+"/app:all", "oci:copy:all")
			convert := []string{"convert", "--to", "image", "-r", "--keep-original", "--format", "json"}
			first := mapOf(t, at.ok(t, append(convert, old+"/app:all")...))
			second := mapOf(t, at.ok(t, append(convert, old+"/app:all")...))
			layout := mapOf(t, at.ok(t, append(convert, "oci:copy:all")...))
			if len(first) != 2 || first[sbom] == "" || first[signature] == "" {
				t.Errorf("the map is %v, want the SBOM %s and its signature %s", first, sbom, signature)
			}
			for from, to := range first {
				if second[from] != to || layout[from] != to {
					t.Errorf("%s became %s, then %s, in a layout %s", from, to, second[from], layout[from])
				}
			}

			// What was converted, copied: the old manifests are left behind.
			at.ok(t, "cp", "-r", old+"/app@"+first[sbom], now+"/app")
			for _, d := range []string{first[sbom], first[signature], index.Digest.String()} {
				at.ok(t, "manifest", "fetch", now+"/app@"+d)
			}

			// Or all of it, from its own tag, without what only the old registry takes.
			at.ok(t, "cp", "-r", "--skip-extinct", old+"/app:all", now+"/app:all")
			found := map[string]bool{}
			for d, err := range openRepo(t, now, "app").Referrers(t.Context(), index.Digest, "application/vnd.example.sbom") {
				if err != nil {
					t.Fatal(err)
				}
				found[d.Digest.String()] = true
			}
			if len(found) != 1 || !found[first[sbom]] {
				t.Errorf("the SBOMs at the end are %v, want %s", found, first[sbom])
			}

			// And back: exactly the old bytes.
			before := at.ok(t, "manifest", "fetch", old+"/app@"+sbom)
			at.ok(t, "manifest", "delete", "-f", old+"/app@"+sbom)
			at.ok(t, "convert", "--to", "original", old+"/app@"+first[sbom])
			if after := at.ok(t, "manifest", "fetch", old+"/app@"+sbom); after != before {
				t.Errorf("the original came back as\n%s\nand was\n%s", after, before)
			}
		})
	}
}

// TestArtifactManifests: the kind goes through every command on registries of
// other people that take it; the others refuse it with exit code 6, and have
// nothing of it.
func TestArtifactManifests(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host := reg.start(t)
		dir := t.TempDir()
		write(t, dir, map[string]string{"hello.txt": "hello\n"})
		at := run{dir: dir}
		pushed := at.do(t, "push", "--manifest-kind", "artifact", "--format", "go-template={{.digest}}", host+"/app:v1", "hello.txt:text/plain")
		want := strings.TrimSpace(at.ok(t, "push", "--dry-run", "--manifest-kind", "artifact", "--format", "go-template={{.digest}}", host+"/app:v1", "hello.txt:text/plain"))
		if pushed.code != 0 {
			if pushed.code != 6 || !strings.Contains(pushed.stderr, store.MediaTypeArtifact) || !strings.Contains(pushed.stderr, "nothing was uploaded") {
				t.Errorf("push: exit %d\n%s", pushed.code, pushed.stderr)
			}
			const blob = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" // "hello\n"
			if _, err := openRepo(t, host, "app").Blob(t.Context(), store.Descriptor{Digest: blob, Size: store.UnknownSize}); err == nil {
				t.Error("the blob was uploaded")
			}
			return
		}
		if got := strings.TrimSpace(pushed.stdout); got != want {
			t.Errorf("pushed as %s, want %s", got, want)
		}
		at.ok(t, "pull", "-o", "out", host+"/app:v1")
		if got := read(t, dir+"/out/hello.txt"); got != "hello\n" {
			t.Errorf("pulled %q", got)
		}
		at.ok(t, "cp", host+"/app:v1", "oci:lay:v1")
		at.ok(t, "cp", "oci:lay:v1", host+"/other:v1")
		if got := digestOf(t, host+"/other:v1"); got != want {
			t.Errorf("copied as %s, want %s", got, want)
		}
	})
}

// attach attaches a file as an artifact manifest and gives its digest.
func attach(t *testing.T, at run, subject, artifactType, file string) string {
	t.Helper()
	return strings.TrimSpace(at.ok(t, "attach", "--manifest-kind", "artifact", "--artifact-type", artifactType,
		"--format", "go-template={{.digest}}", subject, file))
}

func sizeOf(t *testing.T, ref string) int64 {
	t.Helper()
	return decode[struct{ Size int64 }](t, run{}.ok(t, "resolve", "--format", "json", ref)).Size
}

// mapOf is the map old → new of a conversion.
func mapOf(t *testing.T, out string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, e := range decode[struct {
		Map []struct{ Old, New struct{ Digest string } }
	}](t, out).Map {
		m[e.Old.Digest] = e.New.Digest
	}
	return m
}
