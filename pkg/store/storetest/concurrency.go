package storetest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

func concurrencyTests() []test {
	return []test{
		{name: "takes one blob from many writers", run: sameBlob},
		{name: "takes many artifacts at a time", run: manyArtifacts},
		{name: "takes many tags of one manifest at a time", run: manyTagWriters},
		{name: "takes many referrers at a time", run: manyReferrerWriters, skip: func(l Limits) bool { return l.NoReferrers }},
		{name: "moves one tag among many writers", run: oneTagManyWriters},
	}
}

// together runs do once per writer, all at a time, and fails at the first error.
func (f *fixture) together(do func(i int) error) {
	f.Helper()
	errs := make([]error, f.limits.Writers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		f.ok(err, fmt.Sprintf("writer %d", i))
	}
}

func sameBlob(f *fixture) {
	b := store.NewBlob(typeText, []byte(big()))
	f.together(func(i int) error {
		own := b
		if i%2 > 0 {
			own.Digest = "" // half of them learn what it is
		}
		put, err := f.PutBlob(f.ctx, own)
		if err == nil && put.Digest != b.Digest {
			err = fmt.Errorf("put %s, want %s", put.Digest, b.Digest)
		}
		return err
	})
	f.holds(b.Descriptor, big())
}

// images makes one manifest per writer, whose blobs are not put yet but the
// ones that all share.
func (f *fixture) images(subject *store.Descriptor) []store.Manifest {
	f.Helper()
	list := make([]store.Manifest, f.limits.Writers)
	for i := range list {
		list[i] = f.image(typeSBOM, subject, map[string]string{"writer": fmt.Sprint(i)})
	}
	return list
}

func manyArtifacts(f *fixture) {
	images := f.images(nil)
	var want []string
	for i := range images {
		want = append(want, fmt.Sprintf("w%02d", i))
	}
	f.together(func(i int) error {
		if _, err := f.PutBlob(f.ctx, store.NewBlob(typeText, []byte(want[i]))); err != nil {
			return err
		}
		return f.PutManifest(f.ctx, images[i], want[i])
	})
	for i, tag := range want {
		f.names(tag, images[i])
		f.holds(store.NewBlob(typeText, []byte(tag)).Descriptor, tag)
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.tags("")))); diff != "" {
		f.Errorf("tags (-want +got):\n%s", diff)
	}
}

func manyTagWriters(f *fixture) {
	m := f.image(typeArtifact, nil, nil)
	f.together(func(i int) error { return f.PutManifest(f.ctx, m, fmt.Sprintf("a%02d", i), fmt.Sprintf("b%02d", i)) })
	if got := f.tags(""); len(got) != 2*f.limits.Writers {
		f.Errorf("%d tags, want %d: %q", len(got), 2*f.limits.Writers, got)
	}
}

func manyReferrerWriters(f *fixture) {
	subject := f.attached()
	d := store.Plain(subject.Descriptor)
	images := f.images(&d)
	var want []store.Descriptor
	for i, m := range images {
		listed := store.Plain(m.Descriptor)
		listed.ArtifactType, listed.Annotations = typeSBOM, map[string]string{"writer": fmt.Sprint(i)}
		want = append(want, listed)
	}
	f.together(func(i int) error { return f.PutManifest(f.ctx, images[i]) })
	f.lists(subject.Digest, "", want...)
}

func oneTagManyWriters(f *fixture) {
	images := f.images(nil)
	f.together(func(i int) error { return f.PutManifest(f.ctx, images[i], "latest") })
	if diff := cmp.Diff([]string{"latest"}, f.tags("")); diff != "" {
		f.Errorf("tags (-want +got):\n%s", diff)
	}
	d, err := f.Resolve(f.ctx, "latest")
	f.ok(err, "Resolve")
	if !slices.ContainsFunc(images, func(m store.Manifest) bool { return m.Digest == d.Digest }) {
		f.Errorf("latest is %s, which nobody put", d.Digest)
	}
	for _, m := range images {
		f.names(m.Digest.String(), m)
	}
}

func cancelTests() []test {
	no := func(l Limits) bool { return l.NoCancel }
	return []test{
		{name: "does nothing once its context has ended", run: cancelled, skip: no},
		{name: "ends a put when its context ends", run: cancelledPut, skip: no},
	}
}

func cancelled(f *fixture) {
	m := f.put(f.image(typeArtifact, nil, nil), "v1")
	blob := store.NewBlob(typeText, []byte("new"))
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"Resolve":  func() error { _, err := f.Resolve(ctx, "v1"); return err },
		"Manifest": func() error { _, err := f.Manifest(ctx, "v1"); return err },
		"Blob": func() error {
			_, err := f.Blob(ctx, store.Descriptor{Digest: blob.Digest, Size: store.UnknownSize})
			return err
		},
		"Tags":           func() error { _, err := store.Collect(f.Tags(ctx, "")); return err },
		"PutBlob":        func() error { _, err := f.PutBlob(ctx, blob); return err },
		"PutManifest":    func() error { return f.PutManifest(ctx, m, "v2") },
		"DeleteManifest": func() error { return f.DeleteManifest(ctx, m.Descriptor) },
	} {
		f.wants(call(), context.Canceled, name)
	}
	f.names("v1", m)
	f.unknown("v2")
	f.lacks(blob.Digest)
}

func cancelledPut(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	b := store.NewBlob(typeText, []byte(big()))
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		return cancelling{rc, cancel}, err
	}
	_, err := f.PutBlob(ctx, b)
	f.wants(err, context.Canceled, "PutBlob")
	f.lacks(b.Digest)
}

// cancelling is a source during whose first read the user stops.
type cancelling struct {
	io.ReadCloser
	cancel func()
}

func (c cancelling) Read(p []byte) (int, error) {
	c.cancel()
	return c.ReadCloser.Read(p[:min(len(p), 1000)])
}
