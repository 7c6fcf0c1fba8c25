package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/manifest"
	"github.com/regclient/regclient/types/ref"
)

// regclientOperations are done with regclient as regctl does them: artifact put
// and get, image copy, artifact list.
func regclientOperations() operations {
	return operations{
		opPush: regclientPush, opPull: regclientPull, opCopy: regclientCopy, opTag: regclientTag,
		opAttach: regclientAttach, opDiscover: regclientDiscover, opTags: regclientTags,
	}
}

// regclientFor gives a client that knows the hosts of all references as plain
// http, and the references. Whoever calls it calls the func when done.
func regclientFor(ctx context.Context, names ...string) (*regclient.RegClient, []ref.Ref, func(), error) {
	var refs []ref.Ref
	var hosts []config.Host
	for _, n := range names {
		r, err := ref.New(n)
		if err != nil {
			return nil, nil, nil, err
		}
		host := config.HostNewName(r.Registry)
		host.TLS = config.TLSDisabled
		refs, hosts = append(refs, r), append(hosts, *host)
	}
	rc := regclient.New(regclient.WithConfigHost(hosts...))
	return rc, refs, func() {
		for _, r := range refs {
			_ = rc.Close(ctx, r)
		}
	}, nil
}

func regclientPush(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Dst)
	if err != nil {
		return err
	}
	defer done()
	return regclientSend(ctx, rc, refs[0], t, nil)
}

// regclientSend puts the config, then file after file, then the manifest.
func regclientSend(ctx context.Context, rc *regclient.RegClient, r ref.Ref, t task, subject *ocispec.Descriptor) error {
	empty := ocispec.DescriptorEmptyJSON
	if _, err := rc.BlobPut(ctx, r, descriptor.Descriptor{Digest: empty.Digest, Size: empty.Size}, strings.NewReader("{}")); err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.Descriptor{MediaType: empty.MediaType, Digest: empty.Digest, Size: empty.Size}, Subject: subject,
	}
	for _, name := range t.Files {
		path := filepath.Join(t.Dir, name)
		d, err := fileBlob(path)
		if err != nil {
			return err
		}
		d.MediaType = "application/octet-stream"
		if err := regclientPutFile(ctx, rc, r, d, path); err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	mm, err := manifest.New(manifest.WithRaw(raw))
	if err != nil {
		return err
	}
	var opts []regclient.ManifestOpts
	if subject != nil {
		r = r.SetDigest(digest.FromBytes(raw).String())
		opts = append(opts, regclient.WithManifestChild())
	}
	return rc.ManifestPut(ctx, r, mm, opts...)
}

// regclientPutFile asks for a blob and puts what is not there.
func regclientPutFile(ctx context.Context, rc *regclient.RegClient, r ref.Ref, d ocispec.Descriptor, path string) error {
	want := descriptor.Descriptor{Digest: d.Digest, Size: d.Size}
	if b, err := rc.BlobHead(ctx, r, want); err == nil {
		return b.Close()
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = rc.BlobPut(ctx, r, want, f)
	return err
}

func regclientPull(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src)
	if err != nil {
		return err
	}
	defer done()
	m, err := rc.ManifestGet(ctx, refs[0])
	if err != nil {
		return err
	}
	img, ok := m.(manifest.Imager)
	if !ok {
		return fmt.Errorf("%s is a %T", t.Src, m)
	}
	layers, err := img.GetLayers()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(t.Out, 0o755); err != nil {
		return err
	}
	for _, d := range layers { // one after the other, as regctl does
		if err := regclientGetFile(ctx, rc, refs[0], d, filepath.Join(t.Out, d.Annotations[ocispec.AnnotationTitle])); err != nil {
			return err
		}
	}
	return nil
}

func regclientGetFile(ctx context.Context, rc *regclient.RegClient, r ref.Ref, d descriptor.Descriptor, path string) error {
	b, err := rc.BlobGet(ctx, r, d)
	if err != nil {
		return err
	}
	defer b.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, b)
	return errors.Join(err, f.Close())
}

func regclientCopy(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src, t.Dst)
	if err != nil {
		return err
	}
	defer done()
	return rc.ImageCopy(ctx, refs[0], refs[1])
}

func regclientTag(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src)
	if err != nil {
		return err
	}
	defer done()
	m, err := rc.ManifestGet(ctx, refs[0])
	if err != nil {
		return err
	}
	for _, tag := range t.Tags {
		if err := rc.ManifestPut(ctx, refs[0].SetTag(tag), m); err != nil {
			return err
		}
	}
	return nil
}

func regclientAttach(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src)
	if err != nil {
		return err
	}
	defer done()
	m, err := rc.ManifestHead(ctx, refs[0], regclient.WithManifestRequireDigest())
	if err != nil {
		return err
	}
	d := m.GetDescriptor()
	return regclientSend(ctx, rc, refs[0], t, &ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
}

func regclientDiscover(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src)
	if err != nil {
		return err
	}
	defer done()
	list, err := rc.ReferrerList(ctx, refs[0])
	if err == nil && len(list.Descriptors) == 0 {
		err = fmt.Errorf("nothing refers to %s", t.Src)
	}
	return err
}

func regclientTags(ctx context.Context, t task) error {
	rc, refs, done, err := regclientFor(ctx, t.Src)
	if err != nil {
		return err
	}
	defer done()
	last, n := "", 0
	for { // regctl leaves the pages to its user
		list, err := rc.TagList(ctx, refs[0], scheme.WithTagLimit(1000), scheme.WithTagLast(last))
		if err != nil {
			return err
		}
		tags, err := list.GetTags()
		if err != nil {
			return err
		}
		if n += len(tags); len(tags) < 1000 {
			break
		}
		last = tags[len(tags)-1]
	}
	if n == 0 {
		return fmt.Errorf("%s has no tags", t.Src)
	}
	return nil
}
