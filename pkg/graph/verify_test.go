package graph_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// damaged is a store that has lost some content, and has other bytes for some.
type damaged struct {
	store.Store
	gone  map[digest.Digest]bool
	other map[digest.Digest][]byte
	fails error // of every blob

	mu    sync.Mutex
	reads map[digest.Digest]int
}

func newDamaged() *damaged {
	return &damaged{Store: local.NewMemory(), gone: map[digest.Digest]bool{}, other: map[digest.Digest][]byte{}, reads: map[digest.Digest]int{}}
}

func (s *damaged) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	if s.gone[digest.Digest(ref)] {
		return store.Manifest{}, fmt.Errorf("%w: manifest %s", store.ErrNotFound, ref)
	}
	m, err := s.Store.Manifest(ctx, ref)
	if raw := s.other[m.Digest]; raw != nil {
		return m, store.Mismatch("manifest %s", m.Digest)
	}
	return m, err
}

func (s *damaged) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	d, err := s.Store.Resolve(ctx, ref)
	if s.gone[d.Digest] {
		return d, fmt.Errorf("%w: %s", store.ErrNotFound, ref)
	}
	return d, err
}

func (s *damaged) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if s.fails != nil {
		return store.Blob{}, s.fails
	}
	if s.gone[d.Digest] {
		return store.Blob{}, fmt.Errorf("%w: blob %s", store.ErrNotFound, d.Digest)
	}
	if raw := s.other[d.Digest]; raw != nil {
		b := store.NewBlob(d.MediaType, raw)
		b.Digest = d.Digest
		return b, nil
	}
	b, err := s.Store.Blob(ctx, d)
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		s.mu.Lock()
		s.reads[d.Digest]++
		s.mu.Unlock()
		return open(ctx, offset)
	}
	return b, err
}

// gunzip is what artifact.Decompress is for gzip.
func gunzip(w io.Writer, r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err == nil {
		_, err = io.Copy(w, z)
	}
	return err
}

func zipped(content string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(content))
	z.Close()
	return b.Bytes()
}

// told is a fault as the tests compare it: kind, path and what was got.
func told(faults []graph.Fault) []string {
	var all []string
	for _, f := range faults {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.Path, f.Got)))
	}
	return all
}

func short(d store.Descriptor) string { return "referrers[" + d.Digest.String() + "]" }

func TestVerifyFindsNothingWhereAllIsWell(t *testing.T) {
	s := newDamaged()
	buildTree(t, s)
	res, err := graph.Verify(t.Context(), s, graph.VerifyRoots("all"), graph.VerifyOptions{Referrers: true})
	if err != nil || len(res.Faults) > 0 {
		t.Fatal(err, res.Faults)
	}
	if res.Manifests != 5 || res.Blobs != 5 || len(res.Roots) != 1 {
		t.Errorf("result %+v", res)
	}
	for d, n := range s.reads {
		if n != 1 {
			t.Errorf("%s was read %d times", d, n)
		}
	}
	res, err = graph.Verify(t.Context(), s, graph.VerifyRoots("all"), graph.VerifyOptions{})
	if err != nil || res.Manifests != 3 {
		t.Errorf("without referrers: %+v, %v", res, err)
	}
}

