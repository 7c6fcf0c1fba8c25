package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

const (
	post   = "POST blobs/uploads/"
	single = "POST blobs/uploads/?digest={d} hello"
	head   = "HEAD blobs/{d}"
	status = "GET blobs/uploads/1"
)

// opened is an answer that opens an upload at this Location.
func opened(location string) http.HandlerFunc { return answer(202, "", "Location", location) }

// uploads are the handlers of a plain upload at blobs/uploads/1.
func uploads(extra map[string]http.HandlerFunc) map[string]http.HandlerFunc {
	on := map[string]http.HandlerFunc{
		post:                     opened("/v2/app/blobs/uploads/1"),
		"PUT blobs/uploads/1":    answer(201, ""),
		"PATCH blobs/uploads/1":  opened("/v2/app/blobs/uploads/1"),
		"DELETE blobs/uploads/1": answer(204, ""),
	}
	for k, h := range extra {
		on[k] = h
	}
	return on
}

func TestPutSmallBlob(t *testing.T) {
	const put = "PUT blobs/uploads/1?digest={d} hello"
	for _, tc := range []struct {
		name  string
		on    map[string]http.HandlerFunc
		asked []string
		told  []string
		err   error
	}{
		{name: "one POST", on: map[string]http.HandlerFunc{post: answer(201, "")}, asked: []string{single}},
		{name: "the registry opens an upload", asked: []string{single, put}, told: []string{"post-put"}},
		{
			name: "the registry refuses a body", on: map[string]http.HandlerFunc{post: turns(answer(413, ""), opened("/v2/app/blobs/uploads/1"))},
			asked: []string{single, post, put}, told: []string{"post-put"},
		},
		{name: "not allowed", on: map[string]http.HandlerFunc{post: answer(403, code("DENIED"))}, asked: []string{single}, err: store.ErrDenied},
		{
			name: "stored as something else", on: map[string]http.HandlerFunc{post: answer(201, "", "Docker-Content-Digest", digest.FromString("x").String())},
			asked: []string{single}, err: store.ErrMismatch,
		},
		{
			name: "Location with a query and without a host", on: map[string]http.HandlerFunc{post: opened("1?_state=a%2Fb&x=%3D")},
			asked: []string{single, "PUT blobs/uploads/1?_state=a%2Fb&x=%3D&digest={d} hello"}, told: []string{"post-put"},
		},
		{name: "no Location", on: map[string]http.HandlerFunc{post: answer(202, "")}, asked: []string{single}, err: store.ErrInvalid},
		{
			name: "the blob is refused", on: map[string]http.HandlerFunc{"PUT blobs/uploads/1": answer(400, code("DIGEST_INVALID"))},
			asked: []string{single, put, "DELETE blobs/uploads/1"}, told: []string{"post-put"}, err: store.ErrRefused,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{}, uploads(tc.on))
			storesByPost(st)
			p, err := st.PutBlob(t.Context(), store.NewBlob("text/plain", []byte(content5)))
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if err == nil && (p.How != store.Sent || p.Digest != dgst || p.Size != 5) {
				t.Errorf("got %+v", p)
			}
			s.asked(tc.asked...)
			s.told(tc.told...)
		})
	}
}

