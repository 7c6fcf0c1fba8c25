package graph

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Misfit is content that a destination does not take.
type Misfit struct {
	Desc    store.Descriptor
	Reason  string
	Finding store.Finding // how that is known; the zero Finding where it needs no asking
	is      error
}

// MisfitError says what does not fit, before anything was put. It is
// store.ErrKind, or store.ErrUnsupported where no kind of manifest is the cause.
type MisfitError struct {
	Misfits []Misfit
	Put     string // what is at the destination already; "" for nothing
}

func (e *MisfitError) Error() string {
	var b strings.Builder
	for i, m := range e.Misfits {
		if i > 0 {
			b.WriteString("; ")
		}
		if m.Desc.Digest != "" {
			fmt.Fprintf(&b, "%s ", m.Desc.Digest)
		} else {
			b.WriteString("the manifest ")
		}
		b.WriteString(m.Reason)
		if said := told(m.Finding.Evidence); said != "" {
			fmt.Fprintf(&b, " (%s)", said)
		}
	}
	if e.Put == "" {
		b.WriteString("; nothing was uploaded")
	} else {
		b.WriteString("; " + e.Put)
	}
	return b.String()
}

// Unwrap gives the class.
func (e *MisfitError) Unwrap() error {
	for _, m := range e.Misfits {
		if errors.Is(m.is, store.ErrKind) {
			return store.ErrKind
		}
	}
	return store.ErrUnsupported
}

// longHex is a digest, of which a few characters are enough in a sentence.
var longHex = regexp.MustCompile(`(:[0-9a-f]{8})[0-9a-f]{24,}`)

// told is evidence as a person reads it: what was asked and what was answered.
func told(e store.Evidence) string {
	var parts []string
	if e.Request != "" {
		s := longHex.ReplaceAllString(e.Request, "$1…")
		if e.Status != 0 {
			s += fmt.Sprintf(" answered %d", e.Status)
		}
		if e.Code != "" {
			s += " " + e.Code
		}
		parts = append(parts, s)
	}
	if e.Note != "" {
		parts = append(parts, e.Note)
	}
	return strings.Join(parts, ": ")
}

// checker asks a destination about what will be put, each thing once.
type checker struct {
	dst     store.Store
	dry     bool // ask nothing by a write, not even by one that has to be refused
	sink    store.Sink
	kinds   map[string]store.Finding
	misfits []Misfit
	warned  bool // that sha512 is not known

	asked    bool  // whether referrers can be listed
	unlisted error // why they cannot
	every    bool  // tell it of each manifest with a subject, not of the first alone
}

func newChecker(dst store.Store, sink store.Sink) *checker {
	return &checker{dst: dst, sink: sink, kinds: map[string]store.Finding{}}
}

// kind asks about the media type of one manifest. Only extinct kinds are asked
// about: the others are what registries are for, and asking costs a request.
func (c *checker) kind(ctx context.Context, d store.Descriptor) error {
	if !store.IsExtinct(d.MediaType) {
		return nil
	}
	finding, asked := c.kinds[d.MediaType]
	if !asked {
		var err error
		if finding, err = c.ask(ctx, d.MediaType); err != nil {
			return fail(Destination, "ask about "+d.MediaType+" at", store.Descriptor{}, err)
		}
		c.kinds[d.MediaType] = finding
		if finding.Answer == store.Unknown {
			c.sink.Emit(store.Event{Kind: store.Warning, Desc: d, Name: store.NameOf(d), Text: unknownKind(d.MediaType, finding)})
		}
	}
	if finding.Answer == store.No {
		c.misfits = append(c.misfits, Misfit{d, "has the media type " + d.MediaType + ", which the registry does not take; it takes image manifests, which have other digests", finding, store.ErrKind})
	}
	return nil
}

func (c *checker) ask(ctx context.Context, mediaType string) (store.Finding, error) {
	if c.dry {
		return store.Finding{Evidence: store.Evidence{Note: "a dry run does not ask"}}, nil
	}
	return c.dst.Takes(ctx, mediaType)
}

