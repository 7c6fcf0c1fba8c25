package artifact

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PackRequest says what to pack. The zero value is the empty image artifact.
type PackRequest struct {
	Kind         Kind              // "" is the default
	ArtifactType string            // a media type, or "" for the default
	Files        []File            // in the order of the layers
	Config       *File             // nil for the empty config
	Platform     *ocispec.Platform // written into the config, or nil
	Subject      *store.Descriptor // only media type, digest and size are used
	Annotations  Annotations       // by AnnotationsManifest, AnnotationsConfig or File.Path
	Created      *time.Time        // adds org.opencontainers.image.created; nil adds none
	Dir          string            // where relative paths begin; "" is the working directory
	AnyPath      bool              // take what Unpack refuses: absolute paths, "..", odd names and links (--disable-path-validation)
	Compression  Compression       // of directories; "" is by the media type, else the default
	Preserve     Preserve          // of directories; Preserve.Mode of files, too
	SourceDate   *time.Time        // times in tars of directories (SOURCE_DATE_EPOCH); nil is zero
}

// Package is an artifact that is ready to be stored.
type Package struct {
	Decision Decision
	// Blobs are the config, where the kind has one, and the layers. The digest
	// of a file or directory is empty: it is learnt by reading. The title is
	// in the annotations.
	Blobs []store.Blob

	layers      []layer // of all Blobs, in the same order
	hasConfig   bool
	subject     *store.Descriptor
	annotations map[string]string
}

// layer is what the manifest says of a blob beside digest and size.
type layer struct {
	base store.Descriptor
	dir  *directory // nil for files
	path string     // "" for content that is no file
}

// Pack decides and looks at the files; their content is read when the blobs
// are. What contradicts itself is ErrUsage, a file that is not there
// ErrNotFound.
func Pack(ctx context.Context, r PackRequest) (*Package, error) {
	request := Request{
		Kind: r.Kind, ArtifactType: r.ArtifactType, Config: r.Config != nil, Subject: r.Subject != nil,
		Platform: r.Platform != nil, Files: len(r.Files) > 0,
	}
	if r.Config != nil {
		request.ConfigType = r.Config.MediaType
	}
	decision, err := Decide(request)
	if err != nil {
		return nil, err
	}
	if err := r.Annotations.check(r.Files, decision); err != nil {
		return nil, err
	}
	p := &Package{Decision: decision}
	p.annotations, err = manifestAnnotations(r.Annotations[AnnotationsManifest], decision.Kind, r.Created)
	if err != nil {
		return nil, err
	}
	if r.Subject != nil {
		subject := store.Plain(*r.Subject)
		p.subject = &subject
	}
	if err := p.addConfig(r); err != nil {
		return nil, err
	}
	titles := map[string]string{}
	for _, f := range r.Files {
		if err := p.addFile(ctx, r, f, titles); err != nil {
			return nil, err
		}
	}
	if decision.EmptyLayer {
		p.add(store.NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}")), layer{base: store.EmptyJSON()})
	}
	return p, nil
}

func (p *Package) add(b store.Blob, l layer) {
	p.Blobs, p.layers = append(p.Blobs, b), append(p.layers, l)
}

// addConfig adds the config of the kind: a file, the platform, or "{}".
func (p *Package) addConfig(r PackRequest) error {
	mediaType := p.Decision.ConfigMediaType
	if mediaType == "" {
		return nil
	}
	p.hasConfig = true
	l := layer{base: store.Descriptor{MediaType: mediaType, Annotations: r.Annotations[AnnotationsConfig]}}
	if r.Config != nil && filepath.Clean(r.Config.Path) == os.DevNull {
		// The idiom of ORAS for a config of a type and without content.
		p.add(store.NewBlob(mediaType, nil), l)
		return nil
	}
	if r.Config != nil {
		info, at, err := r.stat(*r.Config)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%w: the config %s is a directory", store.ErrUsage, at)
		}
		l.path = at
		p.add(fileBlob(store.Descriptor{MediaType: mediaType, Size: info.Size()}, at, info), l)
		return nil
	}
	raw := []byte("{}")
	if r.Platform != nil {
		var err error
		if raw, err = json.Marshal(r.Platform); err != nil {
			return err
		}
	}
	if mediaType == ocispec.MediaTypeEmptyJSON {
		// ORAS gives the content in the descriptor, so the digest needs it too.
		l.base.Data = raw
	}
	p.add(store.NewBlob(mediaType, raw), l)
	return nil
}

