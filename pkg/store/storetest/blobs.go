package storetest

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// big is content that no buffer of a store holds at once: 3 MiB and a few bytes.
func big() string { return strings.Repeat("0123456789abcdef", 3<<16) + "end" }

// errBroken is what a source says that breaks off.
var errBroken = errors.New("the source broke off")

// Broken is a blob whose source gives the first n bytes, then err.
func Broken(b store.Blob, n int64, err error) store.Blob {
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, openErr := open(ctx, offset)
		if openErr != nil {
			return nil, openErr
		}
		body := io.MultiReader(io.LimitReader(rc, max(0, n-offset)), failing{err})
		return struct {
			io.Reader
			io.Closer
		}{body, rc}, nil
	}
	return b
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// claiming is a blob that says it is `claimed` and gives `actual`.
func claiming(claimed, actual string) store.Blob {
	b := store.NewBlob(typeText, []byte(actual))
	b.Descriptor = store.NewBlob(typeText, []byte(claimed)).Descriptor
	return b
}

func blobTests() []test {
	return []test{
		{name: "gives back what was put", run: func(f *fixture) { f.holds(f.putBlob("hello"), "hello") }},
		{name: "gives back a large blob", run: func(f *fixture) { f.holds(f.putBlob(big()), big()) }},
		{name: "takes an empty blob", run: emptyBlob, skip: func(l Limits) bool { return l.NoEmptyBlob }},
		{name: "takes content named by sha512", run: sha512Blob, skip: func(l Limits) bool { return l.NoSHA512 }},
		{name: "reads from an offset", run: blobOffsets},
		{name: "says which blobs it has", run: blobExistence},
		{name: "says so when a blob was there before", run: blobTwice},
		{name: "learns a digest by reading", run: blobWithoutDigest},
		{name: "learns digest and size by reading", run: blobWithoutSize},
		{name: "proves the size where the digest is not known", run: blobWithoutDigestWrongSize},
		{name: "takes a named blob of unknown size", run: blobNamedWithoutSize},
		{name: "refuses other bytes", run: refuses("hello", "hellx", store.ErrMismatch)},
		{name: "refuses a blob that is too short", run: refuses("hello", "hell", store.ErrMismatch)},
		{name: "refuses a blob that is too long", run: refuses("hello", "hello!", store.ErrMismatch)},
		{name: "refuses nothing for something", run: refuses("hello", "", store.ErrMismatch)},
		{name: "refuses a large blob with one wrong byte at its end", run: refuses(big(), big()[:len(big())-1]+"!", store.ErrMismatch)},
		{name: "refuses a digest that cannot be computed", run: badDigest},
		{name: "hands on the error of a source that breaks off", run: brokenSource},
		{name: "hands on the error of a source that does not open", run: closedSource},
		{name: "hands on the error of a source without digest", run: brokenUnnamed},
	}
}

func emptyBlob(f *fixture) { f.holds(f.putBlob(""), "") }

func sha512Blob(f *fixture) {
	b := store.NewBlob(typeText, []byte("hello"))
	b.Digest = digest.SHA512.FromString("hello")
	put, err := f.PutBlob(f.ctx, b)
	f.ok(err, "PutBlob")
	f.same(b.Descriptor, put.Descriptor)
	f.holds(b.Descriptor, "hello")
}

func blobOffsets(f *fixture) {
	content := big()
	d := f.putBlob(content)
	for _, offset := range []int{1, 4095, 1 << 20, len(content) - 1} {
		if got := f.read(d, int64(offset)); got != content[offset:] {
			f.Fatalf("from %d: got %d bytes, want %d", offset, len(got), len(content)-offset)
		}
	}
	b, err := f.Blob(f.ctx, d)
	f.ok(err, "Blob")
	// HTTP has no empty range, so at the very end both answers are right.
	rc, err := b.Open(f.ctx, d.Size)
	if err == nil {
		raw, readErr := io.ReadAll(rc)
		if err = readErr; len(raw) > 0 {
			f.Fatalf("from the end: got %d bytes", len(raw))
		}
		f.ok(rc.Close(), "Close")
	}
	if err != nil {
		f.wants(err, store.ErrRange, "Open at the end")
	}
	_, err = b.Open(f.ctx, d.Size+1)
	f.wants(err, store.ErrRange, "Open after the end")
}

func blobExistence(f *fixture) {
	d := f.putBlob("hello")
	b, err := f.Blob(f.ctx, store.Descriptor{Digest: d.Digest, Size: store.UnknownSize})
	f.ok(err, "Blob of unknown size")
	f.same(d, b.Descriptor)
	f.holds(b.Descriptor, "hello")

	other := digest.FromString("not there")
	f.lacks(other)
	b, err = f.Blob(f.ctx, store.Descriptor{Digest: other, Size: 9})
	if err == nil {
		_, err = b.Open(f.ctx, 0)
	}
	f.wants(err, store.ErrNotFound, "opening an absent blob of known size")
}

