package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// open begins an upload and gives its location.
func (g *rig) open(repo string) string {
	g.Helper()
	up := g.want(g.do("POST", "/v2/"+repo+"/blobs/uploads/", ""), "202").Get("Location")
	if !strings.HasPrefix(up, "/v2/"+repo+"/blobs/uploads/") {
		g.Fatalf("Location %q", up)
	}
	return up
}

// step is one request of an upload: STATUS is what it is answered with.
type step struct {
	method, query, contentRange, body string
	want, progress                    string
}

const hello = "hello world"

func TestUploads(t *testing.T) {
	t.Parallel()
	claim := "?digest=" + sum(hello)
	for _, c := range []struct {
		name   string
		steps  []step
		stored bool
	}{
		{"whole in the PUT", []step{{"PUT", claim, "", hello, "201", ""}}, true},
		{"whole in one PATCH", []step{{"PATCH", "", "", hello, "202", "0-10"}, {"PUT", claim, "", "", "201", ""}}, true},
		{"chunks", []step{
			{"PATCH", "", "0-4", "hello", "202", "0-4"},
			{"PATCH", "", "5-10", " world", "202", "0-10"},
			{"GET", "", "", "", "204", "0-10"},
			{"PUT", claim, "", "", "201", ""},
		}, true},
		{"last chunk in the PUT", []step{{"PATCH", "", "0-4", "hello", "202", "0-4"}, {"PUT", claim, "5-10", " world", "201", ""}}, true},
		{"out of order", []step{
			{"PATCH", "", "5-10", " world", "416 BLOB_UPLOAD_INVALID", "0-0"},
			{"PATCH", "", "0-4", "hello", "202", "0-4"},
			{"PATCH", "", "0-4", "hello", "416 BLOB_UPLOAD_INVALID", "0-4"},
			{"PUT", claim, "6-10", "world", "416 BLOB_UPLOAD_INVALID", "0-4"},
			{"PUT", claim, "5-10", " world", "201", ""},
		}, true},
		{"whole in a PUT that begins late", []step{{"PUT", claim, "1-11", hello, "416 BLOB_UPLOAD_INVALID", "0-0"}}, false},
		{"no range", []step{{"PATCH", "", "bytes 0-4/11", "hello", "400 BLOB_UPLOAD_INVALID", "0-0"}}, false},
		{"range and length differ", []step{{"PATCH", "", "0-5", "hello", "400 SIZE_INVALID", "0-0"}}, false},
		{"wrong digest of the whole", []step{{"PUT", claim, "", "hello", "400 DIGEST_INVALID", ""}}, false},
		{"wrong digest of chunks", []step{
			{"PATCH", "", "", "hello", "202", "0-4"},
			{"PUT", claim, "", "", "400 DIGEST_INVALID", ""},
			{"GET", "", "", "", "404 BLOB_UPLOAD_UNKNOWN", ""},
		}, false},
		{"no digest", []step{{"PUT", "", "", hello, "400 DIGEST_INVALID", ""}}, false},
		{"cancelled", []step{
			{"PATCH", "", "", hello, "202", "0-10"},
			{"DELETE", "", "", "", "204", ""},
			{"PUT", claim, "", "", "404 BLOB_UPLOAD_UNKNOWN", ""},
		}, false},
		{"finished once", []step{{"PUT", claim, "", hello, "201", ""}, {"PUT", claim, "", hello, "404 BLOB_UPLOAD_UNKNOWN", ""}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, serve.Options{})
			up := g.open("a")
			for i, s := range c.steps {
				var header []string
				if s.contentRange != "" {
					header = append(header, "Content-Range: "+s.contentRange)
				}
				r := g.want(g.do(s.method, up+s.query, s.body, header...), s.want)
				if s.progress != "" {
					g.header(r, "Range: "+s.progress, "Location: "+up)
				}
				if r.status == http.StatusCreated {
					g.header(r, "Location: /v2/a/blobs/"+sum(hello), "Docker-Content-Digest: "+sum(hello))
				}
				if t.Failed() {
					t.Fatalf("at step %d", i)
				}
			}
			if g.has("a", digest.FromString(hello)) != c.stored {
				t.Errorf("stored: %v, want %v", !c.stored, c.stored)
			}
			if !c.stored && g.has("a", digest.FromString("hello")) {
				t.Error("what was refused is stored under its own digest")
			}
		})
	}
}

