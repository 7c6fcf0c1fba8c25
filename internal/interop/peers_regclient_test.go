package interop

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/manifest"
	"github.com/regclient/regclient/types/ref"

	"github.com/stet-oci/stet/pkg/store"
)

// regclientPeer is regclient, the library of regctl and regsync.
type regclientPeer struct{}

func regclientFor(t *testing.T, s string) (*regclient.RegClient, ref.Ref) {
	t.Helper()
	r, err := ref.New(s)
	if err != nil {
		t.Fatal(err)
	}
	host := config.HostNewName(r.Registry)
	host.TLS = config.TLSDisabled
	rc := regclient.New(regclient.WithConfigHost(*host))
	t.Cleanup(func() { _ = rc.Close(t.Context(), r) })
	return rc, r
}

func (regclientPeer) push(t *testing.T, s string) string {
	t.Helper()
	rc, r := regclientFor(t, s)
	put := func(content string) descriptor.Descriptor {
		d, err := rc.BlobPut(t.Context(), r, descriptor.Descriptor{}, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	file, empty := put("theirs\n"), put("{}")
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.example.theirs",
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: empty.Digest, Size: empty.Size},
		Layers: []ocispec.Descriptor{{
			MediaType: "text/plain", Digest: file.Digest, Size: file.Size,
			Annotations: map[string]string{ocispec.AnnotationTitle: "theirs.txt"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.New(manifest.WithRaw(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.ManifestPut(t.Context(), r, m); err != nil {
		t.Fatal(err)
	}
	return store.NewManifest(ocispec.MediaTypeImageManifest, raw).Digest.String()
}

func (regclientPeer) read(t *testing.T, s, want string) {
	t.Helper()
	rc, r := regclientFor(t, s)
	m, err := rc.ManifestGet(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.GetDescriptor().Digest.String(); got != want {
		t.Errorf("regclient read %s, want %s", got, want)
	}
	img, ok := m.(manifest.Imager)
	if !ok {
		t.Fatalf("regclient takes it for a %T", m)
	}
	layers, err := img.GetLayers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v, want 2", len(layers), err)
	}
	cfg, err := img.GetConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(layers, cfg) {
		b, err := rc.BlobGet(t.Context(), r, d)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(b) // proves digest and size
		if err != nil {
			t.Error(err)
		}
		if d.Digest == cfg.Digest && !bytes.Equal(raw, []byte("{}")) {
			t.Errorf("regclient read the config %q", raw)
		}
		_ = b.Close()
	}
}
