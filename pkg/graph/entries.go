package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// MaxConfig bounds the config of an image that is read for its platform.
const MaxConfig = 4 << 20

// Entries gives the manifests that refs name as an index lists them: plain, with
// the platform of the config and the manifest's own artifact type. All of them
// are in src; an index names nothing elsewhere.
func Entries(ctx context.Context, src store.Reader, refs []string) ([]store.Descriptor, error) {
	entries := make([]store.Descriptor, len(refs))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(DefaultConcurrency)
	for i, ref := range refs {
		group.Go(func() (err error) {
			if entries[i], err = entry(gctx, src, ref); err != nil {
				err = fmt.Errorf("%s: %w", ref, err)
			}
			return err
		})
	}
	return entries, group.Wait()
}

func entry(ctx context.Context, src store.Reader, ref string) (store.Descriptor, error) {
	m, err := src.Manifest(ctx, ref)
	if err != nil {
		return store.Descriptor{}, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return store.Descriptor{}, err
	}
	var own struct { // Outline gives an image without one its config's type
		ArtifactType string `json:"artifactType"`
	}
	if err := json.Unmarshal(m.Raw, &own); err != nil {
		return store.Descriptor{}, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	d := store.Plain(m.Descriptor)
	d.ArtifactType = own.ArtifactType
	if o.Config != nil {
		d.Platform, err = platformOf(ctx, src, *o.Config)
	}
	return d, err
}

// platformOf is the platform that a config names, nil where it names none. A
// config of a type that does not say that it is JSON is not looked into
// (image-spec manifest.md, config), nor is the empty one, which is known.
func platformOf(ctx context.Context, src store.Reader, config store.Descriptor) (*ocispec.Platform, error) {
	if !strings.HasSuffix(config.MediaType, "+json") || config.MediaType == ocispec.MediaTypeEmptyJSON {
		return nil, nil
	}
	b, err := src.Blob(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("its config: %w", err)
	}
	raw, err := store.ReadBlob(ctx, b, MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("its config: %w", err)
	}
	var p ocispec.Platform
	if json.Unmarshal(raw, &p) != nil || p.OS == "" && p.Architecture == "" {
		return nil, nil // what is packed as a config may be anything
	}
	return &p, nil
}