func blobTwice(f *fixture) {
	d := f.putBlob("hello")
	put, err := f.PutBlob(f.ctx, store.NewBlob(typeText, []byte("hello")))
	f.ok(err, "PutBlob again")
	f.same(d, put.Descriptor)
	if put.How != store.Present && put.How != store.Sent {
		f.Errorf("How is %q, want %q or %q", put.How, store.Present, store.Sent)
	}
	f.holds(d, "hello")
}

// unnamed is a blob whose digest, and size unless given, must be learnt.
func unnamed(content string, size int64) store.Blob {
	b := store.NewBlob(typeText, []byte(content))
	b.Digest, b.Size = "", size
	return b
}

func blobWithoutDigest(f *fixture) {
	for _, content := range []string{"hello", big()} {
		put, err := f.PutBlob(f.ctx, unnamed(content, int64(len(content))))
		f.ok(err, "PutBlob")
		f.same(store.NewBlob(typeText, []byte(content)).Descriptor, put.Descriptor)
		f.holds(put.Descriptor, content)
	}
}

func blobWithoutSize(f *fixture) {
	for _, content := range []string{"hello", big()} {
		put, err := f.PutBlob(f.ctx, unnamed(content, store.UnknownSize))
		f.ok(err, "PutBlob")
		f.same(store.NewBlob(typeText, []byte(content)).Descriptor, put.Descriptor)
		f.holds(put.Descriptor, content)
	}
	put, err := f.PutBlob(f.ctx, unnamed("hello", store.UnknownSize))
	f.ok(err, "PutBlob again")
	f.holds(put.Descriptor, "hello")
}

func blobWithoutDigestWrongSize(f *fixture) {
	for _, size := range []int64{4, 6} {
		_, err := f.PutBlob(f.ctx, unnamed("hello", size))
		f.wants(err, store.ErrMismatch, "PutBlob")
		f.lacks(digest.FromString("hello"))
		f.lacks(digest.FromString("hell"))
	}
}

func blobNamedWithoutSize(f *fixture) {
	b := store.NewBlob(typeText, []byte("hello"))
	b.Size = store.UnknownSize
	put, err := f.PutBlob(f.ctx, b)
	f.ok(err, "PutBlob")
	f.same(store.NewBlob(typeText, []byte("hello")).Descriptor, put.Descriptor)
	f.holds(put.Descriptor, "hello")
}

// refuses puts a blob whose bytes are not what it says, and sees that the
// store is as it was: neither name leads to anything, and the right bytes are
// taken afterwards.
func refuses(claimed, actual string, want error) func(*fixture) {
	return func(f *fixture) {
		b := claiming(claimed, actual)
		_, err := f.PutBlob(f.ctx, b)
		f.wants(err, want, "PutBlob")
		f.lacks(b.Digest)
		f.lacks(digest.FromString(actual))
		f.holds(f.putBlob(claimed), claimed)
	}
}

func badDigest(f *fixture) {
	for _, d := range []digest.Digest{"sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e", "../../etc/passwd", "sha256:../../x"} {
		b := store.NewBlob(typeText, []byte("hello"))
		b.Digest = d
		_, err := f.PutBlob(f.ctx, b)
		f.wants(err, store.ErrInvalid, "PutBlob as "+d.String())
		if _, err := f.Blob(f.ctx, b.Descriptor); err == nil {
			f.Errorf("Blob %s: no error", d)
		}
	}
}

func brokenSource(f *fixture) {
	for _, n := range []int64{0, 1, 1 << 20} {
		b := store.NewBlob(typeText, []byte(big()))
		_, err := f.PutBlob(f.ctx, Broken(b, n, errBroken))
		f.wants(err, errBroken, "PutBlob")
		f.lacks(b.Digest)
	}
	f.holds(f.putBlob(big()), big())
}

func closedSource(f *fixture) {
	b := store.NewBlob(typeText, []byte("hello"))
	b.Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, errBroken }
	_, err := f.PutBlob(f.ctx, b)
	f.wants(err, errBroken, "PutBlob")
	f.lacks(b.Digest)
}

func brokenUnnamed(f *fixture) {
	_, err := f.PutBlob(f.ctx, Broken(unnamed("hello", store.UnknownSize), 3, errBroken))
	f.wants(err, errBroken, "PutBlob")
	f.lacks(digest.FromString("hel"))
}
