package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// ranger serves one blob in ranges, as tests tell it.
type ranger struct {
	content []byte
	etag    string
	delay   time.Duration // of each range, so that one stream is not fast enough
	fault   func(n int, from, to int64, w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	asked  []string // the fields Range
	now    int      // requests under way
	most   int      // of them at a time
	hidden bool     // no Range is honoured

	collected int   // calls of Collect
	pace      *Pace // of the client; nil adapts
}

func (s *ranger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.asked)
	s.asked = append(s.asked, r.Header.Get("Range"))
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	var from, to int64
	w.Header().Set("ETag", s.etag)
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err == nil && s.fault != nil && s.fault(n, from, to, w, r) {
		return
	}
	time.Sleep(s.delay)
	if s.hidden {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

func (s *ranger) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// blob is the content in a store whose ranges are small: from 4000 bytes left
// on, 100 bytes first, then 1000, in four buffers.
func (s *ranger) blob(t *testing.T, enough int64) store.Blob {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	plain := true
	st, err := Open(store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "app"}, Options{
		PlainHTTP: &plain, Retries: 2, Pace: s.pace, Collect: func() { s.collected++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := st.(*repository).client
	c.ranging, c.buffers = ranging{from: 4000, first: 100, size: 1000, enough: enough}, newBuffers(1000, 4)
	b, err := st.Blob(t.Context(), store.Descriptor{Digest: digest.FromBytes(s.content), Size: int64(len(s.content))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got := len(c.buffers.free); got != 4 {
			t.Errorf("%d of 4 buffers came back", got)
		}
	})
	return b
}

func readRanged(t *testing.T, b store.Blob, offset int64) ([]byte, error) {
	t.Helper()
	rc, err := b.Open(t.Context(), offset)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

func testContent(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i * i >> 3)
	}
	return content
}

// neverEnough is more than any stream of these tests brings.
const neverEnough = 1 << 50

func TestRanges(t *testing.T) {
	lies := func(header, value string) func(int, int64, int64, http.ResponseWriter, *http.Request) bool {
		return func(n int, _, _ int64, w http.ResponseWriter, r *http.Request) bool {
			if n == 2 {
				rec := httptest.NewRecorder()
				http.ServeContent(rec, r, "", time.Time{}, bytes.NewReader(testContent(9999)))
				rec.Header().Set(header, value)
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
			}
			return n == 2
		}
	}
	for _, tc := range []struct {
		name   string
		server *ranger
		offset int64
		enough int64
		asked  int // requests; 0 is not counted
		open   int // of them without an end
	}{
		{name: "in ranges", server: &ranger{delay: 5 * time.Millisecond}, enough: neverEnough, asked: 11},
		{name: "from an offset on", server: &ranger{delay: 5 * time.Millisecond}, offset: 5000, enough: neverEnough, asked: 6},
		{name: "little is left", offset: 6000, enough: neverEnough, asked: 1, open: 1},
		{name: "a fast stream", enough: 1, asked: 2, open: 1},
		{name: "no ranges", server: &ranger{hidden: true}, enough: neverEnough, asked: 1},
		{name: "no ranges, from an offset on", server: &ranger{hidden: true}, offset: 5000, enough: neverEnough, asked: 1},
		{name: "another validator", server: &ranger{etag: `"a"`, fault: lies("ETag", `"b"`)}, enough: neverEnough, open: 1},
		{name: "another range", server: &ranger{fault: lies("Content-Range", "bytes 101-1100/9999")}, enough: neverEnough, open: 1},
		{name: "another whole", server: &ranger{fault: lies("Content-Range", "bytes 1100-2099/9998")}, enough: neverEnough, open: 1},
		{name: "cut off once", server: &ranger{fault: cutAt(2, 400)}, enough: neverEnough, asked: 12},
		{name: "refused in the middle", server: &ranger{fault: refuse(3, http.StatusForbidden)}, enough: neverEnough, open: 1},
		{name: "refused in ranges alone", server: &ranger{fault: func(_ int, _, _ int64, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			return true
		}, hidden: true}, enough: neverEnough},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := tc.server
			if s == nil {
				s = &ranger{}
			}
			s.content = testContent(9999)
			got, err := readRanged(t, s.blob(t, tc.enough), tc.offset)
			if err != nil || !bytes.Equal(got, s.content[tc.offset:]) {
				t.Fatalf("%d bytes, %v, want %d", len(got), err, 9999-tc.offset)
			}
			asked, open := s.requests(), 0
			for _, r := range asked {
				if r == "" || strings.HasSuffix(r, "-") {
					open++
				}
			}
			if tc.asked > 0 && len(asked) != tc.asked || tc.open > 0 && open != tc.open {
				t.Errorf("%d requests, %d of them open, want %d and %d: %q", len(asked), open, tc.asked, tc.open, asked)
			}
			if tc.name == "in ranges" && s.most < 3 {
				t.Errorf("at most %d requests at a time", s.most)
			}
		})
	}
}

// cutAt breaks the n-th answer off after some bytes.
func cutAt(at int, after int64) func(int, int64, int64, http.ResponseWriter, *http.Request) bool {
	return func(n int, from, to int64, w http.ResponseWriter, _ *http.Request) bool {
		if n != at {
			return false
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/9999", from, to))
		w.Header().Set("Content-Length", fmt.Sprint(to+1-from))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(testContent(9999)[from : from+after])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func refuse(at, status int) func(int, int64, int64, http.ResponseWriter, *http.Request) bool {
	return func(n int, _, _ int64, w http.ResponseWriter, _ *http.Request) bool {
		if n == at {
			w.WriteHeader(status)
		}
		return n == at
	}
}

// TestRangesFailOnce: where the first range cannot be had, that is told, and not
// found out once more by asking for everything.
func TestRangesFailOnce(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusServiceUnavailable: store.ErrUnavailable, http.StatusTooManyRequests: store.ErrUnavailable,
		http.StatusUnauthorized: store.ErrUnauthorized,
	} {
		s := &ranger{content: testContent(9999)}
		s.fault = func(_ int, _, _ int64, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		}
		b := s.blob(t, neverEnough)
		if _, err := readRanged(t, b, 0); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
		most := 3 // with two further tries
		if status == http.StatusUnauthorized {
			most = 1
		}
		if asked := s.requests(); len(asked) > most {
			t.Errorf("%d: asked %d times, want %d: %q", status, len(asked), most, asked)
		}
	}
}

// TestRangesSlowFirst: a last range that comes fast ends the blob. There is no
// rest for which one stream would be enough.
func TestRangesSlowFirst(t *testing.T) {
	s := &ranger{content: testContent(9999), fault: func(n int, from, to int64, w http.ResponseWriter, _ *http.Request) bool {
		if n > 0 {
			return false
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/9999", from, to))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(testContent(9999)[from:to])
		w.(http.Flusher).Flush()
		time.Sleep(200 * time.Millisecond)
		_, _ = w.Write(testContent(9999)[to : to+1])
		return true
	}}
	got, err := readRanged(t, s.blob(t, 1000), 0) // 100 bytes in 200 ms are not enough
	if err != nil || !bytes.Equal(got, s.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if asked := s.requests(); len(asked) != 11 {
		t.Errorf("%d requests, want 11: %q", len(asked), asked)
	}
}

// TestRangesRedirected: where the registry redirects to is asked itself from
// then on, and the registry again when that place refuses.
// What each range leaves behind is collected before it is much, however large the
// blob is, and not with every range.
func TestRangesCollect(t *testing.T) {
	s := &ranger{content: testContent(2*collectEvery*1000 + 5000)}
	if got, err := readRanged(t, s.blob(t, neverEnough), 0); err != nil || !bytes.Equal(got, s.content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if s.collected != 2 {
		t.Errorf("collected %d times, want 2", s.collected)
	}
}

func TestRangesRedirected(t *testing.T) {
	content := testContent(9999)
	storage := &ranger{content: content, delay: 2 * time.Millisecond, fault: refuse(4, http.StatusForbidden)}
	behind := httptest.NewServer(storage)
	defer behind.Close()
	var mu sync.Mutex
	redirects := 0
	reg := &ranger{content: content, fault: func(_ int, _, _ int64, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		redirects++
		mu.Unlock()
		http.Redirect(w, r, behind.URL+"/blob?sig=x", http.StatusTemporaryRedirect)
		return true
	}}
	got, err := readRanged(t, reg.blob(t, neverEnough), 0)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if redirects != 2 || len(storage.requests()) != 12 {
		t.Errorf("the registry was asked %d times, the storage %d times, want 2 and 12", redirects, len(storage.requests()))
	}
}

// TestRangesRedirectedAnew: an address that expired is replaced by the one that the
// registry gives then, and not tried again with each range.
func TestRangesRedirectedAnew(t *testing.T) {
	content := testContent(20_000)
	var mu sync.Mutex
	redirects, refused := 0, 0
	storage := &ranger{content: content, delay: 2 * time.Millisecond}
	storage.fault = func(n int, _, _ int64, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		expired := n >= 5 && r.URL.Query().Get("sig") == "1"
		if expired {
			refused++
			w.WriteHeader(http.StatusForbidden)
		}
		return expired
	}
	behind := httptest.NewServer(storage)
	defer behind.Close()
	reg := &ranger{content: content, fault: func(_ int, _, _ int64, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		redirects++
		to := fmt.Sprintf("%s/blob?sig=%d", behind.URL, redirects)
		mu.Unlock()
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		return true
	}}
	got, err := readRanged(t, reg.blob(t, neverEnough), 0)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if refused == 0 || refused > 3 { // those that were under way
		t.Errorf("the old address was asked %d times after its end", refused)
	}
}

// TestRangesClosed: who stops reading leaves no request and no buffer behind.
func TestRangesClosed(t *testing.T) {
	s := &ranger{content: testContent(9999), delay: 10 * time.Millisecond}
	b := s.blob(t, neverEnough)
	for _, n := range []int64{0, 50, 100, 150, 3000} {
		rc, err := b.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, rc, n); err != nil {
			t.Fatal(err)
		}
		rc.Close()
		if _, err := rc.Read(make([]byte, 1)); err == nil {
			t.Error("it can be read when it is closed")
		}
	}
}

// TestRangesShared: more blobs than buffers are all read.
func TestRangesShared(t *testing.T) {
	s := &ranger{content: testContent(9999), delay: time.Millisecond}
	b := s.blob(t, neverEnough)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if got, err := readRanged(t, b, 0); err != nil || !bytes.Equal(got, s.content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
