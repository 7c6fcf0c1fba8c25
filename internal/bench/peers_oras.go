package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/file"
	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

// orasOperations are done with oras-go as ORAS does them, with its concurrency.
func orasOperations() operations {
	return operations{
		opPush: orasPush, opPushTree: orasPush, opPull: orasPull, opPullTree: orasPull,
		opCopy: orasCopy, opTag: orasTag, opAttach: orasAttach, opDiscover: orasDiscover, opTags: orasTags,
	}
}

// What `oras push` has by default; `oras pull` and `oras cp` leave it at the library's.
const orasPushConcurrency = 5

func orasRepository(ref string) (*remote.Repository, error) {
	repo, err := remote.NewRepository(ref)
	if err == nil {
		repo.PlainHTTP = true
	}
	return repo, err
}

func orasPush(ctx context.Context, t task) error {
	repo, err := orasRepository(t.Dst)
	if err != nil {
		return err
	}
	return orasSend(ctx, t, repo, nil)
}

// orasSend packs files and sends them, as a referrer of a subject or under a tag.
func orasSend(ctx context.Context, t task, repo *remote.Repository, subject *ocispec.Descriptor) (err error) {
	store, err := file.New(t.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	store.TarReproducible = true // else a second push is another artifact
	var layers []ocispec.Descriptor
	for _, name := range t.Files {
		mediaType := "application/octet-stream"
		if t.Op == opPushTree {
			mediaType = "" // a directory has its own
		}
		d, err := store.Add(ctx, name, mediaType, "")
		if err != nil {
			return err
		}
		layers = append(layers, d)
	}
	root, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{
		Layers: layers, Subject: subject,
		// The clock would make another artifact of the same files.
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "2026-01-01T00:00:00Z"},
	})
	if err != nil {
		return err
	}
	graph := oras.DefaultCopyGraphOptions
	graph.Concurrency = orasPushConcurrency
	if subject != nil {
		graph.FindSuccessors = func(ctx context.Context, f content.Fetcher, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			if d.Digest != root.Digest {
				return content.Successors(ctx, f, d)
			}
			config := ocispec.DescriptorEmptyJSON
			return append([]ocispec.Descriptor{config}, layers...), nil // the subject is there
		}
		return oras.CopyGraph(ctx, store, repo, root, graph)
	}
	if err := store.Tag(ctx, root, root.Digest.String()); err != nil {
		return err
	}
	_, err = oras.Copy(ctx, store, root.Digest.String(), repo, repo.Reference.Reference, oras.CopyOptions{CopyGraphOptions: graph})
	return err
}

func orasPull(ctx context.Context, t task) (err error) {
	repo, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	store, err := file.New(t.Out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	_, err = oras.Copy(ctx, repo, repo.Reference.Reference, store, "", oras.DefaultCopyOptions)
	return err
}

func orasCopy(ctx context.Context, t task) error {
	src, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	dst, err := orasRepository(t.Dst)
	if err != nil {
		return err
	}
	opts := oras.DefaultCopyOptions
	if src.Reference.Registry == dst.Reference.Registry {
		opts.MountFrom = func(context.Context, ocispec.Descriptor) ([]string, error) {
			return []string{src.Reference.Repository}, nil
		}
	}
	_, err = oras.Copy(ctx, src, src.Reference.Reference, dst, dst.Reference.Reference, opts)
	return err
}

func orasTag(ctx context.Context, t task) error {
	repo, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	_, err = oras.TagN(ctx, repo, repo.Reference.Reference, t.Tags, oras.DefaultTagNOptions)
	return err
}

func orasAttach(ctx context.Context, t task) error {
	repo, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	subject, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return err
	}
	return orasSend(ctx, t, repo, &subject)
}

// orasDiscover goes down from referrer to referrer, as `oras discover` does.
func orasDiscover(ctx context.Context, t task) error {
	repo, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	root, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return err
	}
	found, err := orasDescend(ctx, repo, root)
	if err == nil && found == 0 {
		err = fmt.Errorf("nothing refers to %s", root.Digest)
	}
	return err
}

func orasDescend(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor) (found int, err error) {
	all, err := orasregistry.Referrers(ctx, repo, d, "")
	for _, r := range all {
		var n int
		if n, err = orasDescend(ctx, repo, r); err != nil {
			break
		}
		found += 1 + n
	}
	return found, err
}

func orasTags(ctx context.Context, t task) error {
	repo, err := orasRepository(t.Src)
	if err != nil {
		return err
	}
	n := 0
	err = repo.Tags(ctx, "", func(tags []string) error { n += len(tags); return nil })
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}
