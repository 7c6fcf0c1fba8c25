package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// A figure counts only if the work was done, which is proven after each turn,
// past the proxies.

// hasArtifact proves that the tag names an artifact of n layers, all there.
func (s *scene) hasArtifact(r *registry, repo, tag string, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		return stetAt(r.host+"/"+repo+":"+tag, func(ref store.Ref, at store.Store) error {
			m, err := at.Manifest(ctx, ref.Reference())
			if err != nil {
				return err
			}
			o, err := store.ParseOutline(m)
			if err != nil {
				return err
			}
			blobs := map[digest.Digest]store.Descriptor{}
			for _, d := range o.Blobs() {
				blobs[d.Digest] = d
			}
			if want := n + 1; len(blobs) != want { // and the config
				return fmt.Errorf("%s has %d blobs, want %d", ref, len(blobs), want)
			}
			group, gctx := errgroup.WithContext(ctx)
			group.SetLimit(seeding)
			for _, d := range blobs {
				group.Go(func() error {
					got, err := at.Blob(gctx, store.Descriptor{Digest: d.Digest, Size: store.UnknownSize})
					if err == nil && got.Size != d.Size {
						err = fmt.Errorf("%s has %d bytes, want %d", d.Digest, got.Size, d.Size)
					}
					return err
				})
			}
			return group.Wait()
		})
	}
}

// hasReferrers proves that n manifests refer to the subject.
func (s *scene) hasReferrers(r *registry, repo string, subject digest.Digest, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		return stetAt(r.host+"/"+repo, func(ref store.Ref, at store.Store) error {
			got, err := count(at.Referrers(ctx, subject, ""))
			if err == nil && got != n {
				err = fmt.Errorf("%d manifests refer to %s, want %d", got, subject, n)
			}
			return err
		})
	}
}

// proveFiles compares what a pull wrote with what was there to pull.
func proveFiles(dir string, want map[string]digest.Digest) error {
	for name, d := range want {
		got, err := fileBlob(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if got.Digest != d {
			return fmt.Errorf("%s is %s, want %s", name, got.Digest, d)
		}
	}
	return nil
}

// sameTree compares all files below two directories.
func sameTree(want, got string) error {
	n := 0
	err := filepath.WalkDir(want, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(got, rel))
		if err == nil && !bytes.Equal(a, b) {
			err = fmt.Errorf("%s is not what was pushed", rel)
		}
		return err
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%s is empty", want)
	}
	return err
}
