package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// maxConfig bounds the config of an image that is read for its platform.
const maxConfig = graph.MaxConfig

// selectPlatform gives the manifest that ref names for a platform
// OS[/ARCH[/VARIANT]][:OSVERSION]: the first entry of an index that fits, or
// the manifest itself when its config says that platform.
func selectPlatform(ctx context.Context, s store.Reader, ref, platform string) (store.Descriptor, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return store.Descriptor{}, err
	}
	m, err := s.Manifest(ctx, ref)
	if err != nil {
		return store.Descriptor{}, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return store.Descriptor{}, err
	}
	if o.Config != nil {
		return m.Descriptor, checkPlatform(ctx, s, *o.Config, want)
	}
	return entryFor(o, want, platform)
}

// parsePlatform reads OS[/ARCH[/VARIANT]][:OSVERSION].
func parsePlatform(platform string) (ocispec.Platform, error) {
	name, osVersion, _ := strings.Cut(platform, ":")
	want, err := platforms.Parse(name)
	if err != nil {
		return want, fmt.Errorf("%w: --platform %s: %w", store.ErrUsage, platform, err)
	}
	want.OSVersion = osVersion
	if strings.Count(name, "/") < 2 {
		want.Variant = "" // asked for only when given; Parse adds a default
	}
	return want, nil
}

// entryFor is the first entry of an index that fits.
func entryFor(o *store.Outline, want ocispec.Platform, platform string) (store.Descriptor, error) {
	var have []string
	for _, d := range o.Manifests {
		if d.Platform == nil {
			continue
		}
		if fits(*d.Platform, want) {
			return d, nil
		}
		have = append(have, platforms.FormatAll(*d.Platform))
	}
	return store.Descriptor{}, fmt.Errorf("%w: no manifest for the platform %s; there is %s", store.ErrNotFound, platform, list(have))
}

func fits(have, want ocispec.Platform) bool {
	return have.OS == want.OS && have.Architecture == want.Architecture &&
		(want.Variant == "" || have.Variant == want.Variant) &&
		(want.OSVersion == "" || have.OSVersion == want.OSVersion)
}

// checkPlatform holds a single image against the platform that is wanted.
func checkPlatform(ctx context.Context, s store.Reader, config store.Descriptor, want ocispec.Platform) error {
	if config.MediaType != ocispec.MediaTypeImageConfig && config.MediaType != "application/vnd.docker.container.image.v1+json" {
		err := fmt.Errorf("%w: the artifact names no platform: its config is %s", store.ErrUnsupported, config.MediaType)
		return &hint{err, "leave --platform out: it is for indexes and images"}
	}
	b, err := s.Blob(ctx, config)
	if err != nil {
		return err
	}
	raw, err := store.ReadBlob(ctx, b, maxConfig)
	if err != nil {
		return err
	}
	var have ocispec.Platform
	if err := json.Unmarshal(raw, &have); err != nil {
		return fmt.Errorf("%w: config %s: %s", store.ErrInvalid, config.Digest, err)
	}
	if !fits(have, want) {
		return fmt.Errorf("%w: the image is for %s, not for %s", store.ErrNotFound, platforms.FormatAll(have), platforms.FormatAll(want))
	}
	return nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "no platform in it"
	}
	return strings.Join(names, ", ")
}