// Each row damages the tree of buildTree, or adds a root, and says what is found.
func TestVerifyFinds(t *testing.T) {
	flipped := digest.FromString("A")
	for name, c := range map[string]struct {
		damage  func(b builder, s *damaged, x tree) []graph.VerifyRoot
		shallow bool
		want    func(x tree) []string
	}{
		"a blob with another byte": {
			damage: func(_ builder, s *damaged, _ tree) []graph.VerifyRoot {
				s.other[digest.FromString("a")] = []byte("A")
				return nil
			},
			want: func(tree) []string { return []string{"digest all/manifests[0]/layers[0] " + flipped.String()} },
		},
		"nothing in a blob with another byte when it is not read": {
			damage: func(_ builder, s *damaged, _ tree) []graph.VerifyRoot {
				s.other[digest.FromString("a")] = []byte("A")
				return nil
			},
			shallow: true,
			want:    func(tree) []string { return nil },
		},
		"a blob that is too long, by its size alone": {
			damage: func(_ builder, s *damaged, _ tree) []graph.VerifyRoot {
				s.other[digest.FromString("a")] = []byte("aa")
				return nil
			},
			shallow: true,
			want:    func(tree) []string { return []string{"size all/manifests[0]/layers[0] 2"} },
		},
		"a blob that is cut": {
			damage: func(_ builder, s *damaged, _ tree) []graph.VerifyRoot {
				s.other[digest.FromString("sbom")] = []byte("sbo")
				return nil
			},
			want: func(x tree) []string { return []string{"size all/manifests[0]/" + short(x.sbom) + "/layers[0] 3"} },
		},
		"a blob that is gone, and a manifest, and goes on": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[digest.FromString("a")], s.gone[x.b.Digest] = true, true
				return nil
			},
			want: func(tree) []string { return []string{"missing all/manifests[0]/layers[0]", "missing all/manifests[1]"} },
		},
		"a manifest with other bytes": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.other[x.sbom.Digest] = []byte("{}")
				return nil
			},
			want: func(x tree) []string { return []string{"digest all/manifests[0]/" + short(x.sbom)} },
		},
		"a referrer that only the list has": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[x.signature.Digest] = true
				return nil
			},
			want: func(x tree) []string {
				return []string{"missing all/manifests[0]/" + short(x.sbom) + "/" + short(x.signature)}
			},
		},
		"a wrong size and media type in an index, and what is below": {
			damage: func(b builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[digest.FromString("a")] = true
				wrong, other := x.a, x.b
				wrong.Size++
				other.MediaType = store.MediaTypeDockerImage
				b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{wrong, other}}, "wrong")
				return graph.VerifyRoots("wrong")
			},
			want: func(x tree) []string {
				return []string{
					"missing wrong/manifests[0]/layers[0]", fmt.Sprintf("size wrong/manifests[0] %d", x.a.Size),
					"media-type wrong/manifests[1] " + store.MediaTypeImage,
				}
			},
		},
		"two sizes of one blob": {
			damage: func(b builder, _ *damaged, _ tree) []graph.VerifyRoot {
				right, wrong := b.blob("twice"), b.blob("twice")
				wrong.Size = 9
				b.manifest(map[string]any{"mediaType": store.MediaTypeImage, "config": b.blob("{}"), "layers": []store.Descriptor{right, wrong}}, "two")
				return graph.VerifyRoots("two")
			},
			want: func(tree) []string { return []string{"size two/layers[1] 5"} },
		},
		"a subject that is gone": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[x.a.Digest] = true
				return graph.VerifyRoots(x.sbom.Digest.String())
			},
			want: func(x tree) []string { return []string{"subject " + x.sbom.Digest.String() + "/subject"} },
		},
		"data that lies": {
			damage: func(b builder, _ *damaged, _ tree) []graph.VerifyRoot {
				d := b.blob("truth")
				d.Data = []byte("lie")
				b.manifest(map[string]any{"mediaType": store.MediaTypeImage, "config": b.blob("{}"), "layers": []store.Descriptor{d}}, "data")
				return graph.VerifyRoots("data")
			},
			want: func(tree) []string { return []string{"data data/layers[0] " + digest.FromString("lie").String()} },
		},
		"a tag that names another manifest, and reads the one that was meant": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[digest.FromString("b")] = true
				return []graph.VerifyRoot{{Name: "all", Desc: x.b}}
			},
			want: func(x tree) []string { return []string{"missing all/layers[0]", "tag all " + x.index.Digest.String()} },
		},
		"a tag that is listed and names nothing": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				s.gone[x.index.Digest] = true
				return nil
			},
			want: func(tree) []string { return []string{"missing all"} },
		},
		"a root that has to be there": {
			damage: func(_ builder, s *damaged, x tree) []graph.VerifyRoot {
				return []graph.VerifyRoot{{Name: "none", Desc: x.a}, {Desc: store.NewManifest(store.MediaTypeImage, []byte("{}")).Descriptor}}
			},
			want: func(tree) []string { return []string{"missing none", "missing " + digest.FromString("{}").String()} },
		},
		"layers that unpack to something else": {
			damage: func(b builder, s *damaged, _ tree) []graph.VerifyRoot {
				layers := make([]store.Descriptor, 3)
				for i, content := range []string{"right", "wrong", "dir"} {
					layers[i] = b.blob(string(zipped(content)))
				}
				layers[2].Annotations = map[string]string{"io.deis.oras.content.digest": digest.FromString("file").String()}
				config := b.blob(fmt.Sprintf(`{"rootfs":{"type":"layers","diff_ids":[%q,%q,%q]}}`,
					digest.FromString("right"), digest.FromString("left"), digest.FromString("dir")))
				config.MediaType = ocispec.MediaTypeImageConfig
				b.manifest(map[string]any{"mediaType": store.MediaTypeImage, "config": config, "layers": layers}, "image")
				return graph.VerifyRoots("image")
			},
			want: func(tree) []string {
				return []string{"unpacked image/layers[1] " + digest.FromString("wrong").String(), "unpacked image/layers[2] " + digest.FromString("dir").String()}
			},
		},
		"a layer that does not unpack, and a diff_id too few": {
			damage: func(b builder, s *damaged, _ tree) []graph.VerifyRoot {
				plain := b.blob("no gzip")
				plain.Annotations = map[string]string{"io.deis.oras.content.digest": digest.FromString("no gzip").String()}
				config := b.blob(`{"rootfs":{"diff_ids":["` + digest.FromString("x").String() + `"]}}`)
				config.MediaType = ocispec.MediaTypeImageConfig
				b.manifest(map[string]any{"mediaType": store.MediaTypeImage, "config": config, "layers": []store.Descriptor{plain, b.blob("y")}}, "image")
				return graph.VerifyRoots("image")
			},
			want: func(tree) []string { return []string{"unpacked image/config 1", "unpacked image/layers[0]"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDamaged()
			x := buildTree(t, s)
			roots := c.damage(builder{t, s}, s, x)
			if roots == nil {
				roots = graph.VerifyRoots("all")
			}
			res, err := graph.Verify(t.Context(), s, roots, graph.VerifyOptions{Referrers: true, Shallow: c.shallow, Unpack: gunzip})
			if err != nil {
				t.Fatal(err)
			}
			got, want := told(res.Faults), c.want(x)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for _, f := range res.Faults {
				if f.Reason == "" {
					t.Errorf("%s at %s has no reason", f.Kind, f.Path)
				}
			}
		})
	}
}

