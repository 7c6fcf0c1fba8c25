package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// rig is a registry in memory, served on loopback.
type rig struct {
	*testing.T
	url    string
	reg    store.Registry
	server *serve.Server
}

func start(t *testing.T, opts serve.Options) *rig {
	return startOver(t, local.NewMemoryRegistry(), opts)
}

func startOver(t *testing.T, reg store.Registry, opts serve.Options) *rig {
	t.Helper()
	s := serve.New(reg, opts)
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		_ = s.Close()
	})
	return &rig{t, h.URL, reg, s}
}

func quirky(t *testing.T, names ...string) *rig {
	t.Helper()
	q, err := serve.ParseQuirks(names...)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, serve.Options{Quirks: q})
}

// reply is an answer that has been read.
type reply struct {
	status int
	http.Header
	body string
}

// code is the first error code of the body; "" where there is none.
func (r reply) code() string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal([]byte(r.body), &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

// do sends a request; header is "Name: value". Redirects are not followed.
func (g *rig) do(method, path, body string, header ...string) reply {
	g.Helper()
	var r io.Reader = http.NoBody
	if body != "" {
		r = strings.NewReader(body)
	}
	return g.send(method, path, r, header...)
}

func (g *rig) send(method, path string, body io.Reader, header ...string) reply {
	g.Helper()
	if !strings.Contains(path, "://") {
		path = g.url + path
	}
	req, err := http.NewRequest(method, path, body)
	if err != nil {
		g.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		g.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{res.StatusCode, res.Header, string(raw)}
}

// want checks "STATUS" or "STATUS CODE".
func (g *rig) want(r reply, want string) reply {
	g.Helper()
	if got := strings.TrimSpace(fmt.Sprint(r.status, " ", r.code())); got != want {
		g.Errorf("got %s, want %s; body %s", got, want, r.body)
	}
	return r
}

// header checks header fields given as "Name: value".
func (g *rig) header(r reply, fields ...string) {
	g.Helper()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if got := strings.Join(r.Values(name), "|"); got != value {
			g.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

func (g *rig) repo(name string) store.Store {
	g.Helper()
	st, err := g.reg.Repository(g.Context(), name)
	if err != nil {
		g.Fatal(err)
	}
	return st
}

// blob puts content straight into a repository.
func (g *rig) blob(repo, content string) digest.Digest {
	g.Helper()
	put, err := g.repo(repo).PutBlob(g.Context(), store.NewBlob("text/plain", []byte(content)))
	if err != nil {
		g.Fatal(err)
	}
	return put.Digest
}

// has says whether a repository has a blob.
func (g *rig) has(repo string, d digest.Digest) bool {
	_, err := g.repo(repo).Blob(g.Context(), store.Descriptor{Digest: d, Size: store.UnknownSize})
	return err == nil
}

const (
	empty     = `{}`
	emptySum  = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	noSum     = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	imageType = "Content-Type: " + store.MediaTypeImage
	indexType = "Content-Type: " + store.MediaTypeIndex
)

// image is a manifest of an artifact whose only content is the empty blob.
func image(artifactType, subject string) string {
	s := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,`, store.MediaTypeImage, artifactType)
	s += fmt.Sprintf(`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},`, emptySum)
	s += fmt.Sprintf(`"layers":[{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2}]`, emptySum)
	if subject != "" {
		s += fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":7}`, store.MediaTypeImage, subject)
	}
	return s + "}"
}

func index(child string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":9}]}`,
		store.MediaTypeIndex, store.MediaTypeImage, child)
}

func sum(s string) string { return digest.FromString(s).String() }

func sum512(s string) string { return digest.SHA512.FromString(s).String() }

