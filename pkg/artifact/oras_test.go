package artifact

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stet-oci/stet/pkg/store"
)

const orasFiles = "testdata/oras-1.3.3/files"

// parsePush reads the flags of push and attach that the recorded cases have.
func parsePush(t *testing.T, args []string) PackRequest {
	t.Helper()
	r := PackRequest{Dir: orasFiles, Annotations: Annotations{}}
	var annotations []string
	for i := 2; i < len(args); i++ {
		var err error
		switch args[i] {
		case "-a":
			i++
			annotations = append(annotations, args[i])
			r.Annotations[AnnotationsManifest], err = ParseAnnotations(annotations)
		case "--annotation-file":
			i++
			var raw []byte
			if raw, err = os.ReadFile(filepath.Join(orasFiles, args[i])); err == nil {
				r.Annotations, err = ParseAnnotationFile(raw)
			}
		case "--artifact-type":
			i++
			r.ArtifactType = args[i]
		case "--image-spec":
			i++
			r.Kind, err = ParseImageSpec(args[i])
		case "--config":
			i++
			var f File
			f, err = ParseFileArg(args[i])
			r.Config = &f
		case "--artifact-platform":
			i++
			r.Platform, err = ParsePlatform(args[i])
		default:
			var f File
			f, err = ParseFileArg(args[i])
			r.Files = append(r.Files, f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Moving from ORAS moves no digest: what ORAS 1.3.3 packed is packed to the
// same bytes.
func TestPackIsORAS(t *testing.T) {
	raw, err := os.ReadFile("testdata/oras-1.3.3/manifests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]struct {
		Args     []string
		Manifest string
		Digest   string
		Size     int64
		Subject  string
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	subjectArgs := []string{
		"push", "REF", "x.bin:application/octet-stream", "--artifact-type", "application/vnd.example.thing",
		"-a", "org.opencontainers.image.created=2024-01-02T03:04:05Z",
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := parsePush(t, c.Args)
			if c.Subject != "" {
				// As an index lists it; a subject is named by less.
				subject := finish(t, parsePush(t, subjectArgs)).Descriptor
				subject.ArtifactType, subject.Annotations = "application/vnd.example.thing", map[string]string{"a": "b"}
				r.Subject = &subject
			}
			got := finish(t, r)
			if diff := cmp.Diff(c.Manifest, string(got.Raw)); diff != "" {
				t.Errorf("manifest differs (-ORAS +here):\n%s", diff)
			}
			if got.Digest.String() != c.Digest || got.Size != c.Size {
				t.Errorf("%s of %d bytes, ORAS has %s of %d", got.Digest, got.Size, c.Digest, c.Size)
			}
		})
	}
	if len(cases) < 16 {
		t.Errorf("only %d cases were recorded", len(cases))
	}
}

// finish packs without a store.
func finish(t *testing.T, r PackRequest) store.Manifest {
	t.Helper()
	p, err := Pack(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	descs, err := p.Hash(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Finish(descs)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
