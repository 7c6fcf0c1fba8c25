package interop

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ggcrPeer is go-containerregistry, the library of crane.
type ggcrPeer struct{}

func (ggcrPeer) push(t *testing.T, ref string) string {
	t.Helper()
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer([]byte("theirs\n"), "text/plain"),
		Annotations: map[string]string{"org.opencontainers.image.title": "theirs.txt"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, ref), img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return want.String()
}

func (ggcrPeer) read(t *testing.T, ref, want string) {
	t.Helper()
	img, err := remote.Image(reference(t, ref), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := readAll(img, want); err != nil {
		t.Error(err)
	}
}

// readAll reads an image as the peer does, which compares every digest.
func readAll(img ggcrv1.Image, want string) error {
	if d, err := img.Digest(); err != nil || d.String() != want {
		return fmt.Errorf("digest %s, %v, want %s", d, err, want)
	}
	if raw, err := img.RawConfigFile(); err != nil || string(raw) != "{}" {
		return fmt.Errorf("config %q, %v", raw, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		return fmt.Errorf("%d layers, %v, want 2", len(layers), err)
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			return err
		}
	}
	return nil
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
