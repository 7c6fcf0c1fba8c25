package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

func TestBlobSize(t *testing.T) {
	sized := answer(200, content5, "Content-Length", "5")
	for _, tc := range []struct {
		name  string
		head  http.HandlerFunc
		get   http.HandlerFunc
		asked []string
		err   error
	}{
		{name: "HEAD", head: sized, asked: []string{head}},
		{name: "HEAD not allowed", head: answer(405, ""), get: sized, asked: []string{head, "GET blobs/{d}"}},
		{name: "never said", head: answer(405, ""), get: chunked, asked: []string{head, "GET blobs/{d}"}},
		{name: "absent", asked: []string{head}, err: store.ErrNotFound},
		{name: "not allowed", head: answer(401, ""), asked: []string{head}, err: store.ErrUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{}, map[string]http.HandlerFunc{"HEAD blobs/" + dgst.String(): tc.head, "GET blobs/" + dgst.String(): tc.get})
			b, err := st.Blob(t.Context(), store.Descriptor{Digest: dgst, Size: store.UnknownSize})
			if !errors.Is(err, tc.err) || err == nil && b.Size != 5 {
				t.Errorf("got %d, %v, want 5, %v", b.Size, err, tc.err)
			}
			s.asked(tc.asked...)
		})
	}
}

// chunked sends the content without its length.
func chunked(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusOK)
	for _, c := range content5 {
		_, _ = io.WriteString(w, string(c))
		w.(http.Flusher).Flush()
	}
}

// breaks promises the whole content and breaks off after n bytes of it.
func breaks(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, content5[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// part sends the content from an offset on, says that it is `says`, and breaks
// off after n bytes.
func part(offset int, says string, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", says)
		w.Header().Set("Content-Length", strconv.Itoa(5-offset))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, content5[offset:offset+n])
		w.(http.Flusher).Flush()
		if offset+n < 5 {
			panic(http.ErrAbortHandler)
		}
	}
}

func TestOpenBlob(t *testing.T) {
	whole := answer(200, content5, "Content-Length", "5")
	const get, from2 = "GET blobs/{d}", "GET blobs/{d} bytes=2-"
	for _, tc := range []struct {
		name   string
		offset int64
		get    http.HandlerFunc
		asked  []string
		err    error // of Open or Read
	}{
		{name: "whole", get: whole, asked: []string{get}},
		{name: "without a length", get: chunked, asked: []string{get}},
		{name: "a part", offset: 2, get: part(2, "bytes 2-4/5", 3), asked: []string{from2}},
		{name: "a part of unknown whole", offset: 2, get: part(2, "bytes 2-4/*", 3), asked: []string{from2}},
		{name: "no parts", offset: 2, get: whole, asked: []string{from2}},
		{name: "another part", offset: 2, get: turns(part(1, "bytes 1-4/5", 4), whole), asked: []string{from2, get}},
		{name: "a part that says it is another", offset: 2, get: turns(part(2, "bytes 1-4/5", 3), whole), asked: []string{from2, get}},
		{name: "a part of another whole", offset: 2, get: turns(part(2, "bytes 2-4/9", 3), whole), asked: []string{from2, get}},
		{name: "a part without its range", offset: 2, get: turns(part(2, "", 3), whole), asked: []string{from2, get}},
		{name: "the end", offset: 5},
		{name: "behind the end", offset: 6, err: store.ErrRange},
		{name: "before the beginning", offset: -1, err: store.ErrRange},
		{name: "goes on after a break", get: turns(breaks(2), part(2, "bytes 2-4/5", 3)), asked: []string{get, from2}},
		{
			name: "goes on after more breaks than tries, with progress", get: turns(breaks(1),
				part(1, "bytes 1-4/5", 1), part(2, "bytes 2-4/5", 1), part(3, "bytes 3-4/5", 1), part(4, "bytes 4-4/5", 1)),
			asked: []string{get, "GET blobs/{d} bytes=1-", from2, "GET blobs/{d} bytes=3-", "GET blobs/{d} bytes=4-"},
		},
		{name: "starts over without parts", get: turns(breaks(2), whole), asked: []string{get, from2}},
		{name: "starts over and breaks again", get: turns(breaks(2), breaks(1), whole), asked: []string{get, from2, from2}},
		{name: "never uses a wrong part", get: turns(breaks(2), part(0, "bytes 0-4/5", 5), whole), asked: []string{get, from2, get}},
		{name: "gives up without progress", get: turns(breaks(2), breaks(2)), asked: []string{get, from2, from2}, err: store.ErrUnavailable},
		{name: "hangs up after a break", get: turns(breaks(2), hangUp), asked: []string{get, from2, from2, from2}, err: store.ErrUnavailable},
		{name: "is gone after a break", get: turns(breaks(2), answer(404, "")), asked: []string{get, from2}, err: store.ErrNotFound},
		{name: "another size", get: answer(200, "hell", "Content-Length", "4"), asked: []string{get}, err: store.ErrMismatch},
		{name: "longer than it says", get: neverEnds, asked: []string{get}, err: store.ErrMismatch},
		{name: "absent", asked: []string{get}, err: store.ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, st := newScript(t, Options{Retries: 2}, map[string]http.HandlerFunc{"GET blobs/" + dgst.String(): tc.get})
			b, err := st.Blob(t.Context(), store.Descriptor{Digest: dgst, Size: 5})
			if err != nil {
				t.Fatal(err)
			}
			s.asked() // the size is known: nothing to ask
			got, err := readAll(t, b, tc.offset)
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("%v would be taken for the end of the content", err)
			}
			if tc.err == nil && got != content5[tc.offset:] {
				t.Errorf("got %q", got)
			}
			s.asked(tc.asked...)
		})
	}
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func neverEnds(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		w.(http.Flusher).Flush()
	}
}