// hashesAtOnce is the least number of files that are read at once for their
// digests: one waits for the disk while another is hashed.
const hashesAtOnce = 2

// Hash reads every blob and gives the descriptors that a store would report,
// without storing anything. sink hears how far it is. Files are read beside each
// other; directories are packed one by one, each of them on all cores.
func (p *Package) Hash(ctx context.Context, sink store.Sink) ([]store.Descriptor, error) {
	descs := make([]store.Descriptor, len(p.Blobs))
	group, ctx := errgroup.WithContext(ctx)
	hash := func(i int) (err error) {
		descs[i], err = store.HashBlob(ctx, p.Blobs[i], sink)
		return err
	}
	group.SetLimit(max(hashesAtOnce, runtime.GOMAXPROCS(0)))
	group.Go(func() error {
		for i, l := range p.layers {
			if l.dir == nil {
				continue
			}
			if err := hash(i); err != nil {
				return err
			}
		}
		return nil
	})
	for i, l := range p.layers {
		if l.dir == nil {
			group.Go(func() error { return hash(i) })
		}
	}
	return descs, group.Wait()
}

// artifactManifest is the manifest of image-spec v1.1.0-rc2 artifact.md, which
// has no schemaVersion and no config.
type artifactManifest struct {
	MediaType    string             `json:"mediaType"`
	ArtifactType string             `json:"artifactType"`
	Blobs        []store.Descriptor `json:"blobs,omitempty"`
	Subject      *store.Descriptor  `json:"subject,omitempty"`
	Annotations  map[string]string  `json:"annotations,omitempty"`
}

// Finish makes the manifest. descs are what a store, or Hash, reported for
// Blobs, in the same order; only digest and size are taken from them. The
// bytes are those that ORAS makes of the same files: its order of keys, no
// space, and the escapes of Go's encoding/json.
func (p *Package) Finish(descs []store.Descriptor) (store.Manifest, error) {
	if len(descs) != len(p.Blobs) {
		return store.Manifest{}, fmt.Errorf("%w: %d descriptors for %d blobs", store.ErrUsage, len(descs), len(p.Blobs))
	}
	layers := make([]store.Descriptor, len(descs))
	for i, d := range descs {
		var err error
		if layers[i], err = p.describe(i, d); err != nil {
			return store.Manifest{}, err
		}
	}
	var doc any
	if p.Decision.Kind == KindArtifact {
		doc = artifactManifest{
			MediaType: p.Decision.MediaType, ArtifactType: p.Decision.ArtifactType,
			Blobs: layers, Subject: p.subject, Annotations: p.annotations,
		}
	} else {
		doc = ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: p.Decision.MediaType,
			ArtifactType: p.Decision.ArtifactType, Config: layers[0], Layers: layers[1:],
			Subject: p.subject, Annotations: p.annotations,
		}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return store.Manifest{}, err
	}
	return store.NewManifest(p.Decision.MediaType, raw), nil
}

// describe is the descriptor of blob i in the manifest.
func (p *Package) describe(i int, got store.Descriptor) (store.Descriptor, error) {
	l, blob := p.layers[i], p.Blobs[i]
	if err := store.CheckDigest(got.Digest); err != nil {
		return store.Descriptor{}, err
	}
	if blob.Digest != "" && blob.Digest != got.Digest || blob.Size >= 0 && blob.Size != got.Size {
		return store.Descriptor{}, fmt.Errorf("%w: %s was stored as %s of %d bytes", store.ErrMismatch, store.NameOf(blob.Descriptor), got.Digest, got.Size)
	}
	d := l.base
	d.Digest, d.Size = got.Digest, got.Size
	if l.dir != nil {
		content, err := l.dir.contentOf(got.Digest)
		if err != nil {
			return store.Descriptor{}, err
		}
		d.Annotations = maps.Clone(d.Annotations)
		if _, given := d.Annotations[AnnotationContentDigest]; !given {
			d.Annotations[AnnotationContentDigest] = content.String()
		}
	}
	return d, nil
}
