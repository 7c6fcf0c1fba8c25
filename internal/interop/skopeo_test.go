package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// skopeo runs Debian's skopeo; one that is missing is a fault where registries
// are required.
func skopeo(t *testing.T, dir string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("skopeo")
	switch {
	case err != nil && required():
		t.Fatal("skopeo is not installed, and CI=true or STET_REQUIRE_REGISTRIES=1 asks for it: apt-get install skopeo")
	case err != nil:
		t.Skip("skopeo is not installed: apt-get install skopeo")
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--insecure-policy"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestSkopeo: skopeo copies an image from what stet wrote, a registry, a layout
// and an archive, and stet copies what skopeo wrote of it; the digest is one.
func TestSkopeo(t *testing.T) {
	host, dir := startDebian(t), t.TempDir()
	at := run{dir: dir}
	img, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	if err := remote.Write(reference(t, host+"/image:v1"), img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := digestOf(t, host+"/image:v1")

	at.ok(t, "cp", host+"/image:v1", "oci:layout:v1")
	at.ok(t, "cp", host+"/image:v1", "tar:archive.tar:v1")
	at.ok(t, "cp", host+"/image:v1", host+"/copy:v1")
	for name, from := range map[string]string{
		"layout": "oci:layout:v1", "archive": "oci-archive:archive.tar:v1", "registry": "docker://" + host + "/copy:v1",
	} {
		t.Run("from "+name, func(t *testing.T) {
			copied := func(to, ref string) {
				t.Helper()
				skopeo(t, dir, "copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", from, to)
				if got := strings.TrimSpace(at.ok(t, "resolve", ref)); got != want {
					t.Errorf("%s → %s is %s, want %s", from, to, got, want)
				}
				out := t.TempDir()
				at.ok(t, "cp", ref, "oci:"+filepath.Join(out, "back")+":v1") // reads and proves all of it
			}
			copied("docker://"+host+"/skopeo/"+name+":v1", host+"/skopeo/"+name+":v1")
			copied("oci:from-"+name+":v1", "oci:from-"+name+":v1")
			copied("oci-archive:from-"+name+".tar:v1", "tar:from-"+name+".tar:v1")
		})
	}

	// Into a layout that stet wrote, beside what is there.
	skopeo(t, dir, "copy", "--preserve-digests", "oci:from-layout:v1", "oci:layout:by-skopeo")
	for _, ref := range []string{"oci:layout:v1", "oci:layout:by-skopeo"} {
		if got := strings.TrimSpace(at.ok(t, "resolve", ref)); got != want {
			t.Errorf("%s is %s, want %s", ref, got, want)
		}
	}
}