// A registry that once answered 202 gets no body twice, and nothing is sent
// that was sent before.
func TestPutBlobLearns(t *testing.T) {
	s, st := newScript(t, Options{}, uploads(nil))
	storesByPost(st)
	for _, text := range []string{"hello", "second", "second"} {
		if _, err := st.PutBlob(t.Context(), store.NewBlob("", []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	second := strings.Replace(digest.FromString("second").String(), ":", "%3A", 1)
	s.asked(single, "PUT blobs/uploads/1?digest={d} hello",
		"POST blobs/uploads/?from=app&mount="+second, "PUT blobs/uploads/1?digest="+second+" second")
	s.told("post-put")
	if got := st.Support()[store.AbilitySinglePost]; got.Answer != store.No || got.Evidence.Status != 202 {
		t.Errorf("single POST: %+v", got)
	}
}

// A registry of which nothing is known is asked for the blob and opens an upload
// in one request, without a body. One that refuses is not asked again.
func TestAskFirst(t *testing.T) {
	const ask, put = "POST blobs/uploads/?from=app&mount={d}", "PUT blobs/uploads/1?digest={d} hello"
	for _, tc := range []struct {
		name  string
		post  http.HandlerFunc
		asked []string
		how   store.How
		err   error
	}{
		{name: "it is there", post: answer(201, "", "Docker-Content-Digest", dgst.String()), asked: []string{ask}, how: store.Present},
		{name: "it is not", asked: []string{ask, put}, how: store.Sent},
		{name: "the registry refuses", post: turns(answer(404, code("BLOB_UNKNOWN")), answer(201, "")), asked: []string{ask, single}, how: store.Sent},
		{name: "not allowed to read", post: turns(answer(403, code("DENIED")), answer(201, "")), asked: []string{ask, single}, how: store.Sent},
		{
			name: "it says that it has another", post: turns(answer(201, "", "Docker-Content-Digest", digest.FromString("x").String()), answer(201, "")),
			asked: []string{ask, single}, how: store.Sent,
		},
		{name: "no answer", post: answer(503, ""), asked: []string{ask, single}, err: store.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			on := uploads(nil)
			if tc.post != nil {
				on[post] = tc.post
			}
			s, st := newScript(t, Options{}, on)
			p, err := st.PutBlob(t.Context(), store.NewBlob("", []byte(content5)))
			if !errors.Is(err, tc.err) || p.How != tc.how {
				t.Errorf("got %q, %v, want %q, %v", p.How, err, tc.how, tc.err)
			}
			s.asked(tc.asked...)
			s.told()
			if tc.name == "the registry refuses" {
				other := store.NewBlob("", []byte("other"))
				if _, err := st.PutBlob(t.Context(), other); err != nil {
					t.Error(err)
				}
				s.asked("POST blobs/uploads/?digest=" + strings.Replace(other.Digest.String(), ":", "%3A", 1) + " other")
			}
		})
	}
}

func TestPutBlobOnce(t *testing.T) {
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{post: answer(201, "")})
	storesByPost(st)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := st.PutBlob(t.Context(), store.NewBlob("", []byte(content5))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.asked(single)
}

func TestMount(t *testing.T) {
	const mount = "POST blobs/uploads/?from=other%2Frepo&mount={d}"
	other := digest.FromString("x").String()
	for _, tc := range []struct {
		name  string
		post  http.HandlerFunc
		asked []string
		how   store.How
		told  []string
		err   error
	}{
		{name: "done", post: answer(201, "", "Docker-Content-Digest", dgst.String()), asked: []string{mount}, how: store.Mounted},
		{name: "done, without the header", post: answer(201, ""), asked: []string{mount}, how: store.Mounted},
		{
			name: "opens an upload", post: opened("/v2/app/blobs/uploads/1"), how: store.Sent, told: []string{"upload"},
			asked: []string{mount, "PUT blobs/uploads/1?digest={d} hello"},
		},
		{name: "not allowed", post: turns(answer(401, ""), answer(201, "")), asked: []string{mount, single}, how: store.Sent, told: []string{"upload"}},
		{name: "refused", post: turns(answer(405, ""), answer(201, "")), asked: []string{mount, single}, how: store.Sent, told: []string{"upload"}},
		{
			name: "mounted another", post: turns(answer(201, "", "Docker-Content-Digest", other), answer(201, "")), how: store.Sent,
			asked: []string{mount, single}, told: []string{"upload"},
		},
		{name: "no answer", post: answer(503, ""), asked: []string{mount}, err: store.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{}, uploads(map[string]http.HandlerFunc{post: tc.post}))
			b := store.NewBlob("", []byte(content5))
			b.Home = s.host() + "/other/repo"
			p, err := st.PutBlob(t.Context(), b)
			if !errors.Is(err, tc.err) || p.How != tc.how {
				t.Errorf("got %q, %v, want %q, %v", p.How, err, tc.how, tc.err)
			}
			s.asked(tc.asked...)
			s.told(tc.told...)
		})
	}
}

// large is a blob that is worth a question; its digest is put for {d}.
func large(t *testing.T, s *script) (store.Blob, func(...string)) {
	t.Helper()
	b := store.NewBlob("", make([]byte, smallBlob+1))
	return b, func(want ...string) {
		t.Helper()
		enc := strings.Replace(b.Digest.String(), ":", "%3A", 1)
		for i := range want {
			want[i] = strings.NewReplacer("={d}", "="+enc, "{d}", b.Digest.String()).Replace(want[i])
		}
		s.asked(want...)
	}
}

