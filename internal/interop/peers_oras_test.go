package interop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
)

// orasPeer is oras-go, the library of ORAS and Helm.
type orasPeer struct{}

func orasRepository(t *testing.T, ref string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(ref)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	return repo
}

func (orasPeer) push(t *testing.T, ref string) string {
	t.Helper()
	repo, mem := orasRepository(t, ref), memory.New()
	file := content.NewDescriptorFromBytes("text/plain", []byte("theirs\n"))
	file.Annotations = map[string]string{ocispec.AnnotationTitle: "theirs.txt"}
	if err := mem.Push(t.Context(), file, strings.NewReader("theirs\n")); err != nil {
		t.Fatal(err)
	}
	root, err := oras.PackManifest(t.Context(), mem, oras.PackManifestVersion1_1, "application/vnd.example.theirs", oras.PackManifestOptions{
		Layers: []ocispec.Descriptor{file},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := mem.Tag(t.Context(), root, "theirs"); err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), mem, "theirs", repo, repo.Reference.Reference, oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
	return root.Digest.String()
}

func (orasPeer) read(t *testing.T, ref, want string) {
	t.Helper()
	repo, mem := orasRepository(t, ref), memory.New() // which proves what it is given
	root, err := oras.Copy(t.Context(), repo, repo.Reference.Reference, mem, "", oras.DefaultCopyOptions)
	if err != nil {
		t.Fatal(err)
	}
	if root.Digest != digest.Digest(want) {
		t.Errorf("oras-go read %s, want %s", root.Digest, want)
	}
	raw, err := content.FetchAll(t.Context(), mem, root)
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != 2 || m.Config.Digest != ocispec.DescriptorEmptyJSON.Digest {
		t.Errorf("oras-go read %s", raw)
	}
}
