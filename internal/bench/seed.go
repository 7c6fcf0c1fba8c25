package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// What is measured is put in place without the clients under test: by plain
// requests to the registry, past the proxies.

// seeding is how many requests are under way at once while seeding.
const seeding = 8

// seeder keeps its connections, so that seeding does not use up all ports.
var seeder = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: seeding}}

// randomFile writes n bytes that nothing compresses; the same for the same name.
func randomFile(path, name string, n int64) error {
	if info, err := os.Stat(path); err == nil && info.Size() == n {
		return nil // of an earlier row
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, stream(name), n)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// stream is an endless stream of random bytes, the same for the same name.
func stream(name string) io.Reader { return rand.NewChaCha8(digestBytes(name)) }

func digestBytes(name string) (seed [32]byte) {
	copy(seed[:], digest.FromString(name).Encoded())
	return seed
}

// manyFiles makes n files of size bytes in dir and gives their names.
func manyFiles(dir, name string, n int, size int64) (names []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for i := range n {
		file := fmt.Sprintf("f%05d.bin", i)
		if err := randomFile(filepath.Join(dir, file), fmt.Sprint(name, i), size); err != nil {
			return nil, err
		}
		names = append(names, file)
	}
	return names, nil
}

// sourceTree makes a directory that looks like a tree of sources: n files of
// about 17 KB of indented words, which compress to about a quarter.
func sourceTree(dir string, n int) error {
	r := rand.New(rand.NewChaCha8(digestBytes("sources")))
	words := make([]string, 2000)
	for i := range words {
		b := make([]byte, 3+r.IntN(8))
		for j := range b {
			b[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(b)
	}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("pkg%03d", i/40), fmt.Sprintf("file%02d.go", i%40))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		var b bytes.Buffer
		for size := 2000 + r.IntN(30000); b.Len() < size; {
			b.WriteString(strings.Repeat("\t", r.IntN(4)))
			for range 3 + r.IntN(9) {
				// The square makes some words frequent, as in a language.
				at := r.Float64()
				b.WriteString(words[int(at*at*float64(len(words)))])
				b.WriteString([]string{" ", ".", "(", ") ", ", "}[r.IntN(5)])
			}
			b.WriteByte('\n')
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fileBlob is a file as content to upload.
func fileBlob(path string) (ocispec.Descriptor, error) {
	f, err := os.Open(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	hash := digest.Canonical.Digester()
	n, err := io.Copy(hash.Hash(), f)
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer, Digest: hash.Digest(), Size: n,
		Annotations: map[string]string{ocispec.AnnotationTitle: filepath.Base(path)},
	}, err
}

// seedFiles makes an artifact of files in a repository.
func (r *registry) seedFiles(ctx context.Context, repo, tag, dir string, files []string) (ocispec.Descriptor, error) {
	layers := make([]ocispec.Descriptor, len(files))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(seeding)
	for i, name := range files {
		group.Go(func() (err error) {
			path := filepath.Join(dir, name)
			if layers[i], err = fileBlob(path); err != nil {
				return err
			}
			return r.putBlob(gctx, repo, layers[i], func() (io.ReadCloser, error) { return os.Open(path) })
		})
	}
	if err := group.Wait(); err != nil {
		return ocispec.Descriptor{}, err
	}
	return r.seedManifest(ctx, repo, tag, ocispec.Manifest{Layers: layers})
}

// seedManifest puts a manifest with the empty config; "" as the tag is its digest.
func (r *registry) seedManifest(ctx context.Context, repo, tag string, m ocispec.Manifest) (ocispec.Descriptor, error) {
	empty := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("{}")), nil }
	if err := r.putBlob(ctx, repo, ocispec.DescriptorEmptyJSON, empty); err != nil {
		return ocispec.Descriptor{}, err
	}
	return r.putImage(ctx, repo, tag, m)
}

// putImage is seedManifest where the config is there.
func (r *registry) putImage(ctx context.Context, repo, tag string, m ocispec.Manifest) (ocispec.Descriptor, error) {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	m.Config = ocispec.DescriptorEmptyJSON
	m.Config.Data = nil
	if m.ArtifactType == "" {
		m.ArtifactType = artifactType
	}
	if len(m.Layers) == 0 {
		m.Layers = []ocispec.Descriptor{m.Config}
	}
	d, err := r.putManifest(ctx, repo, tag, m.MediaType, m)
	d.ArtifactType, d.Annotations = m.ArtifactType, m.Annotations
	return d, err
}

// referrerType is that of seeded referrers.
const referrerType = "application/vnd.example.referrer"

// seedReferrers makes n manifests that refer to the subject, which is there, and the list of
// them where the registry does not keep one itself (distribution-spec,
// "Referrers tag schema").
func (r *registry) seedReferrers(ctx context.Context, repo string, subject ocispec.Descriptor, n int) error {
	subject.Annotations, subject.ArtifactType = nil, ""
	list := make([]ocispec.Descriptor, n)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(seeding)
	if r.kind == kindOlareg {
		group.SetLimit(1) // it loses some of the referrers that are put at a time
	}
	for i := range n {
		group.Go(func() (err error) {
			list[i], err = r.putImage(gctx, repo, "", ocispec.Manifest{
				ArtifactType: referrerType, Subject: &subject,
				Annotations: map[string]string{"number": fmt.Sprint(i)},
			})
			return err
		})
	}
	if err := group.Wait(); err != nil || r.kind == kindOlareg {
		return err
	}
	_, err := r.putManifest(ctx, repo, strings.Replace(subject.Digest.String(), ":", "-", 1), ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list,
	})
	return err
}

func (r *registry) putManifest(ctx context.Context, repo, ref, mediaType string, v any) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if ref == "" {
		ref = d.Digest.String()
	}
	resp, err := r.send(ctx, upload{http.MethodPut, "http://" + r.host + "/v2/" + repo + "/manifests/" + ref, mediaType, bytes.NewReader(raw), d.Size})
	if err != nil {
		return d, err
	}
	return d, resp.Body.Close()
}

func (r *registry) putBlob(ctx context.Context, repo string, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	resp, err := r.send(ctx, upload{method: http.MethodPost, url: "http://" + r.host + "/v2/" + repo + "/blobs/uploads/"})
	if err != nil {
		return err
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", d.Digest.String())
	to.RawQuery = q.Encode()
	rc, err := open()
	if err != nil {
		return err
	}
	defer rc.Close()
	resp, err = r.send(ctx, upload{http.MethodPut, to.String(), "application/octet-stream", rc, d.Size})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// upload is a request of seeding.
type upload struct {
	method, url, mediaType string
	body                   io.Reader
	size                   int64
}

// send sends a request and gives the answer if that is a success.
func (r *registry) send(ctx context.Context, u upload) (*http.Response, error) {
	if u.size == 0 {
		u.body = nil
	}
	req, err := http.NewRequestWithContext(ctx, u.method, u.url, u.body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = u.size
	if u.mediaType != "" {
		req.Header.Set("Content-Type", u.mediaType)
	}
	resp, err := seeder.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		resp.Body.Close()
		return nil, fmt.Errorf("seeding: %s %s: %s: %s", u.method, req.URL.Path, resp.Status, text)
	}
	return resp, nil
}