func TestPutLargeBlob(t *testing.T) {
	put := "PUT blobs/uploads/1?digest={d} [1048577]"
	there := answer(200, "", "Content-Length", "1048577")
	lost := func() http.HandlerFunc { return turns(answer(500, ""), answer(201, "")) }
	for _, tc := range []struct {
		name  string
		head  http.HandlerFunc
		put   http.HandlerFunc
		how   store.How
		asked []string
		err   error
	}{
		{name: "is there", head: there, how: store.Present, asked: []string{head}},
		{name: "is there with another size", head: answer(200, "", "Content-Length", "7"), how: store.Sent, asked: []string{head, post, put}},
		{name: "is not there", how: store.Sent, asked: []string{head, post, put}},
		{name: "PUT fails once", put: lost(), how: store.Sent, asked: []string{head, post, put, head, "DELETE blobs/uploads/1", post, put}},
		{
			name: "PUT fails and has stored it", head: turns(answer(404, ""), there), put: lost(), how: store.Sent,
			asked: []string{head, post, put, head, "DELETE blobs/uploads/1"},
		},
		{
			name: "the session is gone", put: turns(answer(404, code("BLOB_UPLOAD_UNKNOWN")), answer(201, "")), how: store.Sent,
			asked: []string{head, post, put, head, "DELETE blobs/uploads/1", post, put},
		},
		{
			name: "asked to wait for longer than may be", put: turns(answer(429, "", "Retry-After", "3600"), answer(201, "")), err: store.ErrUnavailable,
			asked: []string{head, post, put, "DELETE blobs/uploads/1"},
		},
		{name: "refused", put: answer(400, code("SIZE_INVALID")), err: store.ErrRefused, asked: []string{head, post, put, "DELETE blobs/uploads/1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			on := uploads(nil)
			s, st := newScript(t, Options{Retries: 1}, on)
			b, asked := large(t, s)
			if on["HEAD blobs/"+b.Digest.String()] = tc.head; tc.put != nil {
				on["PUT blobs/uploads/1"] = tc.put
			}
			p, err := st.PutBlob(t.Context(), b)
			if !errors.Is(err, tc.err) || p.How != tc.how {
				t.Errorf("got %q, %v, want %q, %v", p.How, err, tc.how, tc.err)
			}
			asked(tc.asked...)
		})
	}
}

// A registry that does not answer to the last PUT may have the blob, or be at
// work on it: it is asked before the upload is given up, and nothing is sent twice.
func TestPutThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	on := uploads(map[string]http.HandlerFunc{"PUT blobs/uploads/1": func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	}})
	s, st := newScript(t, Options{Retries: 1, Commit: time.Second, Stall: 500 * time.Millisecond}, on)
	b, asked := large(t, s)
	on["HEAD blobs/"+b.Digest.String()] = turns(answer(404, ""), answer(200, "", "Content-Length", "1048577"))
	if p, err := st.PutBlob(t.Context(), b); err != nil || p.How != store.Sent {
		t.Errorf("got %q, %v", p.How, err)
	}
	asked(head, post, "PUT blobs/uploads/1?digest={d} [1048577]", head, "DELETE blobs/uploads/1")
}

// unnamed is b as a file is pushed: its digest is learnt by reading.
func unnamed(b store.Blob, size int64) store.Blob {
	b.Digest, b.Size = "", size
	return b
}

