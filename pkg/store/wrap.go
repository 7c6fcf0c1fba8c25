package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"

	_ "crypto/sha256" // go-digest takes an algorithm only when it is linked
	_ "crypto/sha512"
)

// Verify wraps a store so that nothing is read from it unproven: a manifest's
// bytes have the digest that names them, a blob read from its beginning has
// its digest and size before its last bytes are given out. A blob opened at an
// offset is checked for its size alone; who puts the parts together proves the
// whole.
func Verify(s Store) Store { return verified{verifiedManifests{s}} }

type verified struct{ verifiedManifests }

// VerifyManifests is Verify for manifests alone: for whoever hands blobs to
// something that proves them while taking them, as PutBlob of every store
// does, so that they are hashed once.
func VerifyManifests(s Store) Store { return verifiedManifests{s} }

type verifiedManifests struct{ Store }

func (v verifiedManifests) Manifest(ctx context.Context, ref string) (Manifest, error) {
	m, err := v.Store.Manifest(ctx, ref)
	if err != nil {
		return Manifest{}, err
	}
	want := m.Digest
	if IsDigest(ref) {
		want = digest.Digest(ref)
	}
	if err := CheckManifest(m, want); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func (v verified) Blob(ctx context.Context, d Descriptor) (Blob, error) {
	if err := CheckDigest(d.Digest); err != nil {
		return Blob{}, err
	}
	b, err := v.Store.Blob(ctx, d)
	if err != nil {
		return Blob{}, err
	}
	return VerifyBlob(b), nil
}

// CheckManifest is ErrMismatch unless m's bytes have the digest want and m's size.
func CheckManifest(m Manifest, want digest.Digest) error {
	if err := CheckDigest(want); err != nil {
		return err
	}
	if got := want.Algorithm().FromBytes(m.Raw); got != want || m.Digest != want {
		return fmt.Errorf("%w: manifest %s has the digest %s", ErrMismatch, want, got)
	}
	if int64(len(m.Raw)) != m.Size {
		return fmt.Errorf("%w: manifest %s has %d bytes, expected %d", ErrMismatch, want, len(m.Raw), m.Size)
	}
	return nil
}

// VerifyBlob is b with readers that prove digest and size; see Verify.
func VerifyBlob(b Blob) Blob {
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err != nil {
			return nil, err
		}
		v := NewVerifier(rc, b.Descriptor)
		if offset > 0 {
			v.hash, v.read = nil, offset
		}
		return v, nil
	}
	return b
}

// ContentError says that bytes which were read are not what their descriptor
// says: it is the fault of where they came from, never of where they were
// going. It is ErrMismatch.
type ContentError struct{ Reason string }

func (e *ContentError) Error() string { return ErrMismatch.Error() + ": " + e.Reason }

// Unwrap makes the error an ErrMismatch.
func (e *ContentError) Unwrap() error { return ErrMismatch }

// Mismatch is a ContentError with a formatted reason.
func Mismatch(format string, args ...any) error { return &ContentError{fmt.Sprintf(format, args...)} }

// Verifier reads content and proves it. It gives out the last bytes only when
// everything before and with them has the digest and the size, and says
// ErrMismatch otherwise; so who copies from it never completes bad content.
type Verifier struct {
	from io.ReadCloser
	want Descriptor
	hash hash.Hash // nil where only the size is checked
	read int64
	err  error
}

// NewVerifier reads rc as the content of want, from its first byte on. A
// digest that cannot be computed is ErrInvalid at the first Read; a size below
// zero is not checked.
func NewVerifier(rc io.ReadCloser, want Descriptor) *Verifier {
	v := &Verifier{from: rc, want: want}
	if err := CheckDigest(want.Digest); err != nil {
		v.err = err
	} else {
		v.hash = want.Digest.Algorithm().Hash()
	}
	return v
}

func (v *Verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.from.Read(p)
	v.read += int64(n)
	if v.hash != nil {
		v.hash.Write(p[:n])
	}
	switch {
	case v.want.Size >= 0 && v.read > v.want.Size:
		v.err = Mismatch("%s is longer than %d bytes", v.want.Digest, v.want.Size)
		return 0, v.err
	case v.want.Size >= 0 && v.read == v.want.Size && n > 0 && (err == nil || errors.Is(err, io.EOF)):
		err = v.finish()
	case errors.Is(err, io.EOF):
		err = v.finish()
	}
	v.err = err
	if errors.Is(err, ErrMismatch) {
		return 0, err
	}
	return n, err
}

