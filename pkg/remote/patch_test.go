package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// cutter is a registry whose line is cut after so many bytes of each PATCH in
// turn. It counts what came and what was asked.
type cutter struct {
	url  string
	next http.Handler
	lie  string // instead of what a GET of an upload says in Range
	once bool   // the first one only
	deny func(method string, nth int) (status int)

	mu    sync.Mutex
	cuts  []int64
	came  int64
	count map[string]int // by method
}

type connKey struct{}

func newCutter(t *testing.T, q serve.Quirks, cuts ...int64) (*cutter, store.Store) {
	t.Helper()
	c := startCutter(t, q, cuts...)
	return c, c.open(t, remote.Options{Retries: 3})
}

func startCutter(t *testing.T, q serve.Quirks, cuts ...int64) *cutter {
	t.Helper()
	q.Sparse = true
	registry := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: q})
	t.Cleanup(func() { _ = registry.Close() }) // with uploads that broke off, which it keeps in memory
	c := &cutter{next: registry, cuts: cuts, count: map[string]int{}}
	srv := httptest.NewUnstartedServer(c)
	srv.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// open opens the registry as another process would.
func (c *cutter) open(t *testing.T, opts remote.Options) store.Store {
	t.Helper()
	opts.Events = func(e store.Event) {
		if e.Kind == store.Fallback {
			t.Errorf("another way was taken: %s", e.Text)
		}
	}
	s, err := remote.Open(registryRef(c.url, "app"), plain(opts))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.count[r.Method]++
	if r.Method == http.MethodPatch {
		left := int64(1 << 40)
		if len(c.cuts) > 0 {
			left, c.cuts = c.cuts[0], c.cuts[1:]
		}
		r.Body = &cutBody{ReadCloser: r.Body, of: c, left: left, conn: r.Context().Value(connKey{}).(net.Conn)}
	}
	lie, refusal := c.lie, 0
	if c.once && c.count[http.MethodGet] > 1 {
		lie = ""
	}
	if c.deny != nil {
		refusal = c.deny(r.Method, c.count[r.Method])
	}
	c.mu.Unlock()
	if refusal != 0 {
		w.WriteHeader(refusal)
		return
	}
	if lie != "" && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/uploads/") {
		w.Header().Set("Range", lie)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	c.next.ServeHTTP(w, r)
}

// denies refuses from now on what deny gives a status for; nil is nothing.
func (c *cutter) denies(deny func(method string, nth int) (status int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deny = deny
}

// says gives lie as the Range of an upload from now on: for the first GET only where
// once is said. "" is the truth.
func (c *cutter) says(lie string, once bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lie, c.once = lie, once
}

// cutsAt breaks off the next uploads after so many bytes each.
func (c *cutter) cutsAt(cuts ...int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts = cuts
}

// counted is how often a method was used, and how many bytes came.
func (c *cutter) counted(method string) (n int, came int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[method], c.came
}

type cutBody struct {
	io.ReadCloser
	of   *cutter
	left int64
	conn net.Conn
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	b.of.came += int64(n)
	return n, err
}

// fiveMiB is a blob that is no run of equal bytes: a part in the wrong place shows.
func fiveMiB() store.Blob {
	raw := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(raw)
	return store.NewBlob("", raw)
}

func nameless(b store.Blob, size int64) store.Blob {
	b.Digest, b.Size = "", size
	return b
}

// An upload that is cut goes on at what the registry has, where it says so.
func TestUploadGoesOn(t *testing.T) {
	big := fiveMiB()
	const cut1, cut2 = 2 << 20, 1<<20 + 7
	for _, tc := range []struct {
		name   string
		quirks serve.Quirks
		lie    string
		posts  int   // uploads that were opened
		came   int64 // bytes
	}{
		{name: "as the spec has it", posts: 1, came: big.Size},
		{name: "with a unit", quirks: serve.Quirks{RangeUnit: true}, posts: 1, came: big.Size},
		{name: "the registry does not say", quirks: serve.Quirks{NoProgress: true}, posts: 3, came: big.Size + cut1 + cut2},
		{name: "the registry cannot say", quirks: serve.Quirks{UploadStatus: serve.Answer{Status: 404}}, posts: 3, came: big.Size + cut1 + cut2},
		{name: "the registry says too much", lie: "0-99999999", posts: 3, came: big.Size + cut1 + cut2},
		{name: "the registry says too little", lie: "0-99999", posts: 2, came: 2 * big.Size},
		{name: "the registry says nonsense", lie: "1-5", posts: 3, came: big.Size + cut1 + cut2},
	} {
		for kind, b := range map[string]store.Blob{
			"": nameless(big, big.Size), ", of unknown size": nameless(big, store.UnknownSize), ", of known digest": big,
		} {
			t.Run(tc.name+kind, func(t *testing.T) {
				t.Parallel()
				c, s := newCutter(t, tc.quirks, cut1, cut2)
				c.says(tc.lie, false)
				read, counted := countReads(b)
				put, err := s.PutBlob(t.Context(), counted)
				if err != nil || put.Digest != big.Digest || put.Size != big.Size {
					t.Fatalf("got %+v, %v", put, err)
				}
				if _, err := s.Blob(t.Context(), big.Descriptor); err != nil {
					t.Error(err)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if tc.lie == "0-99999" && b.Size < 0 {
					return // found out at the end only; that the content is right has to do
				}
				if c.count["POST"] != tc.posts || c.came > tc.came {
					t.Errorf("%d uploads and %d bytes, want %d and at most %d", c.count["POST"], c.came, tc.posts, tc.came)
				}
				// The hash goes on from a mark, which are 1 MiB apart: a source is not
				// read again from its beginning, although each time to its end, for all
				// of it fits into what lies between.
				most := big.Size + (big.Size - cut1) + (big.Size - cut1 - cut2) + 2<<20
				if n := read.Load(); b.Digest != "" && tc.posts == 1 && n > most {
					t.Errorf("%d bytes were read, want at most %d", n, most)
				}
			})
		}
	}
}

// A busy registry still reads what came before the cut when it is asked for the
// first time: it is asked again, and nothing is sent twice.
func TestUploadGoesOnAtRest(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"a part": "0-99999", "nothing yet": "0-0"} {
		big := fiveMiB()
		c, s := newCutter(t, serve.Quirks{}, 3<<20)
		c.says(first, true)
		if put, err := s.PutBlob(t.Context(), big); err != nil || put.Digest != big.Digest {
			t.Fatalf("%s: got %+v, %v", name, put, err)
		}
		c.mu.Lock()
		if c.count["POST"] != 1 || c.count["PATCH"] != 2 || c.came != big.Size {
			t.Errorf("%s: %v and %d bytes, want one upload, two requests for it and %d bytes", name, c.count, c.came, big.Size)
		}
		c.mu.Unlock()
	}
}

// countReads counts the bytes that are read of a blob.
func countReads(b store.Blob) (*atomic.Int64, store.Blob) {
	n, open := &atomic.Int64{}, b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		return readCounter{rc, n}, err
	}
	return n, b
}

