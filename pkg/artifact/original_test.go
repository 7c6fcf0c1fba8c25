package artifact_test

import (
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

func TestOriginalComesBackToTheByte(t *testing.T) {
	old := artifactManifest(`"artifactType":"a/b" , "blobs":[` + blobHello + `] `)
	image, err := artifact.ToImage(old, artifact.ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image.Annotations = map[string]string{"from": "an index"} // is not part of what it is
	kept, blobs, err := artifact.Original(old, image.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.Digest("sha256:86a8ddd0c92974ee67d0004cfa96afc9f5fab8def24781a0633722e3bfeac789"); kept.Digest != want {
		t.Errorf("it is named %s, want %s: whoever kept an original before cannot find it again", kept.Digest, want)
	}
	o, err := store.ParseOutline(kept)
	if err != nil || !artifact.IsOriginal(o) || o.Subject.Digest != image.Digest || o.Subject.Annotations != nil {
		t.Fatalf("%v\n%s", err, kept.Raw)
	}
	layer, subject, err := artifact.ParseOriginal(kept)
	if err != nil || subject.Digest != image.Digest {
		t.Fatalf("%+v, %v", subject, err)
	}
	var raw []byte
	for _, b := range blobs {
		if b.Digest == layer.Digest {
			rc, err := b.Open(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if raw, err = io.ReadAll(rc); err != nil {
				t.Fatal(err)
			}
		}
	}
	back, err := artifact.Restore(layer, raw)
	if err != nil || string(back.Raw) != string(old.Raw) || back.MediaType != old.MediaType || back.Digest != old.Digest {
		t.Errorf("%v, %s %s", err, back.MediaType, back.Raw)
	}
	if _, err := artifact.Restore(layer, append(raw, ' ')); !errors.Is(err, store.ErrMismatch) {
		t.Errorf("other bytes: %v", err)
	}
}

func TestParseOriginalRefuses(t *testing.T) {
	head := imageHead + `"` + artifact.OriginalType + `","config":` + emptyDesc
	for name, doc := range map[string]string{
		"another type":  imageHead + `"a/b","config":` + emptyDesc + `,"subject":` + subject + `,"layers":[` + subject + `]}`,
		"no subject":    head + `,"layers":[` + subject + `]}`,
		"no layer":      head + `,"subject":` + subject + `,"layers":[]}`,
		"two layers":    head + `,"subject":` + subject + `,"layers":[` + subject + `,` + subject + `]}`,
		"no manifest":   head + `,"subject":` + subject + `,"layers":[` + blobHello + `]}`,
		"not even JSON": `x`,
	} {
		if _, _, err := artifact.ParseOriginal(store.NewManifest(store.MediaTypeImage, []byte(doc))); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
