package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// parts is an artifact of contents whose digests are learnt by reading.
func parts(contents ...[]byte) (graph.Parts, *atomic.Int64) {
	var read atomic.Int64
	var p graph.Parts
	for _, c := range contents {
		p.Blobs = append(p.Blobs, store.Blob{
			Descriptor: store.Descriptor{MediaType: "text/plain", Size: int64(len(c))},
			Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
				read.Add(int64(len(c)) - offset)
				return io.NopCloser(bytes.NewReader(c[offset:])), nil
			},
		})
	}
	p.Finish = func(descs []store.Descriptor) (store.Manifest, error) {
		raw, err := json.Marshal(map[string]any{"mediaType": store.MediaTypeImage, "layers": descs})
		return store.NewManifest(store.MediaTypeImage, raw), err
	}
	p.Hash = func(context.Context, store.Sink) ([]store.Descriptor, error) {
		var descs []store.Descriptor
		for _, c := range contents {
			read.Add(int64(len(c)))
			descs = append(descs, store.Descriptor{MediaType: "text/plain", Digest: digest.FromBytes(c), Size: int64(len(c))})
		}
		return descs, nil
	}
	return p, &read
}

func push(t *testing.T, p graph.Parts, dst store.Store, tags ...string) graph.Result {
	t.Helper()
	res, err := graph.Push(t.Context(), p, dst, graph.Options{Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestPushReadsOnceAndTagsLast(t *testing.T) {
	dst := newRecorder()
	big := bytes.Repeat([]byte("x"), 2<<20)
	p, read := parts(big, []byte("small"))
	res := push(t, p, dst, "v1", "v2")
	if got, want := read.Load(), int64(len(big)+5); got != want {
		t.Errorf("read %d bytes, want %d", got, want)
	}
	if res.Sent != 2 || res.Bytes != int64(len(big)+5) || res.Manifests != 1 {
		t.Errorf("result %+v", res)
	}
	if last := dst.log[len(dst.log)-1]; last != "manifest "+res.Root.Digest.String()+" v1,v2" {
		t.Errorf("last came %s", last)
	}
}

// Small files are sent without a question; a large one is asked for first.
func TestPushAsksOnlyForLargeContent(t *testing.T) {
	small, _ := parts([]byte("small"))
	large, _ := parts(bytes.Repeat([]byte("x"), 2<<20))
	for want, p := range map[string]graph.Parts{"": small, "resolve v1": large} {
		dst := newRecorder()
		push(t, p, dst, "v1")
		got := ""
		if i := slices.IndexFunc(dst.log, func(s string) bool { return strings.HasPrefix(s, "resolve") }); i >= 0 {
			got = dst.log[i]
		}
		if got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
}

func TestPushAgainSendsNothingLarge(t *testing.T) {
	dst := newRecorder()
	p, _ := parts(bytes.Repeat([]byte("x"), 2<<20))
	first := push(t, p, dst, "v1")
	dst.log = nil
	again := push(t, p, dst, "v1")
	if again.Root.Digest != first.Root.Digest || !again.Exists || len(dst.log) != 1 {
		t.Errorf("second push: %+v, did %v", again, dst.log)
	}
}

func TestPushThatFailsSetsNoTag(t *testing.T) {
	boom := errors.New("boom")
	p, _ := parts([]byte("a"), []byte("b"))
	p.Blobs[1].Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, boom }
	dst := newRecorder()
	_, err := graph.Push(t.Context(), p, dst, graph.Options{Tags: []string{"v1"}})
	var side *graph.Error
	if !errors.Is(err, boom) || !errors.As(err, &side) || side.Side != graph.Source {
		t.Errorf("got %v", err)
	}
	if len(dst.puts()) != 0 {
		t.Errorf("put %v", dst.puts())
	}
}

// Where large content may be there already, its digest is asked for before it is
// sent. The other content need not be read before that: sending begins at once.
func TestPushHashesWhatComesNext(t *testing.T) {
	dst := newRecorder()
	old, _ := parts([]byte("old"))
	push(t, old, dst, "v1")
	p, _ := parts(bytes.Repeat([]byte("a"), 3<<20), bytes.Repeat([]byte("b"), 2<<20))
	for i, b := range p.Blobs {
		p.Blobs[i].Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			dst.note("read %d", i)
			return b.Open(ctx, offset)
		}
	}
	dst.log = nil
	asks := &naming{recorder: dst}
	if _, err := graph.Push(t.Context(), p, asks, graph.Options{Tags: []string{"v2"}, Concurrency: 1}); err != nil {
		t.Fatal(err)
	}
	var done []string
	for _, line := range dst.log {
		if kind, _, _ := strings.Cut(line, " "); kind == "read" || kind == "blob" {
			done = append(done, strings.TrimSuffix(line[:min(len(line), 6)], " "))
		}
	}
	// Once for the digest, and once to send it.
	if want := []string{"read 0", "read 0", "blob s", "read 1", "read 1", "blob s"}; !slices.Equal(done, want) {
		t.Errorf("done %q, want %q", done, want)
	}
	if asks.unnamed > 0 {
		t.Errorf("%d blobs were put without their digests", asks.unnamed)
	}
}

// naming counts the blobs that are put without a digest that could be asked for.
type naming struct {
	*recorder
	unnamed int
}

func (a *naming) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	if b.Digest == "" {
		a.unnamed++
	}
	return a.recorder.PutBlob(ctx, b)
}
