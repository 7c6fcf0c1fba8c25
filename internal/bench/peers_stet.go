package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// arguments are those of the stet program for a task.
func arguments(t task) []string {
	switch t.Op {
	case opNothing:
		return []string{"version"}
	case opPush, opPushTree:
		return append([]string{"push", "--artifact-type", artifactType, t.Dst}, t.Files...)
	case opPull, opPullTree:
		return []string{"pull", "-o", t.Out, t.Src}
	case opCopy:
		return []string{"cp", t.Src, t.Dst}
	case opCopyAll:
		return []string{"cp", "-r", t.Src, t.Dst}
	case opTag:
		return append([]string{"tag", t.Src}, t.Tags...)
	case opAttach:
		return append([]string{"attach", "--artifact-type", artifactType, t.Src}, t.Files...)
	case opDiscover:
		return []string{"discover", t.Src}
	case opTags:
		return []string{"repo", "tags", t.Src}
	}
	return nil
}

// stetOperations are done with the packages that the program is made of, as it
// uses them.
func stetOperations() operations {
	return operations{
		opPush: stetPush, opPushTree: stetPush, opPull: stetPull, opPullTree: stetPull, opCopy: stetCopy, opCopyAll: stetCopy,
		opTag: stetTag, opAttach: stetAttach, opDiscover: stetDiscover, opTags: stetTags,
	}
}

// stetAt opens the store that a reference names for do.
func stetAt(name string, do func(store.Ref, store.Store) error) error {
	ref, err := store.ParseRef(name)
	if err != nil {
		return err
	}
	s, err := remote.Open(ref, remote.Options{UserAgent: "stet-bench"})
	if err != nil {
		return err
	}
	return errors.Join(do(ref, store.VerifyManifests(s)), s.Close())
}

func stetPush(ctx context.Context, t task) error {
	return stetAt(t.Dst, func(ref store.Ref, s store.Store) error { return stetSend(ctx, t, ref, s, nil) })
}

func stetSend(ctx context.Context, t task, ref store.Ref, s store.Store, subject *store.Descriptor) error {
	request := artifact.PackRequest{ArtifactType: artifactType, Dir: t.Dir, Subject: subject}
	for _, f := range t.Files {
		request.Files = append(request.Files, artifact.File{Path: f})
	}
	pkg, err := artifact.Pack(ctx, request)
	if err != nil {
		return err
	}
	parts := graph.Parts{MediaType: pkg.Decision.MediaType, Blobs: pkg.Blobs, Finish: pkg.Finish, Hash: pkg.Hash}
	var tags []string
	if subject == nil {
		tags = ref.Tags
	}
	_, err = graph.Push(ctx, parts, s, graph.Options{Tags: tags})
	return err
}

func stetPull(ctx context.Context, t task) error {
	return stetAt(t.Src, func(ref store.Ref, s store.Store) error {
		m, err := s.Manifest(ctx, ref.Reference())
		if err != nil {
			return err
		}
		_, err = artifact.Unpack(ctx, s, m, artifact.UnpackOptions{Dir: t.Out})
		return err
	})
}

func stetCopy(ctx context.Context, t task) error {
	return stetAt(t.Src, func(src store.Ref, from store.Store) error {
		return stetAt(t.Dst, func(dst store.Ref, to store.Store) error {
			_, err := graph.Copy(ctx, from, to, src.Reference(), graph.CopyOptions{
				Options: graph.Options{Tags: dst.Tags}, Host: dst.Host, Referrers: t.Op == opCopyAll,
			})
			return err
		})
	})
}

func stetTag(ctx context.Context, t task) error {
	return stetAt(t.Src, func(ref store.Ref, s store.Store) error {
		m, err := s.Manifest(ctx, ref.Reference())
		if err != nil {
			return err
		}
		return s.PutManifest(ctx, m, t.Tags...)
	})
}

func stetAttach(ctx context.Context, t task) error {
	return stetAt(t.Src, func(ref store.Ref, s store.Store) error {
		subject, err := s.Resolve(ctx, ref.Reference())
		if err != nil {
			return err
		}
		return stetSend(ctx, t, ref, s, &subject)
	})
}

// stetDiscover lists what refers to the artifact. One level is what the library
// gives; the program goes further down.
func stetDiscover(ctx context.Context, t task) error {
	return stetAt(t.Src, func(ref store.Ref, s store.Store) error {
		d, err := s.Resolve(ctx, ref.Reference())
		if err != nil {
			return err
		}
		n, err := count(s.Referrers(ctx, d.Digest, ""))
		if err == nil && n == 0 {
			err = fmt.Errorf("nothing refers to %s", d.Digest)
		}
		return err
	})
}

func stetTags(ctx context.Context, t task) error {
	return stetAt(t.Src, func(ref store.Ref, s store.Store) error {
		n, err := count(s.Tags(ctx, ""))
		if err == nil && n == 0 {
			err = fmt.Errorf("%s has no tags", t.Src)
		}
		return err
	})
}

// count reads a list to its end.
func count[T any](list func(yield func(T, error) bool)) (n int, _ error) {
	for _, err := range list {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
