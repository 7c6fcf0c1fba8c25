package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// suspect is a blob, with all that is said of it in the graph.
type suspect struct {
	place
	others []place    // edges that name it with another size
	plain  []unpacked // what it has to unpack to
	keep   bool       // its bytes are wanted: the config of an image
	raw    []byte
}

// unpacked is a digest of decompressed content, and who says so.
type unpacked struct {
	digest digest.Digest
	by     string
}

// annotationContentDigest names the digest of the tar of a packed directory,
// as ORAS and pkg/artifact write it.
const annotationContentDigest = "io.deis.oras.content.digest"

// maxImageConfig bounds the config that is read for its diff_ids.
const maxImageConfig = 4 << 20

// hasDiffIDs says whether configs of a media type name the unpacked layers.
func hasDiffIDs(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == "application/vnd.docker.container.image.v1+json"
}

// addBlob notes an edge to a blob.
func (v *verification) addBlob(d store.Descriptor, path string) {
	v.checkData(d, path)
	b := v.blobs[d.Digest]
	if b == nil {
		b = &suspect{place: place{d, path}}
		v.blobs[d.Digest] = b
		v.order = append(v.order, b)
		v.opts.Events.Emit(store.Event{Kind: store.Planned, Desc: d, Name: store.NameOf(d)})
	} else if d.Size != b.desc.Size {
		b.others = append(b.others, place{d, path})
	}
	if hasDiffIDs(d.MediaType) && d.Size <= maxImageConfig {
		b.keep = true
	}
	if said := d.Annotations[annotationContentDigest]; said != "" {
		b.expect(unpacked{digest.Digest(said), "the annotation " + annotationContentDigest})
	}
}

func (b *suspect) expect(u unpacked) {
	if !slices.Contains(b.plain, u) {
		b.plain = append(b.plain, u)
	}
}

// checkBlobs reads every blob once; configs of images first, because they say
// what the layers unpack to.
func (v *verification) checkBlobs(ctx context.Context, nodes []*Node) error {
	isConfig := func(b *suspect) bool { return b.keep }
	configs := slices.DeleteFunc(slices.Clone(v.order), func(b *suspect) bool { return !isConfig(b) })
	rest := slices.DeleteFunc(slices.Clone(v.order), isConfig)
	if err := v.eachBlob(ctx, configs); err != nil {
		return err
	}
	for _, n := range nodes {
		v.expectDiffIDs(n)
	}
	return v.eachBlob(ctx, rest)
}

func (v *verification) eachBlob(ctx context.Context, blobs []*suspect) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(v.limit)
	for _, b := range blobs {
		group.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			return v.checkBlob(gctx, b)
		})
	}
	return group.Wait()
}

// expectDiffIDs takes from the config of an image what its layers unpack to.
func (v *verification) expectDiffIDs(n *Node) {
	c := n.Outline.Config
	if c == nil || v.blobs[c.Digest] == nil || v.blobs[c.Digest].raw == nil {
		return
	}
	config := v.blobs[c.Digest]
	var doc struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config.raw, &doc); err != nil {
		v.fault(Fault{Kind: FaultInvalid, Desc: *c, Path: config.path, Reason: "the config of the image is not what its media type says: " + err.Error()})
		return
	}
	ids := doc.RootFS.DiffIDs
	if len(ids) == 0 {
		return // artifacts borrow the media type and leave the rest out
	}
	if len(ids) != len(n.Outline.Layers) {
		v.fault(Fault{
			Kind: FaultUnpacked, Desc: *c, Path: config.path, Expected: fmt.Sprint(len(n.Outline.Layers)), Got: fmt.Sprint(len(ids)),
			Reason: fmt.Sprintf("rootfs.diff_ids of the config has %d entries for %d layers", len(ids), len(n.Outline.Layers)),
		})
		return
	}
	for i, d := range n.Outline.Layers {
		if b := v.blobs[d.Digest]; b != nil && !b.keep && !strings.HasSuffix(d.MediaType, "+encrypted") {
			b.expect(unpacked{ids[i], "rootfs.diff_ids of the config " + c.Digest.String()})
		}
	}
}

// checkBlob proves one blob and tells of it.
func (v *verification) checkBlob(ctx context.Context, b *suspect) error {
	name := store.NameOf(b.desc)
	tell := func(e store.Event) {
		e.Desc, e.Name = b.desc, name
		v.opts.Events.Emit(e)
	}
	tell(store.Event{Kind: store.Start})
	check, how := v.readBlob, store.Sent
	if v.opts.Shallow {
		check, how = v.findBlob, store.Present
	}
	found, err := check(ctx, b)
	if errors.Is(err, store.ErrNotFound) && len(b.desc.URLs) > 0 {
		// A foreign layer: image-spec lets it lie elsewhere.
		v.note(b.desc, fmt.Sprintf("%s is not in the store; the manifest gives %s for it", b.desc.Digest, b.desc.URLs[0]))
		tell(store.Event{Kind: store.Done, How: store.Present})
		return nil
	}
	if err != nil && !isFault(err) {
		if ctx.Err() == nil {
			tell(store.Event{Kind: store.Failed, Text: err.Error()})
		}
		return fail(Source, "read blob", b.desc, err)
	}
	if err != nil {
		f := faultOf(b.desc, b.path, err)
		found = append(found, v.measured(ctx, f))
	}
	for _, f := range found {
		tell(store.Event{Kind: store.Failed, Text: f.Reason})
		v.fault(f)
	}
	if len(found) == 0 {
		tell(store.Event{Kind: store.Done, How: how})
		v.mu.Lock()
		v.res.Blobs++
		v.mu.Unlock()
	}
	v.otherSizes(ctx, b, len(found) == 0)
	return nil
}

// measured finds out whether it is the size that is wrong, which stores refuse
// before they give out a byte.
func (v *verification) measured(ctx context.Context, f Fault) Fault {
	if f.Kind != FaultDigest {
		return f
	}
	if size, err := v.size(ctx, f.Desc); err == nil && size != f.Desc.Size {
		return sizeFault(f.Desc, f.Path, size)
	}
	return f
}

func (v *verification) size(ctx context.Context, d store.Descriptor) (int64, error) {
	d.Size = store.UnknownSize
	b, err := v.src.Blob(ctx, d)
	return b.Size, err
}

// otherSizes holds the edges that name the blob with another size against the
// one that it has. Where it is not there, or damaged, that was told.
func (v *verification) otherSizes(ctx context.Context, b *suspect, right bool) {
	if len(b.others) == 0 {
		return
	}
	size := b.desc.Size
	if !right {
		var err error
		if size, err = v.size(ctx, b.desc); err != nil {
			return
		}
	}
	for _, o := range b.others {
		if o.desc.Size != size {
			v.fault(sizeFault(o.desc, o.path, size))
		}
	}
}

// findBlob asks whether a blob is there, and how large it is.
func (v *verification) findBlob(ctx context.Context, b *suspect) ([]Fault, error) {
	size, err := v.size(ctx, b.desc)
	if err != nil || size == b.desc.Size {
		return nil, err
	}
	return []Fault{sizeFault(b.desc, b.path, size)}, nil
}

// readBlob reads a blob and finds what is wrong with it. The error is that of
// the store.
func (v *verification) readBlob(ctx context.Context, b *suspect) ([]Fault, error) {
	opened, err := v.src.Blob(ctx, b.desc)
	if err != nil {
		return nil, err
	}
	opened.Descriptor = b.desc
	rc, err := store.CountBlob(opened, v.opts.Events).Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	p := &measured{r: io.LimitReader(rc, b.desc.Size+1), hash: b.desc.Digest.Algorithm().Hash()}
	var found []Fault
	switch {
	case b.keep:
		b.raw, _ = io.ReadAll(p)
	case v.opts.Unpack != nil && len(b.plain) > 0:
		found = v.unpack(b, p)
	}
	// What was not asked for has to be proven as well; p keeps the error.
	_, _ = io.Copy(io.Discard, p)
	v.mu.Lock()
	v.res.Bytes += p.read
	v.mu.Unlock()
	got := digest.NewDigest(b.desc.Digest.Algorithm(), p.hash)
	switch {
	case p.err != nil:
		b.raw = nil
		return nil, p.err
	case p.read > b.desc.Size:
		found = []Fault{{
			Kind: FaultSize, Desc: b.desc, Path: b.path, Expected: fmt.Sprint(b.desc.Size),
			Reason: fmt.Sprintf("it is longer than %d bytes", b.desc.Size),
		}}
	case p.read < b.desc.Size:
		found = []Fault{sizeFault(b.desc, b.path, p.read)}
	case got != b.desc.Digest:
		found = []Fault{{
			Kind: FaultDigest, Desc: b.desc, Path: b.path, Expected: b.desc.Digest.String(), Got: got.String(),
			Reason: "its bytes have the digest " + got.String(),
		}}
	default:
		return found, nil
	}
	b.raw = nil // not the config that is meant
	return found, nil
}

// unpack holds what a blob unpacks to against what is said of that.
func (v *verification) unpack(b *suspect, r io.Reader) (found []Fault) {
	fault := func(u unpacked, got, reason string) {
		found = append(found, Fault{
			Kind: FaultUnpacked, Desc: b.desc, Path: b.path, Expected: u.digest.String(), Got: got, Reason: reason,
		})
	}
	hashes := make([]hash.Hash, len(b.plain))
	var into []io.Writer
	for i, u := range b.plain {
		if err := store.CheckDigest(u.digest); err != nil {
			fault(u, "", fmt.Sprintf("%s is no digest: %s", u.by, err))
			continue
		}
		hashes[i] = u.digest.Algorithm().Hash()
		into = append(into, hashes[i])
	}
	if len(into) == 0 {
		return found
	}
	if err := v.opts.Unpack(io.MultiWriter(into...), r); err != nil {
		fault(b.plain[0], "", "it cannot be unpacked: "+err.Error())
		return found
	}
	for i, u := range b.plain {
		if hashes[i] == nil {
			continue
		}
		if got := digest.NewDigest(u.digest.Algorithm(), hashes[i]); got != u.digest {
			fault(u, got.String(), fmt.Sprintf("it unpacks to %s, and %s says %s", got, u.by, u.digest))
		}
	}
	return found
}

// measured hashes and counts what is read through it, and keeps the error.
type measured struct {
	r    io.Reader
	hash hash.Hash
	read int64
	err  error // but io.EOF
}

func (p *measured) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.r.Read(b)
	p.hash.Write(b[:n])
	p.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}
