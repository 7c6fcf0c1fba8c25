package graph_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// picky is a store that answers about kinds and sha512 as it is told to.
type picky struct {
	*recorder
	kind, sha512 store.Answer
	asked        []string
}

func (p *picky) Takes(_ context.Context, mediaType string) (store.Finding, error) {
	p.asked = append(p.asked, mediaType)
	return store.Finding{Answer: p.kind, Evidence: store.Evidence{Request: "PUT /v2/x", Status: 400, Code: "MANIFEST_INVALID"}}, nil
}

func (p *picky) Support() store.Support {
	return store.Support{store.AbilitySHA512: {Answer: p.sha512}}
}

// extinct puts an image with an artifact manifest that refers to it, and a
// blob named by sha512 in another image.
func extinct(t *testing.T, s store.Store) {
	b := builder{t, s}
	image := b.image("x", nil, "v1")
	b.manifest(map[string]any{
		"mediaType": store.MediaTypeArtifact, "artifactType": "application/vnd.test",
		"blobs": []store.Descriptor{b.blob("sbom")}, "subject": store.Plain(image),
	})
	long := store.NewBlob("text/plain", []byte("long"))
	long.Digest = digest.SHA512.FromString("long")
	if _, err := s.PutBlob(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	b.manifest(map[string]any{
		"mediaType": store.MediaTypeImage, "config": b.blob("{}"), "layers": []store.Descriptor{long.Descriptor},
	}, "sha512")
}

// What does not fit is refused before anything is put; what cannot be known is
// told; a dry run asks nothing by writing.
func TestPreflight(t *testing.T) {
	for _, c := range []struct {
		name, ref    string
		kind, sha512 store.Answer
		change       func(*graph.CopyOptions)
		err          error
		warns        string
		asks         int
	}{
		{name: "kind taken", ref: "v1", kind: store.Yes, asks: 1},
		{name: "kind refused", ref: "v1", kind: store.No, err: store.ErrKind, asks: 1},
		{name: "kind unknown", ref: "v1", warns: "cannot be known", asks: 1},
		{name: "without preflight", ref: "v1", kind: store.No, change: func(o *graph.CopyOptions) { o.NoPreflight = true }},
		{name: "left out", ref: "v1", kind: store.No, change: func(o *graph.CopyOptions) { o.SkipExtinct = true }, warns: "is left out"},
		{name: "a dry run", ref: "v1", kind: store.No, change: func(o *graph.CopyOptions) { o.DryRun = true }, warns: "does not ask"},
		{name: "sha512 refused", ref: "sha512", sha512: store.No, err: store.ErrUnsupported},
		{name: "sha512 unknown", ref: "sha512", warns: "sha512"},
		{name: "sha512 taken", ref: "sha512", sha512: store.Yes},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := newRecorder(), &picky{recorder: newRecorder(), kind: c.kind, sha512: c.sha512}
			extinct(t, src)
			var warned strings.Builder
			opts := graph.CopyOptions{Referrers: true, Options: graph.Options{Tags: []string{"t"}, Concurrency: 1, Events: func(e store.Event) {
				if e.Kind == store.Warning {
					warned.WriteString(e.Text)
				}
			}}}
			if c.change != nil {
				c.change(&opts)
			}
			_, err := graph.Copy(t.Context(), src, dst, c.ref, opts)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("got %v, want %v", err, c.err)
			}
			if c.err != nil && (len(dst.puts()) > 0 || !strings.Contains(err.Error(), "nothing was uploaded")) {
				t.Errorf("put %v, said %v", dst.puts(), err)
			}
			if !strings.Contains(warned.String(), c.warns) || c.warns == "" && warned.Len() > 0 {
				t.Errorf("warned %q, want %q", warned.String(), c.warns)
			}
			if len(dst.asked) != c.asks {
				t.Errorf("asked about %v", dst.asked)
			}
		})
	}
}