// What could not be asked is no finding, and a name that nobody has is none either.
func TestVerifyFailsWhereNothingIsKnown(t *testing.T) {
	s := newDamaged()
	buildTree(t, s)
	if _, err := graph.Verify(t.Context(), s, graph.VerifyRoots("nope"), graph.VerifyOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown tag: %v", err)
	}
	s.fails = fmt.Errorf("%w: the line is dead", store.ErrUnavailable)
	var g *graph.Error
	if _, err := graph.Verify(t.Context(), s, graph.VerifyRoots("all"), graph.VerifyOptions{}); !errors.Is(err, store.ErrUnavailable) || !errors.As(err, &g) {
		t.Errorf("a dead line: %v", err)
	}
}

// Foreign layers may lie elsewhere, and entries of an unknown kind are blobs.
func TestVerifyTakesWhatIsAllowed(t *testing.T) {
	s := newDamaged()
	b := builder{t, s}
	foreign := store.NewBlob("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", []byte("far away")).Descriptor
	foreign.URLs = []string{"https://elsewhere.example/layer"}
	image := b.manifest(map[string]any{"mediaType": store.MediaTypeImage, "config": b.blob("{}"), "layers": []store.Descriptor{foreign}})
	b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{image, b.blob("a cache")}}, "all")
	var warned []string
	res, err := graph.Verify(t.Context(), s, graph.VerifyRoots("all"), graph.VerifyOptions{Events: func(e store.Event) {
		if e.Kind == store.Warning {
			warned = append(warned, e.Text)
		}
	}})
	if err != nil || len(res.Faults) > 0 || res.Blobs != 2 {
		t.Errorf("%v, %+v", err, res)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "elsewhere.example") {
		t.Errorf("warnings %q", warned)
	}
}