func readAll(t *testing.T, b store.Blob, offset int64) (string, error) {
	t.Helper()
	rc, err := b.Open(t.Context(), offset)
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(rc)
	if err := rc.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	return string(raw), err
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/5", "bytes 0-4/*", "bytes */5", "bytes 4-0/5", "bytes 0-9223372036854775808/*", "Bytes  1-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, ok := parseContentRange(s)
		if !ok {
			return
		}
		if first < 0 || last < first || total >= 0 && last >= total {
			t.Fatalf("%q: %d-%d/%d", s, first, last, total)
		}
		again := fmt.Sprintf("bytes %d-%d/%d", first, last, total)
		if total < 0 {
			again = fmt.Sprintf("bytes %d-%d/*", first, last)
		}
		if a, b, c, ok := parseContentRange(again); !ok || a != first || b != last || c != total {
			t.Fatalf("%q is read as %q, which is read as %d-%d/%d", s, again, a, b, c)
		}
	})
}

// dribble is a registry that breaks off after 100 bytes of each answer.
func dribble(content []byte) (http.HandlerFunc, *atomic.Int32) {
	var asked atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[from:min(from+100, len(content))])
		if from+100 < len(content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}, &asked
}

// TestBreaksAfterLittle: a registry that breaks off after a few bytes, again and
// again, is not given up, and not asked as fast as it answers.
func TestBreaksAfterLittle(t *testing.T) {
	t.Parallel()
	content := testContent(1_000_000)
	handler, asked := dribble(content)
	dgst := digest.FromBytes(content)
	_, st := newScript(t, Options{Retries: 2}, map[string]http.HandlerFunc{"GET blobs/" + dgst.String(): handler})
	b, err := st.Blob(t.Context(), store.Descriptor{Digest: dgst, Size: int64(len(content))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	rc, err := b.Open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	n, err := io.Copy(io.Discard, rc)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up after %d bytes: %v", n, err)
	}
	if got := asked.Load(); got < 4 || got > 20 {
		t.Errorf("asked %d times in 3 s", got)
	}
}