// finish proves what was read, and that nothing follows.
func (v *Verifier) finish() error {
	if v.want.Size >= 0 && v.read < v.want.Size {
		return Mismatch("%s ends after %d of %d bytes", v.want.Digest, v.read, v.want.Size)
	}
	if v.hash != nil {
		if got := digest.NewDigest(v.want.Digest.Algorithm(), v.hash); got != v.want.Digest {
			return Mismatch("expected %s, got %s", v.want.Digest, got)
		}
	}
	var more [1]byte
	for range 100 { // an io.Reader may give 0, nil now and then
		n, err := v.from.Read(more[:])
		if n > 0 {
			return Mismatch("%s is longer than %d bytes", v.want.Digest, v.read)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return io.EOF
			}
			return err
		}
	}
	return io.ErrNoProgress
}

// Close closes what is read from.
func (v *Verifier) Close() error { return v.from.Close() }

// ReadOnly wraps a store so that every change is ErrUnsupported.
func ReadOnly(s Store) Store { return readOnly{s} }

type readOnly struct{ Store }

var errReadOnly = fmt.Errorf("%w: the store is read-only", ErrUnsupported)

func (readOnly) PutBlob(context.Context, Blob) (Put, error) { return Put{}, errReadOnly }
func (readOnly) Takes(context.Context, string) (Finding, error) {
	return Finding{Answer: No, Evidence: Evidence{Note: "the store is read-only"}}, nil
}
func (readOnly) PutManifest(context.Context, Manifest, ...string) error { return errReadOnly }
func (readOnly) Swap(context.Context, Manifest, string, digest.Digest) error {
	return errReadOnly
}
func (readOnly) DeleteBlob(context.Context, Descriptor) error     { return errReadOnly }
func (readOnly) DeleteManifest(context.Context, Descriptor) error { return errReadOnly }
func (readOnly) Untag(context.Context, string) error              { return errReadOnly }

// Support is the store's, without deleting.
func (r readOnly) Support() Support {
	s := Support{}
	maps.Copy(s, r.Store.Support())
	for _, a := range []Ability{AbilityTagDelete, AbilityManifestDelete, AbilityBlobDelete} {
		s[a] = Finding{Answer: No, Evidence: Evidence{Note: "the store is read-only"}}
	}
	return s
}

// Observe wraps a store so that reading its blobs is told to the sink: Start
// when one is opened first, Advance as it is read, Done at its end, Failed on
// an error. Done says that the content is right only over Verify.
func Observe(s Store, sink Sink) Store { return observed{s, sink} }

type observed struct {
	Store
	sink Sink
}

func (o observed) Blob(ctx context.Context, d Descriptor) (Blob, error) {
	b, err := o.Store.Blob(ctx, d)
	if err != nil {
		return Blob{}, err
	}
	d.Size = b.Size // d has the title; the store may know no more than the digest
	c := &counter{sink: o.sink, desc: d, name: NameOf(d), ends: true}
	b.Open = c.wrap(b.Open)
	return b, nil
}

// CountBlob is b whose bytes are told to the sink as Advance while they are
// read. A reader opened anew takes back what an earlier one told.
func CountBlob(b Blob, sink Sink) Blob {
	c := &counter{sink: sink, desc: b.Descriptor, name: NameOf(b.Descriptor)}
	b.Open = c.wrap(b.Open)
	return b
}

// counter tells a sink how much of one blob has been read.
type counter struct {
	sink Sink
	desc Descriptor
	name string
	ends bool // tell Start, Done and Failed as well

	mu      sync.Mutex
	started bool
	told    int64
}

func (c *counter) wrap(open func(context.Context, int64) (io.ReadCloser, error)) func(context.Context, int64) (io.ReadCloser, error) {
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ends && !c.started {
			c.sink.Emit(Event{Kind: Start, Desc: c.desc, Name: c.name})
		}
		c.started = true
		c.advance(offset - c.told)
		return &counted{rc, c}, nil
	}
}

// advance tells n more bytes; the caller holds mu.
func (c *counter) advance(n int64) {
	if n != 0 {
		c.told += n
		c.sink.Emit(Event{Kind: Advance, Desc: c.desc, Name: c.name, Bytes: n})
	}
}

type counted struct {
	io.ReadCloser
	*counter
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(int64(n))
	switch {
	case !r.ends || err == nil:
	case errors.Is(err, io.EOF):
		r.sink.Emit(Event{Kind: Done, Desc: r.desc, Name: r.name, How: Sent})
	default:
		r.sink.Emit(Event{Kind: Failed, Desc: r.desc, Name: r.name, Text: err.Error()})
	}
	return n, err
}

// Collect reads a sequence to its end. It returns what came before the first error.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// ReadBlob reads a whole blob of at most limit bytes and proves it. It is
// ErrTooLarge before the first byte is read where the size is given.
func ReadBlob(ctx context.Context, b Blob, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrTooLarge, b.Digest, b.Size, limit)
	}
	rc, err := VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%w: %s is larger than %d bytes", ErrTooLarge, b.Digest, limit)
	}
	return raw, err
}