type readCounter struct {
	io.ReadCloser
	n *atomic.Int64
}

func (r readCounter) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// Chunks go on at the one that was cut, with what came of it.
func TestChunksGoOn(t *testing.T) {
	big := fiveMiB()
	const size, cut = 1 << 20, 300 << 10
	for kind, b := range map[string]store.Blob{"named": big, "unnamed": nameless(big, big.Size)} {
		for name, tc := range map[string]struct {
			quirks serve.Quirks
			posts  int
			came   int64
		}{
			"as the spec has it":       {posts: 1, came: big.Size},
			"the registry cannot tell": {quirks: serve.Quirks{UploadStatus: serve.Answer{Status: 404}}, posts: 2, came: big.Size + size + cut},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				c := startCutter(t, tc.quirks, 1<<40, cut)
				put, err := c.open(t, remote.Options{Retries: 3, ChunkSize: size}).PutBlob(t.Context(), b)
				if err != nil || put.Digest != big.Digest {
					t.Fatalf("got %+v, %v", put, err)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.count["POST"] != tc.posts || c.came > tc.came || c.count["PATCH"] < 6 {
					t.Errorf("%v and %d bytes, want %d uploads and at most %d bytes", c.count, c.came, tc.posts, tc.came)
				}
			})
		}
	}
}

// A line that is always cut ends the upload only when nothing goes on any more.
func TestOnlyTriesWithoutProgressCount(t *testing.T) {
	t.Parallel()
	cuts := make([]int64, 5) // and three tries
	for i := range cuts {
		cuts[i] = 100 << 10
	}
	c, s := newCutter(t, serve.Quirks{}, cuts...)
	big := fiveMiB()
	if put, err := s.PutBlob(t.Context(), nameless(big, big.Size)); err != nil || put.Digest != big.Digest {
		t.Errorf("got %+v, %v", put, err)
	}
	if _, came := c.counted(""); came != big.Size {
		t.Errorf("%d bytes came, want %d", came, big.Size)
	}
}

// Of content that changes between two tries the registry would get the
// beginning of one and the end of the other.
func TestUploadOfChangedContent(t *testing.T) {
	t.Parallel()
	big := fiveMiB()
	raw, err := store.ReadBlob(t.Context(), big, big.Size)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(raw)
	other[1000] ^= 1
	for name, second := range map[string][]byte{"another byte": other, "shorter": raw[:1<<20]} {
		for _, size := range []int64{big.Size, store.UnknownSize} {
			c, s := newCutter(t, serve.Quirks{}, 2<<20)
			b := nameless(big, size)
			b.Open = func(_ context.Context, offset int64) (io.ReadCloser, error) {
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.count["PATCH"] == 0 {
					return io.NopCloser(bytes.NewReader(raw[offset:])), nil
				}
				return io.NopCloser(bytes.NewReader(second[min(offset, int64(len(second))):])), nil
			}
			_, err := s.PutBlob(t.Context(), b)
			if !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrMismatch) {
				t.Errorf("%s: got %v", name, err)
			}
			puts, _ := c.counted("PUT")
			if deletes, _ := c.counted("DELETE"); puts > 0 || deletes != 1 {
				t.Errorf("%s: the upload was not given up: %d PUT, %d DELETE", name, puts, deletes)
			}
		}
	}
}