func unknownKind(mediaType string, f store.Finding) string {
	s := "whether the registry takes " + mediaType + " cannot be known before it is put"
	if said := told(f.Evidence); said != "" {
		s += ": " + said
	}
	return s
}

// algorithm holds a digest against what the destination is known to name by.
func (c *checker) algorithm(d store.Descriptor) {
	if d.Digest.Algorithm() != digest.SHA512 {
		return
	}
	f := c.dst.Support()[store.AbilitySHA512]
	if f.Answer == store.Unknown && !c.warned {
		c.warned = true
		c.sink.Emit(store.Event{
			Kind: store.Warning, Desc: d, Name: store.NameOf(d),
			Text: "whether the registry names content by sha512 cannot be known before it is put; `probe --write` finds out",
		})
	}
	if f.Answer == store.No {
		c.misfits = append(c.misfits, Misfit{d, "is named by sha512, which the registry does not know", f, store.ErrUnsupported})
	}
}

// subject asks, once for the whole graph, whether referrers can be kept in the
// way that the user allows.
func (c *checker) subject(ctx context.Context, n *Node) error {
	first := !c.asked
	if first {
		c.asked = true
		for _, e := range c.dst.Referrers(ctx, n.Outline.Subject.Digest, "") {
			c.unlisted = e // the first answer shows whether they can be listed
			break
		}
	}
	if errors.Is(c.unlisted, store.ErrUnsupported) {
		if !first && !c.every {
			return nil
		}
		c.misfits = append(c.misfits, Misfit{Desc: n.Descriptor, Reason: "has a subject: " + c.unlisted.Error(), is: store.ErrUnsupported})
		return nil
	}
	if errors.Is(c.unlisted, store.ErrNotFound) {
		return nil
	}
	return fail(Destination, "list referrers of", *n.Outline.Subject, c.unlisted)
}

func (c *checker) result() error {
	if len(c.misfits) == 0 {
		return nil
	}
	return &MisfitError{Misfits: c.misfits}
}

// preflight compares what a copy will put with what the destination takes, so
// that a copy which cannot succeed is refused before its first byte. Where one
// artifact must not stop the others, what does not fit counts as broken.
func (c *copier) preflight(ctx context.Context, nodes []*Node) error {
	if c.check == nil {
		c.check = newChecker(c.dst, c.sink)
		c.check.dry, c.check.every = c.opts.DryRun, c.goOn
	}
	for _, n := range nodes {
		if c.there[n.Digest] {
			continue
		}
		if err := c.check.node(ctx, n); err != nil {
			return err
		}
	}
	if !c.goOn {
		return c.check.result()
	}
	for _, m := range c.check.misfits {
		if err := c.broken(m.Desc.Digest, &MisfitError{Misfits: []Misfit{m}}); err != nil {
			return err
		}
	}
	c.check.misfits = nil
	return nil
}

// node asks about everything of a manifest.
func (c *checker) node(ctx context.Context, n *Node) error {
	if err := c.kind(ctx, n.Descriptor); err != nil {
		return err
	}
	c.algorithm(n.Descriptor)
	for _, d := range n.Blobs() {
		c.algorithm(d)
	}
	if n.Outline.Subject == nil {
		return nil
	}
	return c.subject(ctx, n)
}

// Put puts one manifest as it is, with what it names there already, after
// holding it against what the store takes.
func Put(ctx context.Context, m store.Manifest, dst store.Store, opts CopyOptions) error {
	mv := &mover{dst: dst, sink: opts.Events}
	if !opts.NoPreflight {
		if err := checkManifest(ctx, m, dst, opts.Events); err != nil {
			return err
		}
	}
	return mv.withPut(mv.putManifest(ctx, m, opts.Tags...))
}

func checkManifest(ctx context.Context, m store.Manifest, dst store.Store, sink store.Sink) error {
	check := newChecker(dst, sink)
	if err := check.kind(ctx, m.Descriptor); err != nil {
		return err
	}
	check.algorithm(m.Descriptor)
	if !store.IsManifestType(m.MediaType) {
		return check.result()
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return err
	}
	if o.Subject != nil {
		if err := check.subject(ctx, &Node{Manifest: m, Outline: o}); err != nil {
			return err
		}
	}
	return check.result()
}
