package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// fake is a store that gives whatever it holds, be it what was asked for or not.
type fake struct {
	store.Store
	manifest store.Manifest
	blob     []byte
	wrap     func(io.Reader) io.Reader
}

func (f fake) Manifest(context.Context, string) (store.Manifest, error) { return f.manifest, nil }

func (f fake) Blob(_ context.Context, d store.Descriptor) (store.Blob, error) {
	b := store.NewBlob("", f.blob)
	open := b.Open
	b.Descriptor = d
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err == nil && f.wrap != nil {
			rc = io.NopCloser(f.wrap(rc))
		}
		return rc, err
	}
	return b, nil
}

func (fake) Support() store.Support {
	return store.Support{store.AbilityTagDelete: {Answer: store.Yes}, store.AbilityReferrersAPI: {Answer: store.Yes}}
}

// readers are the ways in which an io.Reader may give the same bytes.
func readers() map[string]func(io.Reader) io.Reader {
	return map[string]func(io.Reader) io.Reader{
		"plain": nil, "one byte at a time": iotest.OneByteReader, "halves": iotest.HalfReader,
		"the end with the last bytes": iotest.DataErrReader,
	}
}

func TestVerifyBlob(t *testing.T) {
	good := []byte("hello, this is content")
	want := store.NewBlob("", good).Descriptor
	for name, actual := range map[string]string{
		"right": string(good), "flipped": "hellO, this is content", "last byte": "hello, this is contenT",
		"short": "hello", "long": string(good) + "!", "much longer": string(bytes.Repeat(good, 9)), "empty": "",
	} {
		for how, wrap := range readers() {
			s := store.Verify(fake{blob: []byte(actual), wrap: wrap})
			b, err := s.Blob(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			rc, err := b.Open(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if name == "right" {
				if err != nil || !bytes.Equal(got, good) {
					t.Errorf("%s, %s: %q, %v", name, how, got, err)
				}
				continue
			}
			if !errors.Is(err, store.ErrMismatch) {
				t.Errorf("%s, %s: got %v, want ErrMismatch", name, how, err)
			}
			// Who copies what comes never has the size that it waits for.
			if len(got) >= len(good) {
				t.Errorf("%s, %s: all %d bytes were given out", name, how, len(got))
			}
			if n, again := rc.Read(make([]byte, 10)); n != 0 || !errors.Is(again, store.ErrMismatch) {
				t.Errorf("%s, %s: reading on gives %d, %v", name, how, n, again)
			}
		}
	}
}

func TestVerifyEmptyBlob(t *testing.T) {
	for content, want := range map[string]error{"": nil, "x": store.ErrMismatch} {
		b, _ := store.Verify(fake{blob: []byte(content)}).Blob(t.Context(), store.NewBlob("", nil).Descriptor)
		rc, err := b.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); !errors.Is(err, want) || len(got) > 0 {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
}

func TestVerifyBlobFromOffset(t *testing.T) {
	want := store.NewBlob("", []byte("0123456789")).Descriptor
	for actual, sentinel := range map[string]error{
		"0123456789": nil, "xxx3456789": nil, "01234567": store.ErrMismatch, "0123456789!": store.ErrMismatch,
	} {
		b, _ := store.Verify(fake{blob: []byte(actual)}).Blob(t.Context(), want)
		rc, err := b.Open(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); !errors.Is(err, sentinel) || err == nil && string(got) != "3456789" {
			t.Errorf("%q from 3: got %q, %v", actual, got, err)
		}
	}
}

func TestVerifyRefusesBadDigest(t *testing.T) {
	d := store.Descriptor{Digest: "sha256:abc", Size: 3}
	if _, err := store.Verify(fake{blob: []byte("abc")}).Blob(t.Context(), d); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := store.NewVerifier(io.NopCloser(bytes.NewReader(nil)), d).Read(nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyHandsOnErrors(t *testing.T) {
	errBroken := errors.New("broken")
	broken := func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, 3), iotest.ErrReader(errBroken)) }
	b, _ := store.Verify(fake{blob: []byte("hello"), wrap: broken}).Blob(t.Context(), store.NewBlob("", []byte("hello")).Descriptor)
	if raw, err := store.ReadBlob(t.Context(), b, 10); !errors.Is(err, errBroken) || errors.Is(err, store.ErrMismatch) {
		t.Errorf("got %q, %v", raw, err)
	}
}

func TestVerifyManifest(t *testing.T) {
	good := store.NewManifest(store.MediaTypeImage, []byte("{}"))
	flipped, longer, other := good, good, store.NewManifest(store.MediaTypeImage, []byte("{ }"))
	flipped.Raw = []byte("[]")
	longer.Size = 3
	byName := good
	byName.Digest = digest.SHA512.FromBytes(good.Raw)
	for name, tc := range map[string]struct {
		ref  string
		have store.Manifest
		want error
	}{
		"by tag":               {"v1", good, nil},
		"by digest":            {good.Digest.String(), good, nil},
		"by sha512":            {byName.Digest.String(), byName, nil},
		"flipped by tag":       {"v1", flipped, store.ErrMismatch},
		"flipped by digest":    {good.Digest.String(), flipped, store.ErrMismatch},
		"another by digest":    {good.Digest.String(), other, store.ErrMismatch},
		"another size":         {"v1", longer, store.ErrMismatch},
		"without a digest":     {"v1", store.Manifest{Raw: []byte("{}")}, store.ErrInvalid},
		"nothing, by a digest": {good.Digest.String(), store.Manifest{Descriptor: good.Descriptor}, store.ErrMismatch},
	} {
		m, err := store.Verify(fake{manifest: tc.have}).Manifest(t.Context(), tc.ref)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		if tc.want != nil && len(m.Raw) > 0 {
			t.Errorf("%s: bytes were given out", name)
		}
	}
}

// observe gives what a sink is told while a blob is read from these offsets.
func observe(t *testing.T, wrap func(store.Blob, store.Sink) store.Blob, b store.Blob, read func(store.Blob)) []string {
	t.Helper()
	var told []string
	read(wrap(b, func(e store.Event) {
		s := string(e.Kind)
		if e.Kind == store.Advance {
			s += " " + map[bool]string{true: "+", false: "-"}[e.Bytes > 0]
			s += string(rune('0' + max(e.Bytes, -e.Bytes)))
		}
		if e.Name != "name" || e.Desc.Digest != b.Digest {
			s += " of " + e.Name
		}
		told = append(told, s)
	}))
	return told
}

func TestObserve(t *testing.T) {
	errBroken := errors.New("broken")
	b := store.NewBlob("t/x", []byte("12345"))
	b.Annotations = map[string]string{"org.opencontainers.image.title": "name"}
	read := func(n, offset int64) func(store.Blob) {
		return func(b store.Blob) {
			rc, err := b.Open(t.Context(), offset)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			if _, err := io.Copy(io.Discard, io.LimitReader(rc, n)); err != nil && !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
		}
	}
	twice := func(first, second func(store.Blob)) func(store.Blob) {
		return func(b store.Blob) { first(b); second(b) }
	}
	through := func(wrap func(io.Reader) io.Reader) func(store.Blob, store.Sink) store.Blob {
		return func(b store.Blob, sink store.Sink) store.Blob {
			got, err := store.Observe(fake{blob: []byte("12345"), wrap: wrap}, sink).Blob(t.Context(), b.Descriptor)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
	}
	broken := func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, 3), iotest.ErrReader(errBroken)) }
	for name, tc := range map[string]struct {
		wrap func(store.Blob, store.Sink) store.Blob
		read func(store.Blob)
		want []string
	}{
		"whole":           {through(nil), read(9, 0), []string{"start", "advance +5", "done"}},
		"from an offset":  {through(nil), read(9, 2), []string{"start", "advance +2", "advance +3", "done"}},
		"broken":          {through(broken), read(9, 0), []string{"start", "advance +3", "failed"}},
		"cut and resumed": {through(nil), twice(read(3, 0), read(9, 3)), []string{"start", "advance +3", "advance +2", "done"}},
		"started over":    {through(nil), twice(read(3, 0), read(9, 0)), []string{"start", "advance +3", "advance -3", "advance +5", "done"}},
		"counted":         {store.CountBlob, read(9, 0), []string{"advance +5"}},
		"counted twice":   {store.CountBlob, twice(read(9, 0), read(9, 1)), []string{"advance +5", "advance -4", "advance +4"}},
	} {
		if diff := cmp.Diff(tc.want, observe(t, tc.wrap, b, tc.read)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReadOnly(t *testing.T) {
	m := store.NewManifest(store.MediaTypeImage, []byte("{}"))
	s := store.ReadOnly(fake{manifest: m})
	_, put := s.PutBlob(t.Context(), store.NewBlob("", nil))
	for name, err := range map[string]error{
		"PutBlob": put, "PutManifest": s.PutManifest(t.Context(), m, "v1"), "DeleteBlob": s.DeleteBlob(t.Context(), m.Descriptor),
		"DeleteManifest": s.DeleteManifest(t.Context(), m.Descriptor), "Untag": s.Untag(t.Context(), "v1"),
	} {
		if !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got, err := s.Manifest(t.Context(), "v1"); err != nil || got.Digest != m.Digest {
		t.Errorf("reading: %v, %v", got.Digest, err)
	}
	for a, want := range map[store.Ability]store.Answer{
		store.AbilityTagDelete: store.No, store.AbilityBlobDelete: store.No, store.AbilityReferrersAPI: store.Yes, store.AbilityMount: store.Unknown,
	} {
		if got := s.Support().Of(a); got != want {
			t.Errorf("%s is %v, want %v", a, got, want)
		}
	}
}

func TestReadBlob(t *testing.T) {
	b := store.NewBlob("", []byte("hello"))
	if raw, err := store.ReadBlob(t.Context(), b, 5); err != nil || string(raw) != "hello" {
		t.Errorf("got %q, %v", raw, err)
	}
	if _, err := store.ReadBlob(t.Context(), b, 4); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	b.Size = store.UnknownSize
	if _, err := store.ReadBlob(t.Context(), b, 4); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("without a size: got %v", err)
	}
	b.Digest = digest.FromString("other")
	if _, err := store.ReadBlob(t.Context(), b, 100); !errors.Is(err, store.ErrMismatch) {
		t.Errorf("other content: got %v", err)
	}
}