func TestReading(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	g.blob("a/b", empty)
	hello := g.blob("a/b", "hello world").String()
	m := image("application/x", "")
	g.want(g.do("PUT", "/v2/a/b/manifests/v1", m, imageType), "201")
	blob, manifest := "/v2/a/b/blobs/"+hello, "/v2/a/b/manifests/"
	length := fmt.Sprint("Content-Length: ", len(m))
	for _, c := range []struct {
		name, method, path, ask string
		want, body              string
		header                  []string
	}{
		{"ping", "GET", "/v2/", "", "200", "{}\n", []string{"Docker-Distribution-Api-Version: registry/2.0"}},
		{"ping without slash", "GET", "/v2", "", "200", "{}\n", nil},
		{"blob", "GET", blob, "", "200", "hello world", []string{"Docker-Content-Digest: " + hello, "Content-Length: 11", "Accept-Ranges: bytes", "Content-Type: application/octet-stream"}},
		{"blob head", "HEAD", blob, "", "200", "", []string{"Docker-Content-Digest: " + hello, "Content-Length: 11"}},
		{"head has no ranges", "HEAD", blob, "Range: bytes=0-3", "200", "", []string{"Content-Length: 11"}},
		{"first bytes", "GET", blob, "Range: bytes=0-4", "206", "hello", []string{"Content-Range: bytes 0-4/11", "Content-Length: 5"}},
		{"from an offset", "GET", blob, "Range: bytes=6-", "206", "world", []string{"Content-Range: bytes 6-10/11"}},
		{"last bytes", "GET", blob, "Range: bytes=-3", "206", "rld", []string{"Content-Range: bytes 8-10/11"}},
		{"more than there is", "GET", blob, "Range: bytes=6-9223372036854775807", "206", "world", nil},
		{"more last bytes than there are", "GET", blob, "Range: bytes=-99", "200", "hello world", nil},
		{"behind the end", "GET", blob, "Range: bytes=11-", "416 SIZE_INVALID", "", []string{"Content-Range: bytes */11"}},
		{"no last bytes", "GET", blob, "Range: bytes=-0", "416 SIZE_INVALID", "", nil},
		{"several ranges", "GET", blob, "Range: bytes=0-1,3-4", "200", "hello world", nil},
		{"backwards", "GET", blob, "Range: bytes=4-1", "200", "hello world", nil},
		{"no range", "GET", blob, "Range: lines=1-2", "200", "hello world", nil},
		{"signs are no digits", "GET", blob, "Range: bytes=+1-2", "200", "hello world", nil},
		{"absent blob", "GET", "/v2/a/b/blobs/" + noSum, "", "404 BLOB_UNKNOWN", "", nil},
		{"absent blob head", "HEAD", "/v2/a/b/blobs/" + noSum, "", "404", "", nil},
		{"blob of another repository", "GET", "/v2/c/blobs/" + hello, "", "404 BLOB_UNKNOWN", "", nil},
		{"bad digest", "GET", "/v2/a/b/blobs/sha256:abc", "", "400 DIGEST_INVALID", "", nil},
		{"manifest by tag", "GET", manifest + "v1", "", "200", m, []string{"Docker-Content-Digest: " + sum(m), imageType, length}},
		{"manifest by digest", "GET", manifest + sum(m), "", "200", m, []string{"Docker-Content-Digest: " + sum(m)}},
		{"manifest head", "HEAD", manifest + "v1", "", "200", "", []string{"Docker-Content-Digest: " + sum(m), imageType, length}},
		{"Accept does not matter", "GET", manifest + "v1", "Accept: text/html", "200", m, nil},
		{"absent tag", "GET", manifest + "v2", "", "404 MANIFEST_UNKNOWN", "", nil},
		{"absent manifest", "HEAD", manifest + noSum, "", "404", "", nil},
		{"a manifest is no blob", "GET", "/v2/a/b/blobs/" + sum(m), "", "404 BLOB_UNKNOWN", "", nil},
		{"bad name", "GET", "/v2/A/manifests/v1", "", "400 NAME_INVALID", "", nil},
		{"no endpoint", "GET", "/v2/a/b/other/v1", "", "404", "404 page not found\n", nil},
		{"wrong method", "POST", manifest + "v1", "", "405 UNSUPPORTED", "", []string{"Allow: GET, HEAD, PUT, DELETE"}},
		{"tags", "GET", "/v2/a/b/tags/list", "", "200", `{"name":"a/b","tags":["v1"]}` + "\n", nil},
		{"tags of nothing", "GET", "/v2/c/tags/list", "", "404 NAME_UNKNOWN", "", nil},
		{"catalog", "GET", "/v2/_catalog", "", "200", `{"repositories":["a/b"]}` + "\n", nil},
		{"referrers of nothing", "GET", "/v2/c/referrers/" + noSum, "", "200", `{"schemaVersion":2,"mediaType":"` + store.MediaTypeIndex + `","manifests":[]}` + "\n", []string{indexType}},
		{"referrers of no digest", "GET", "/v2/a/b/referrers/v1", "", "400 DIGEST_INVALID", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ask []string
			if c.ask != "" {
				ask = append(ask, c.ask)
			}
			g := &rig{t, g.url, g.reg, g.server}
			r := g.want(g.do(c.method, c.path, "", ask...), c.want)
			g.header(r, c.header...)
			if c.body != "" && r.body != c.body {
				t.Errorf("body %q, want %q", r.body, c.body)
			}
		})
	}
}