func TestPutUnnamedBlob(t *testing.T) {
	patch, put := "PATCH blobs/uploads/1 [1048577]", "PUT blobs/uploads/1?digest={d}"
	monolithic := []string{head, post, put + " [1048577]"}
	for _, tc := range []struct {
		name  string
		patch http.HandlerFunc
		put   http.HandlerFunc
		size  int64
		asked []string
		told  []string
	}{
		{name: "in one pass", size: smallBlob + 1, asked: []string{post, patch, put}},
		{name: "of unknown size", size: store.UnknownSize, asked: []string{post, patch, put}},
		{
			name: "the answer moves the session", patch: opened("/v2/app/blobs/uploads/1?next"), size: smallBlob + 1,
			asked: []string{post, patch, "PUT blobs/uploads/1?next&digest={d}"},
		},
		{name: "the answer is 201", patch: answer(201, ""), size: smallBlob + 1, asked: []string{post, patch, put}},
		{
			name: "PATCH is refused", patch: answer(405, ""), size: smallBlob + 1, told: []string{"hash-first"},
			asked: append([]string{post, patch, "DELETE blobs/uploads/1"}, monolithic...),
		},
		{
			name: "PATCH fails once", patch: turns(answer(502, ""), answer(202, "")), size: smallBlob + 1,
			asked: []string{post, patch, status, "DELETE blobs/uploads/1", post, patch, put},
		},
		{
			name: "the session is gone", patch: turns(answer(404, code("BLOB_UPLOAD_UNKNOWN")), answer(202, "")), size: smallBlob + 1,
			asked: []string{post, patch, "DELETE blobs/uploads/1", post, patch, put},
		},
		{
			name: "there is no PATCH", patch: answer(404, ""), size: smallBlob + 1, told: []string{"hash-first"},
			asked: append([]string{post, patch, "DELETE blobs/uploads/1", post, patch, "DELETE blobs/uploads/1"}, monolithic...),
		},
		{
			name: "PUT fails once", put: turns(answer(502, ""), answer(201, "")), size: smallBlob + 1,
			asked: []string{post, patch, put, head, status, "DELETE blobs/uploads/1", post, patch, put},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			on := uploads(nil)
			if tc.patch != nil {
				on["PATCH blobs/uploads/1"] = tc.patch
			}
			if tc.put != nil {
				on["PUT blobs/uploads/1"] = tc.put
			}
			s, st := newScript(t, Options{Retries: 1}, on)
			b, asked := large(t, s)
			p, err := st.PutBlob(t.Context(), unnamed(b, tc.size))
			if err != nil || p.Digest != b.Digest || p.Size != b.Size {
				t.Errorf("got %+v, %v", p, err)
			}
			asked(tc.asked...)
			s.told(tc.told...)
		})
	}
}

// A small file is as cheap as a blob whose digest is known.
func TestPutUnnamedSmallBlob(t *testing.T) {
	for _, size := range []int64{5, store.UnknownSize} {
		s, st := newScript(t, Options{}, map[string]http.HandlerFunc{post: answer(201, "")})
		storesByPost(st)
		p, err := st.PutBlob(t.Context(), unnamed(store.NewBlob("text/plain", []byte(content5)), size))
		if err != nil || p.Digest != dgst || p.Size != 5 || p.MediaType != "text/plain" {
			t.Errorf("got %+v, %v", p, err)
		}
		s.asked(single)
	}
}

// What is wrong with the source is reported as that, whatever the registry
// says of the torn request; the upload is cancelled, and never completed.
func TestSourceFaults(t *testing.T) {
	errDisk := errors.New("disk")
	big := store.NewBlob("", make([]byte, smallBlob+1))
	other := big
	other.Digest = dgst
	short := big
	short.Open = store.NewBlob("", make([]byte, smallBlob)).Open
	closed := big
	closed.Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, errDisk }
	for _, tc := range []struct {
		name string
		blob store.Blob
		err  error
	}{
		{"breaks", storetest.Broken(big, 1000, errDisk), errDisk},
		{"breaks, unnamed", storetest.Broken(unnamed(big, big.Size), 1000, errDisk), errDisk},
		{"breaks in memory", storetest.Broken(store.NewBlob("", []byte(content5)), 2, errDisk), errDisk},
		{"cannot be opened", closed, errDisk},
		{"other bytes", other, store.ErrMismatch},
		{"shorter", short, store.ErrMismatch},
		{"shorter, unnamed", unnamed(short, big.Size), store.ErrMismatch},
		{"longer, unnamed", unnamed(store.NewBlob("", make([]byte, smallBlob+9)), smallBlob+1), store.ErrMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			finished := false
			_, st := newScript(t, Options{Retries: 3}, uploads(map[string]http.HandlerFunc{
				"PUT blobs/uploads/1": func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					mu.Lock()
					finished = int64(len(body)) == r.ContentLength
					mu.Unlock()
					w.WriteHeader(http.StatusInternalServerError)
				},
			}))
			_, err := st.PutBlob(t.Context(), tc.blob)
			if !errors.Is(err, tc.err) || statusOf(err) != nil {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			mu.Lock()
			defer mu.Unlock()
			if finished {
				t.Error("a whole body was sent")
			}
		})
	}
}
