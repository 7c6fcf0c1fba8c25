package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// shelf is a registry that can be read only, and holds whatever was put on it:
// nothing is checked. What a test scripts goes before it.
type shelf struct {
	mu    sync.Mutex
	items map[string]item
}

type item struct {
	kind string
	raw  []byte
	dcd  string // Docker-Content-Digest
}

func newShelf() *shelf { return &shelf{items: map[string]item{}} }

func (s *shelf) set(path string, i item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[path] = i
}

// blob puts a blob into the repository app.
func (s *shelf) blob(raw string) store.Descriptor {
	d := store.Descriptor{MediaType: octetsType, Digest: digest.FromString(raw), Size: int64(len(raw))}
	s.set("/v2/app/blobs/"+d.Digest.String(), item{octetsType, []byte(raw), d.Digest.String()})
	return d
}

// file is a blob that pull writes under a title.
func (s *shelf) file(title, raw string) store.Descriptor {
	d := s.blob(raw)
	d.MediaType, d.Annotations = "text/plain", map[string]string{"org.opencontainers.image.title": title}
	return d
}

// manifest puts a document into the repository app, by digest and under tags.
func (s *shelf) manifest(kind, raw string, tags ...string) store.Descriptor {
	d := store.Descriptor{MediaType: kind, Digest: digest.FromString(raw), Size: int64(len(raw))}
	for _, ref := range append(tags, d.Digest.String()) {
		s.set("/v2/app/manifests/"+ref, item{kind, []byte(raw), d.Digest.String()})
	}
	return d
}

// artifact puts an image manifest of the layers, under tags.
func (s *shelf) artifact(layers []store.Descriptor, tags ...string) store.Descriptor {
	s.blob("{}")
	return s.manifest(imageType, imageOf(layers...), tags...)
}

// index puts an index, under tags.
func (s *shelf) index(manifests []store.Descriptor, tags ...string) store.Descriptor {
	return s.manifest(indexType, indexOf(manifests...), tags...)
}

// imageOf is the document of an image manifest.
func imageOf(layers ...store.Descriptor) string {
	return asJSON(map[string]any{
		"schemaVersion": 2, "mediaType": imageType, "artifactType": "application/vnd.case",
		"config": store.EmptyJSON(), "layers": append([]store.Descriptor{}, layers...),
	})
}

func indexOf(manifests ...store.Descriptor) string {
	return asJSON(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": append([]store.Descriptor{}, manifests...)})
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	i, ok := s.items[r.URL.Path]
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
	case !ok || r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusNotFound, "NOT_FOUND")
	default:
		w.Header().Set("Content-Type", i.kind)
		if i.dcd != "" {
			w.Header().Set("Docker-Content-Digest", i.dcd)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(i.raw))
	}
}

// refuse answers with an error as the specification has it.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"case"}]}`, code)
}

// isBlob says whether a request is for the content of a blob, isManifest for that
// of a manifest; HEAD counts.
func isBlob(r *http.Request) bool { return reads(r) && strings.Contains(r.URL.Path, "/blobs/sha") }

func isManifest(r *http.Request) bool { return reads(r) && strings.Contains(r.URL.Path, "/manifests/") }

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }
