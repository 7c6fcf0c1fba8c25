package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// FaultKind says in what way content is not what names it says.
type FaultKind string

// The kinds of faults.
const (
	FaultMissing   FaultKind = "missing"    // it is not there
	FaultSubject   FaultKind = "subject"    // the subject of a referrer is not there; the image-spec allows that
	FaultDigest    FaultKind = "digest"     // its bytes have another digest
	FaultSize      FaultKind = "size"       // it has another size
	FaultMediaType FaultKind = "media-type" // a manifest is of another kind
	FaultInvalid   FaultKind = "invalid"    // it breaks its specification
	FaultData      FaultKind = "data"       // the field data of its descriptor has other content
	FaultUnpacked  FaultKind = "unpacked"   // what it unpacks to has another digest, or it does not unpack
	FaultTag       FaultKind = "tag"        // a tag names another manifest
	FaultReferrers FaultKind = "referrers"  // what refers to it cannot be listed
)

// Fault is one finding of Verify. The same content is found at fault once,
// where it is met first.
type Fault struct {
	Kind FaultKind
	Desc store.Descriptor // as it is named
	// Path leads there from a root, as "v1/manifests[0]/layers[2]".
	Path          string
	Expected, Got string // a digest, a size or a media type; Got is "" where it is not known
	Reason        string // in a sentence
}

// VerifyRoot is where Verify begins. With a Name alone, a tag or digest, it is what
// the store resolves that to; a name that the store does not have is
// ErrNotFound. With Desc it has to be exactly that, and a Name beside it is a
// tag that has to name it: whatever is not so is a Fault.
type VerifyRoot struct {
	Name string
	Desc store.Descriptor
}

// VerifyRoots are roots by name alone.
func VerifyRoots(names ...string) []VerifyRoot {
	var roots []VerifyRoot
	for _, n := range names {
		roots = append(roots, VerifyRoot{Name: n})
	}
	return roots
}

// VerifyOptions say how far a Verify goes.
type VerifyOptions struct {
	Referrers   bool // also what refers to the roots, to their children, and so on
	Shallow     bool // blobs have to be there with their sizes; their bytes are not read
	Concurrency int  // blobs and manifests at once; 0 is DefaultConcurrency
	// Rest are manifests that are verified too where no root leads to them: those of
	// store.Reader.Manifests. One with a subject is left to Referrers.
	Rest []store.Descriptor
	// Events hears of the progress, and of what is no fault and yet worth knowing.
	Events store.Sink
	// Unpack writes to w what r holds, decompressed. With it, packed directories
	// are held against the digest of their tar, and layers of images against
	// the diff_ids of the config. It comes from outside because compression is
	// no business of a graph; artifact.Decompress is it.
	Unpack func(w io.Writer, r io.Reader) error
}

// VerifyResult is what Verify found.
type VerifyResult struct {
	Roots     []store.Descriptor // those that were resolved
	Faults    []Fault            // sorted by path
	Manifests int                // read and proven
	Blobs     int                // read and proven; with Shallow, found
	Bytes     int64              // of the blobs and manifests that were read
}

// Verify reads everything under the roots, each manifest and blob once, and
// proves every digest, size and link. It goes on after a fault. An error says
// that something could not be asked or read at all, such as a network that
// fails: then nothing is known.
func Verify(ctx context.Context, src store.Reader, roots []VerifyRoot, opts VerifyOptions) (VerifyResult, error) {
	v := &verification{
		src: src, opts: opts, limit: Options{Concurrency: opts.Concurrency}.limit(),
		unread: map[digest.Digest]error{}, unlisted: map[digest.Digest]error{},
		met: map[digest.Digest]bool{}, nodes: map[digest.Digest]*Node{}, blobs: map[digest.Digest]*suspect{},
	}
	at, err := v.resolve(ctx, roots)
	if err != nil {
		return v.res, err
	}
	w := newWalk(src, WalkOptions{
		Referrers: opts.Referrers, Subjects: true, Concurrency: opts.Concurrency, Events: opts.Events, OnError: v.unreadable,
	})
	if err := w.run(ctx, v.res.Roots...); err != nil {
		return v.res, err
	}
	rest := v.rest(ctx, w)
	if err := w.run(ctx, rest...); err != nil {
		return v.res, err
	}
	for _, d := range rest {
		v.res.Roots = append(v.res.Roots, d)
		at = append(at, place{d, d.Digest.String()})
	}
	nodes := w.finish()
	v.survey(at, nodes)
	if err := v.checkBlobs(ctx, nodes); err != nil {
		return v.res, err
	}
	slices.SortStableFunc(v.res.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return v.res, nil
}

// verification is one Verify at work.
type verification struct {
	src   store.Reader
	opts  VerifyOptions
	limit int

	mu       sync.Mutex
	res      VerifyResult
	unread   map[digest.Digest]error // manifests that cannot be read
	unlisted map[digest.Digest]error // manifests whose referrers cannot be listed

	nodes map[digest.Digest]*Node
	met   map[digest.Digest]bool // manifests that have their path
	blobs map[digest.Digest]*suspect
	order []*suspect // as met
}

// isFault says whether an error is about the content, and not about the way to it.
func isFault(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrMismatch) || errors.Is(err, store.ErrInvalid)
}

func (v *verification) fault(f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Faults = append(v.res.Faults, f)
}

// faultOf is the fault that an error about d is.
func faultOf(d store.Descriptor, path string, err error) Fault {
	f := Fault{Kind: FaultInvalid, Desc: d, Path: path, Reason: err.Error()}
	switch {
	case errors.Is(err, store.ErrNotFound):
		f.Kind, f.Reason = FaultMissing, "it is not there"
	case errors.Is(err, store.ErrMismatch):
		f.Kind, f.Expected = FaultDigest, d.Digest.String()
	}
	return f
}

// place is a manifest and the path to it.
type place struct {
	desc store.Descriptor
	path string
}

// resolve finds the roots, and gives their places.
func (v *verification) resolve(ctx context.Context, roots []VerifyRoot) ([]place, error) {
	found := make([]store.Descriptor, len(roots))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(v.limit)
	for i, r := range roots {
		group.Go(func() (err error) {
			found[i], err = v.root(gctx, r)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var at []place
	for i, d := range found {
		if d.Digest != "" {
			v.res.Roots = append(v.res.Roots, d)
			at = append(at, place{d, cmp.Or(roots[i].Name, d.Digest.String())})
		}
	}
	return at, nil
}

// root resolves one root. It is the zero Descriptor where there is a fault and
// nothing to go on with.
func (v *verification) root(ctx context.Context, r VerifyRoot) (store.Descriptor, error) {
	if r.Name == "" {
		return r.Desc, nil // whether it is there, the walk shows
	}
	d, err := v.src.Resolve(ctx, r.Name)
	if errors.Is(err, store.ErrNotFound) && r.Desc.Digest == "" {
		// A tag that the store lists, and cannot resolve, is a fault of the store.
		listed, lerr := v.lists(ctx, r.Name)
		if lerr != nil {
			return d, lerr
		}
		if !listed {
			return d, fail(Source, fmt.Sprintf("resolve %q", r.Name), store.Descriptor{}, err)
		}
	}
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrMismatch):
		f := faultOf(r.Desc, r.Name, err)
		f.Reason = err.Error() // says which of the two, tag or manifest, and where
		v.fault(f)
		return r.Desc, nil
	case err != nil:
		return d, fail(Source, fmt.Sprintf("resolve %q", r.Name), store.Descriptor{}, err)
	case r.Desc.Digest == "":
		return d, nil
	case d.Digest != r.Desc.Digest:
		v.fault(Fault{
			Kind: FaultTag, Desc: r.Desc, Path: r.Name, Expected: r.Desc.Digest.String(), Got: d.Digest.String(),
			Reason: "the tag names another manifest",
		})
	}
	return r.Desc, nil
}

func (v *verification) lists(ctx context.Context, tag string) (bool, error) {
	for t, err := range v.src.Tags(ctx, "") {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fail(Source, "list tags", store.Descriptor{}, err)
		}
		if t == tag {
			return err == nil, nil
		}
	}
	return false, nil
}

// unreadable keeps what the walk cannot read, and ends it where the reason is
// not the content.
func (v *verification) unreadable(d store.Descriptor, err error) error {
	var g *Error
	isList := errors.As(err, &g) && g.Op == opReferrers
	unknown := errors.Is(err, store.ErrUnsupported) && !store.IsManifestType(d.MediaType) && !isList
	if !isFault(err) && !unknown {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case isList:
		v.unlisted[d.Digest] = g.Err
	case unknown:
		v.res.Manifests++ // its digest was proven; what it names is not known
		v.note(d, fmt.Sprintf("%s is of type %s; its digest is proven, what it names is not known", d.Digest, d.MediaType))
	default:
		v.unread[d.Digest] = err
		if errors.As(err, &g) {
			v.unread[d.Digest] = g.Err
		}
	}
	return nil
}

func (v *verification) note(d store.Descriptor, text string) {
	v.opts.Events.Emit(store.Event{Kind: store.Warning, Desc: d, Name: store.NameOf(d), Text: text})
}

// survey goes over what was read, from the roots on, and holds every edge
// against what it leads to.
func (v *verification) survey(at []place, nodes []*Node) {
	for _, n := range nodes {
		v.nodes[n.Digest] = n
		v.res.Manifests++
		v.res.Bytes += int64(len(n.Raw))
	}
	told := map[string]bool{}
	for len(at) > 0 {
		p := at[0]
		at = at[1:]
		d, n := p.desc, v.nodes[p.desc.Digest]
		v.checkData(d, p.path)
		if n != nil {
			v.checkEdge(d, n, p.path)
		}
		if v.met[d.Digest] {
			continue
		}
		v.met[d.Digest] = true
		if err := v.unread[d.Digest]; err != nil {
			v.fault(faultOf(d, p.path, err))
		}
		// One damaged manifest may make every list of a layout fail.
		if err := v.unlisted[d.Digest]; err != nil && !told[err.Error()] {
			told[err.Error()] = true
			v.fault(Fault{Kind: FaultReferrers, Desc: d, Path: p.path, Reason: "what refers to it cannot be listed: " + err.Error()})
		}
		if n != nil {
			v.opts.Events.Emit(store.Event{Kind: store.Done, Desc: d, Name: store.NameOf(d), How: store.Sent})
			at = append(at, v.edges(n, p.path)...)
		}
	}
}

// checkEdge holds a manifest against the descriptor that led to it.
func (v *verification) checkEdge(d store.Descriptor, n *Node, path string) {
	if size := int64(len(n.Raw)); d.Size != size {
		v.fault(sizeFault(d, path, size))
	}
	if d.MediaType != n.MediaType {
		v.fault(Fault{
			Kind: FaultMediaType, Desc: d, Path: path, Expected: d.MediaType, Got: n.MediaType,
			Reason: "the manifest has another media type than what names it says",
		})
	}
}

func sizeFault(d store.Descriptor, path string, got int64) Fault {
	return Fault{
		Kind: FaultSize, Desc: d, Path: path, Expected: fmt.Sprint(d.Size), Got: fmt.Sprint(got),
		Reason: fmt.Sprintf("it has %d bytes, and what names it says %d", got, d.Size),
	}
}

// checkData holds the content that a descriptor carries against its digest
// (image-spec descriptor.md, data).
func (v *verification) checkData(d store.Descriptor, path string) {
	if d.Data == nil {
		return
	}
	if got := d.Digest.Algorithm().FromBytes(d.Data); got != d.Digest {
		v.fault(Fault{
			Kind: FaultData, Desc: d, Path: path, Expected: d.Digest.String(), Got: got.String(),
			Reason: "the data of the descriptor is not the content that it names",
		})
	}
}

// edges notes the blobs of n and gives the manifests that it leads to.
func (v *verification) edges(n *Node, path string) []place {
	var next []place
	for i, d := range n.Outline.Manifests {
		step := fmt.Sprintf("%s/manifests[%d]", path, i)
		if store.IsManifestType(d.MediaType) {
			next = append(next, place{d, step})
		} else {
			v.addBlob(d, step)
		}
	}
	if c := n.Outline.Config; c != nil {
		v.addBlob(*c, path+"/config")
	}
	name := "layers"
	if store.IsExtinct(n.MediaType) {
		name = "blobs"
	}
	for i, d := range n.Outline.Layers {
		v.addBlob(d, fmt.Sprintf("%s/%s[%d]", path, name, i))
	}
	for _, d := range n.Referrers {
		next = append(next, place{d, fmt.Sprintf("%s/referrers[%s]", path, d.Digest)})
	}
	return append(next, v.subject(n, path)...)
}

// subject is the edge up. That the subject is gone is a fault of its own kind.
func (v *verification) subject(n *Node, path string) []place {
	s := n.Outline.Subject
	if s == nil {
		return nil
	}
	path += "/subject"
	if err := v.unread[s.Digest]; errors.Is(err, store.ErrNotFound) && !v.met[s.Digest] {
		v.met[s.Digest] = true
		f := faultOf(*s, path, err)
		f.Kind, f.Reason = FaultSubject, "the subject is not there"
		v.fault(f)
		return nil
	}
	if !store.IsManifestType(s.MediaType) {
		v.note(*s, fmt.Sprintf("the subject %s is of type %s, which is not looked at", s.Digest, s.MediaType))
		return nil
	}
	return []place{{*s, path}}
}
