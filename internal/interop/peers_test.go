package interop

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestPeers: what go-containerregistry's client pushed is copied and pulled,
// and what stet pushed is read by it, over each registry.
func TestPeers(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host, dir := reg.start(t), t.TempDir()
		at := run{dir: dir}
		theirs := reference(t, host+"/theirs:v1")
		img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
			Layer:       static.NewLayer([]byte("theirs\n"), "text/plain"),
			Annotations: map[string]string{"org.opencontainers.image.title": "theirs.txt"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(theirs, img, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		want, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		at.ok(t, "cp", theirs.Name(), host+"/copy/theirs:v1")
		if got := digestOf(t, host+"/copy/theirs:v1"); got != want.String() {
			t.Errorf("the copy is %s, want %s", got, want)
		}
		at.ok(t, "pull", "-o", "out", host+"/copy/theirs:v1")
		if got := read(t, filepath.Join(dir, "out", "theirs.txt")); got != "theirs\n" {
			t.Errorf("pulled %q", got)
		}

		write(t, dir, map[string]string{"ours.txt": "ours\n", "ours/a.txt": "a"})
		at.ok(t, "push", host+"/ours:v1", "ours.txt:text/plain", "ours")
		ours, err := remote.Image(reference(t, host+"/ours:v1"), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if err := readAll(ours, digestOf(t, host+"/ours:v1")); err != nil {
			t.Error(err)
		}
	})
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