// Chunks are hashed as sha256 by the store; another algorithm is proven all the same.
func TestUploadsOfOtherAlgorithms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, ask, claim, want string }{
		{"announced", "?digest-algorithm=sha512", sum512(hello), "201"},
		{"announced, wrong", "?digest-algorithm=sha512", sum512("other"), "400 DIGEST_INVALID"},
		{"not announced", "", sum512(hello), "201"},
		{"not announced, wrong", "", sum512("other"), "400 DIGEST_INVALID"},
		{"announced in vain", "?digest-algorithm=sha512", sum(hello), "201"},
	} {
		g := start(t, serve.Options{})
		up := g.want(g.do("POST", "/v2/a/blobs/uploads/"+c.ask, ""), "202").Get("Location")
		g.want(g.do("PATCH", up, hello), "202")
		r := g.want(g.do("PUT", up+"?digest="+c.claim, ""), c.want)
		if stored := g.has("a", digest.Digest(c.claim)); stored != (r.status == http.StatusCreated) {
			t.Errorf("%s: stored: %v", c.name, stored)
		}
		if r.status != http.StatusCreated && g.has("a", digest.FromString(hello)) {
			t.Errorf("%s: what was refused is stored as sha256", c.name)
		}
	}
	g := start(t, serve.Options{})
	g.want(g.do("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", ""), "400 DIGEST_INVALID")
	g.want(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum512(hello), hello), "201")
}

func TestSinglePost(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	post := "/v2/a/blobs/uploads/?digest="
	g.header(g.want(g.do("POST", post+sum(hello), hello), "201"), "Location: /v2/a/blobs/"+sum(hello))
	g.want(g.do("POST", post+sum(hello), hello), "201") // again
	g.want(g.do("POST", post+sum(""), ""), "201")
	g.want(g.do("POST", post+noSum, hello), "400 DIGEST_INVALID")
	g.want(g.do("POST", post+"sha256:short", hello), "400 DIGEST_INVALID")
	g.want(g.send("POST", post+sum("streamed"), io.MultiReader(strings.NewReader("streamed"))), "201")
}

// A body without Content-Length must not be longer than its range.
func TestStreamedChunks(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	up := g.open("a")
	stream := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }
	g.header(g.want(g.send("PATCH", up, stream("hello"), "Content-Range: 0-4"), "202"), "Range: 0-4")
	g.header(g.want(g.send("PATCH", up, stream(" world!!"), "Content-Range: 5-10"), "400 SIZE_INVALID"), "Range: 0-10")
	g.want(g.do("PUT", up+"?digest="+sum(hello), ""), "201")
}

func TestMount(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	d := g.blob("source", hello)
	for i, c := range []struct{ query, want string }{
		{"from=source", "201"},
		{"from=absent", "202"},
		{"from=../source", "202"},
		{"", "202"},
	} {
		g := &rig{t, g.url, g.reg, g.server}
		repo := fmt.Sprint("target", i)
		r := g.want(g.do("POST", "/v2/"+repo+"/blobs/uploads/?mount="+d.String()+"&"+c.query, ""), c.want)
		if g.has(repo, d) != (c.want == "201") {
			t.Errorf("%q: stored: %v", c.query, g.has(repo, d))
		}
		if r.status == http.StatusAccepted { // the upload that begins is a good one
			g.want(g.do("PUT", r.Get("Location")+"?digest="+d.String(), hello), "201")
		}
	}
	// Without from, what the repository has itself is there.
	g.want(g.do("POST", "/v2/source/blobs/uploads/?mount="+d.String(), ""), "201")
}

// An upload belongs to its repository.
func TestUploadOfAnotherRepository(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	up := strings.Replace(g.open("a"), "/v2/a/", "/v2/b/", 1)
	g.want(g.do("PATCH", up, hello), "404 BLOB_UPLOAD_UNKNOWN")
	g.want(g.do("GET", up, ""), "404 BLOB_UPLOAD_UNKNOWN")
	g.want(g.do("DELETE", up, ""), "404 BLOB_UPLOAD_UNKNOWN")
}

// cut is a body that breaks off.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("the cable is cut")
	}
	return n, err
}

// After a chunk broke off, status tells what arrived, and the client goes on there.
func TestResume(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	up := g.open("a")
	req, err := http.NewRequest("PATCH", g.url+up, cut{strings.NewReader("hello")})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(hello))
	if res, err := (&http.Transport{}).RoundTrip(req); err == nil {
		res.Body.Close()
		t.Fatal("the request was answered with", res.Status)
	}
	until(t, "status is 0-4", func() bool { return g.do("GET", up, "").Get("Range") == "0-4" })
	g.want(g.do("PATCH", up, " world", "Content-Range: 5-10"), "202")
	g.want(g.do("PUT", up+"?digest="+sum(hello), ""), "201")
}