func TestPushingManifests(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	g.blob("a", empty)
	m := image("application/x", "")
	artifact := fmt.Sprintf(`{"mediaType":%q,"artifactType":"application/x"}`, store.MediaTypeArtifact)
	missing := strings.ReplaceAll(m, emptySum, noSum)
	foreign := strings.Replace(missing, `"size":2}]`, `"size":2,"urls":["https://reg.example.com/x"]}]`, 1)
	foreign = strings.Replace(foreign, noSum, emptySum, 1)
	for _, c := range []struct {
		name, ref, contentType, body, want string
	}{
		{"by tag", "v1", imageType, m, "201"},
		{"by digest", sum(m), imageType, m, "201"},
		{"by sha512", sum512(m), imageType, m, "201"},
		{"parameters are ignored", "v1", imageType + "; charset=utf-8", m, "201"},
		{"index of what is there", "ix", indexType, index(sum(m)), "201"},
		{"layer that lies elsewhere", "v1", imageType, foreign, "201"},
		{"absent subject", "v1", imageType, image("application/x", noSum), "201"},
		{"without a type", "v1", "X: y", m, "400 MANIFEST_INVALID"},
		{"labelled as another type", "v1", indexType, m, "400 MANIFEST_INVALID"},
		{"unknown type", "v1", "Content-Type: application/json", `{}`, "400 MANIFEST_INVALID"},
		{"extinct type", "v1", "Content-Type: " + store.MediaTypeArtifact, artifact, "400 MANIFEST_INVALID"},
		{"extinct type with a wrong digest", noSum, "Content-Type: " + store.MediaTypeArtifact, artifact, "400 MANIFEST_INVALID"},
		{"wrong digest", noSum, imageType, m, "400 DIGEST_INVALID"},
		{"no digest", "md5:abc", imageType, m, "400 DIGEST_INVALID"},
		{"no tag", "-v1", imageType, m, "400 MANIFEST_INVALID"},
		{"no JSON", "v1", imageType, "<html>", "400 MANIFEST_INVALID"},
		{"two documents", "v1", imageType, m + m, "400 MANIFEST_INVALID"},
		{"absent blob", "v1", imageType, missing, "400 MANIFEST_BLOB_UNKNOWN"},
		{"absent child", "v1", indexType, index(noSum), "400 MANIFEST_BLOB_UNKNOWN"},
		{"too large", "v1", imageType, m + strings.Repeat(" ", 4<<20), "413 SIZE_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &rig{t, g.url, g.reg, g.server}
			r := g.want(g.do("PUT", "/v2/a/manifests/"+c.ref, c.body, c.contentType), c.want)
			if r.status != http.StatusCreated {
				return
			}
			want := sum(c.body)
			if store.IsDigest(c.ref) {
				want = c.ref
			}
			g.header(r, "Docker-Content-Digest: "+want, "Location: /v2/a/manifests/"+want)
			if got := g.do("GET", r.Get("Location"), ""); got.body != c.body {
				t.Errorf("what came back is %q", got.body)
			}
		})
	}
}

// A push by digest may set several tags, and says which it has set.
func TestPushingSeveralTags(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	g.blob("a", empty)
	m := image("application/x", noSum)
	r := g.want(g.do("PUT", "/v2/a/manifests/"+sum(m)+"?tag=v1&tag=v2", m, imageType), "201")
	g.header(r, "OCI-Tag: v1|v2", "OCI-Subject: "+noSum)
	if r := g.do("GET", "/v2/a/tags/list", ""); r.body != `{"name":"a","tags":["v1","v2"]}`+"\n" {
		t.Error(r.body)
	}
	g.want(g.do("PUT", "/v2/a/manifests/"+sum(m)+"?tag=v3&tag=,", m, imageType), "400 MANIFEST_INVALID")
	g.want(g.do("GET", "/v2/a/manifests/v3", ""), "404 MANIFEST_UNKNOWN")
}

func TestDeleting(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	d := g.blob("a", empty).String()
	m := image("application/x", "")
	for _, tag := range []string{"v1", "v2", "v3"} {
		g.want(g.do("PUT", "/v2/a/manifests/"+tag, m, imageType), "201")
	}
	for _, c := range []struct{ method, path, want string }{
		{"DELETE", "/v2/a/manifests/v1", "202"},
		{"DELETE", "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN"},
		{"GET", "/v2/a/manifests/" + sum(m), "200"}, // a tag goes alone
		{"GET", "/v2/a/manifests/v2", "200"},
		{"DELETE", "/v2/a/manifests/" + sum(m), "202"},
		{"GET", "/v2/a/manifests/v2", "404 MANIFEST_UNKNOWN"}, // with all its tags
		{"DELETE", "/v2/a/manifests/" + sum(m), "404 MANIFEST_UNKNOWN"},
		{"DELETE", "/v2/a/blobs/" + d, "202"},
		{"DELETE", "/v2/a/blobs/" + d, "404 BLOB_UNKNOWN"},
		{"DELETE", "/v2/none/blobs/" + d, "404 BLOB_UNKNOWN"},
	} {
		if r := g.do(c.method, c.path, ""); strings.TrimSpace(fmt.Sprint(r.status, " ", r.code())) != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, r.status, r.body, c.want)
		}
	}
}

// broken is a registry whose stores fail in a way of the test's choice.
type broken struct {
	store.Registry
	err  error
	size int64 // what a blob says its size is, where err is nil
}

type brokenStore struct {
	store.Store
	b broken
}

func (b broken) Repository(ctx context.Context, name string) (store.Store, error) {
	st, err := b.Registry.Repository(ctx, name)
	return brokenStore{st, b}, err
}

func (s brokenStore) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	blob, err := s.Store.Blob(ctx, d)
	blob.Size = s.b.size
	if s.b.err != nil {
		err = s.b.err
	}
	return blob, err
}

// What a store fails with becomes a status and a code; what has no class is a
// 500 that does not show the store's insides.
func TestErrorsOfStores(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{store.ErrNotFound, "404 BLOB_UNKNOWN"},
		{store.ErrUnsupported, "405 UNSUPPORTED"},
		{store.ErrDenied, "403 DENIED"},
		{store.ErrUnauthorized, "403 DENIED"},
		{store.ErrRefused, "403 DENIED"},
		{store.ErrExists, "409 DENIED"},
		{store.ErrInvalid, "400 DIGEST_INVALID"},
		{store.ErrUnavailable, "503 UNAVAILABLE"},
		{store.ErrLocked, "503 UNAVAILABLE"},
		{store.ErrMismatch, "500 UNKNOWN"},
		{io.ErrNoProgress, "500 UNKNOWN"},
	} {
		var mu sync.Mutex
		var told error
		g := startOver(t, broken{Registry: local.NewMemoryRegistry(), err: fmt.Errorf("/secret/path: %w", c.err)}, serve.Options{
			OnError: func(_, _ string, err error) {
				mu.Lock()
				defer mu.Unlock()
				told = err
			},
		})
		r := g.want(g.do("GET", "/v2/a/blobs/"+noSum, ""), c.want)
		mu.Lock()
		if is500 := r.status == 500; is500 != (told != nil) || is500 && strings.Contains(r.body, "secret") {
			t.Errorf("%v: told %v, body %s", c.err, told, r.body)
		}
		mu.Unlock()
	}
}

// A blob that ends too early must not look whole.
func TestShortBlobIsCut(t *testing.T) {
	t.Parallel()
	reg := local.NewMemoryRegistry()
	told := make(chan error, 1)
	g := startOver(t, broken{Registry: reg, size: 100}, serve.Options{OnError: func(_, _ string, err error) { told <- err }})
	d := (&rig{T: t, reg: reg}).blob("a", "hello world")
	defer func() {
		if err := <-told; !errors.Is(err, store.ErrMismatch) {
			t.Error("OnError was told", err)
		}
	}()
	res, err := http.Get(g.url + "/v2/a/blobs/" + d.String())
	if err != nil {
		return // cut before the header was sent
	}
	defer res.Body.Close()
	if raw, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("read %d bytes without an error", len(raw))
	}
}

// Who has an answer can rely on the hook to know of it.
func TestOnRequest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	g := start(t, serve.Options{OnRequest: func(method, uri string, status int) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%s %s %d", method, uri, status))
	}})
	g.do("GET", "/v2/", "")
	g.do("HEAD", "/v2/a/manifests/v1", "")
	g.do("GET", "/nothing?a=b", "")
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"GET /v2/ 200", "HEAD /v2/a/manifests/v1 404", "GET /nothing?a=b 404"}, got); diff != "" {
		t.Error(diff)
	}
}

// Many clients at once push, read, list and delete in few repositories.
func TestManyClients(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			repo := fmt.Sprintf("/v2/r%d", i%3)
			content := bytes.Repeat([]byte{byte(i)}, 300<<10)
			d := digest.FromBytes(content).String()
			up := g.want(g.do("POST", repo+"/blobs/uploads/", ""), "202").Get("Location")
			g.want(g.do("PATCH", up, string(content[:100<<10])), "202")
			g.want(g.do("PUT", up+"?digest="+d, string(content[100<<10:])), "201")
			if r := g.do("GET", repo+"/blobs/"+d, ""); r.body != string(content) {
				t.Errorf("client %d: %d bytes came back", i, len(r.body))
			}
			g.want(g.do("POST", repo+"/blobs/uploads/?digest="+emptySum, empty), "201")
			m := image(fmt.Sprint("application/x", i), noSum)
			g.want(g.do("PUT", fmt.Sprint(repo, "/manifests/v", i), m, imageType), "201")
			g.want(g.do("GET", repo+"/tags/list", ""), "200")
			g.want(g.do("GET", repo+"/referrers/"+noSum, ""), "200")
			g.want(g.do("DELETE", fmt.Sprint(repo, "/manifests/v", i), ""), "202")
		})
	}
	wg.Wait()
}