// A connection that is dead without a word does not keep the client from going on.
func TestResumeBesideDeadConnection(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	up := g.open("a")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nhello", up, len(hello))
	until(t, "status is 0-4", func() bool { return g.do("GET", up, "").Get("Range") == "0-4" })
	g.want(g.do("PATCH", up, " world", "Content-Range: 5-10"), "202")
	g.want(g.do("PUT", up+"?digest="+sum(hello), ""), "201")
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain:", what)
		}
	}
}

// feeding counts the PutBlobs under way and those that went well, and can
// refuse them.
type feeding struct {
	store.Registry
	now, well *atomic.Int64
	fail      error
}

type feedingStore struct {
	store.Store
	f feeding
}

func (f feeding) Repository(ctx context.Context, name string) (store.Store, error) {
	st, err := f.Registry.Repository(ctx, name)
	return feedingStore{st, f}, err
}

func (s feedingStore) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	s.f.now.Add(1)
	defer s.f.now.Add(-1)
	if s.f.fail != nil {
		return store.Put{}, s.f.fail
	}
	put, err := s.Store.PutBlob(ctx, b)
	if err == nil {
		s.f.well.Add(1)
	}
	return put, err
}

// Uploads that nobody ends let go of the store: after a while, when they are
// cancelled, and when the server closes.
func TestNoUploadStays(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(g *rig, up string){
		"idle":      func(*rig, string) {},
		"cancelled": func(g *rig, up string) { g.want(g.do("DELETE", up, ""), "204") },
		"closed":    func(g *rig, _ string) { _ = g.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idle := time.Hour
			if name == "idle" {
				idle = 300 * time.Millisecond
			}
			var now, well atomic.Int64
			g := startOver(t, feeding{Registry: local.NewMemoryRegistry(), now: &now, well: &well}, serve.Options{UploadIdle: idle})
			up := g.open("a")
			g.want(g.do("PATCH", up, hello), "202")
			if now.Load() != 1 {
				t.Fatalf("%d PutBlobs are under way", now.Load())
			}
			end(g, up)
			until(t, "PutBlob returns", func() bool { return now.Load() == 0 })
			g.want(g.do("GET", up, ""), "404 BLOB_UPLOAD_UNKNOWN")
			if well.Load() != 0 {
				t.Error("the half upload is stored")
			}
		})
	}
}

// A claim that does not hold is found before the store takes the bytes for good.
func TestWrongClaimIsNeverStored(t *testing.T) {
	t.Parallel()
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		var now, well atomic.Int64
		g := startOver(t, feeding{Registry: local.NewMemoryRegistry(), now: &now, well: &well}, serve.Options{})
		up := g.do("POST", "/v2/a/blobs/uploads/?digest-algorithm="+alg.String(), "").Get("Location")
		g.want(g.do("PATCH", up, hello), "202")
		g.want(g.do("PUT", up+"?digest="+alg.FromString("other").String(), ""), "400 DIGEST_INVALID")
		if well.Load() != 0 {
			t.Errorf("%s: the store has taken it", alg)
		}
	}
}

func TestClosedServerTakesNoUploads(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	_ = g.server.Close()
	g.want(g.do("POST", "/v2/a/blobs/uploads/", ""), "503 UNAVAILABLE")
}

func TestUploadsAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{MaxUploads: 2})
	up := g.open("a")
	g.open("a")
	g.header(g.want(g.do("POST", "/v2/a/blobs/uploads/", ""), "429 TOOMANYREQUESTS"), "Retry-After: 1")
	g.want(g.do("DELETE", up, ""), "204")
	g.open("a")
}

// A store that fails under an upload ends it, with the store's reason.
func TestStoreFailsUnderUpload(t *testing.T) {
	t.Parallel()
	var now, well atomic.Int64
	g := startOver(t, feeding{local.NewMemoryRegistry(), &now, &well, fmt.Errorf("disk: %w", store.ErrDenied)}, serve.Options{})
	up := g.open("a")
	g.want(g.do("PATCH", up, hello), "403 DENIED")
	g.want(g.do("GET", up, ""), "404 BLOB_UPLOAD_UNKNOWN")
	g.want(g.do("PUT", g.open("a")+"?digest="+sum(hello), hello), "403 DENIED")
}
