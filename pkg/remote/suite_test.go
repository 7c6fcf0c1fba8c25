package remote_test

import (
	"fmt"
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
	"github.com/stet-oci/stet/pkg/store/storetest"
)

// TestStore runs the suite over the wire: a full registry, and registries that
// lack what real ones lack. What the user sees is the same.
func TestStore(t *testing.T) {
	full := serve.Quirks{ArtifactManifests: true, AnyManifest: true, Sparse: true}
	with := func(change func(*serve.Quirks)) serve.Quirks {
		q := full
		change(&q)
		return q
	}
	for _, tc := range []struct {
		name   string
		quirks serve.Quirks
		opts   remote.Options
		limits storetest.Limits
	}{
		{name: "full", quirks: full},
		{name: "absolute", quirks: with(func(q *serve.Quirks) { q.AbsoluteLocation, q.PageSize = true, 1 })},
		{name: "sparing", quirks: with(func(q *serve.Quirks) {
			q.NoSinglePost, q.NoChunked, q.NoMount, q.NoRange, q.NoDigestHeader, q.NoMultiTag = true, true, true, true, true, true
		})},
		{name: "no filter", quirks: with(func(q *serve.Quirks) { q.NoFilter, q.NoOCISubject, q.NoLinkBrackets, q.PageSize = true, true, true, 1 })},
		{name: "tag schema", quirks: with(func(q *serve.Quirks) { q.NoReferrersAPI, q.NoOCISubject = true, true }), limits: storetest.Limits{Writers: 3}},
		{
			name: "deletes off", quirks: with(func(q *serve.Quirks) { q.NoDelete = true }),
			limits: storetest.Limits{NoBlobDelete: true, NoManifestDelete: true, NoTagDelete: true},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			storetest.RunWith(t, func(t *testing.T) store.Store {
				h := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: tc.quirks})
				srv := httptest.NewServer(h)
				t.Cleanup(srv.Close)
				s, err := remote.Open(registryRef(srv.URL, "app"), plain(tc.opts))
				if err != nil {
					t.Fatal(err)
				}
				remote.SettleSoon(s)
				return s
			}, tc.limits)
		})
	}
}

func registryRef(url, repo string) store.Ref {
	return store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(url, "http://"), Repo: repo}
}

func plain(o remote.Options) remote.Options {
	http := true
	o.PlainHTTP = &http
	return o
}

// refersTo is the i-th manifest with this subject.
func refersTo(subject store.Manifest, i int) store.Manifest {
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":"a/b","digest":%q,"size":2},`+
		`"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":2},"annotations":{"n":"%d"}}`,
		store.MediaTypeImage, subject.Digest, store.MediaTypeImage, subject.Digest, i)
	return store.NewManifest(store.MediaTypeImage, []byte(raw))
}

// TestManyReferrersFewWrites: one process that copies many referrers at once
// does not write the list for each of them.
func TestManyReferrersFewWrites(t *testing.T) {
	t.Parallel()
	const n, bound = 60, 8
	var writes atomic.Int32
	srv := httptest.NewServer(serve.New(local.NewMemoryRegistry(), serve.Options{
		Quirks: serve.Quirks{NoReferrersAPI: true, NoOCISubject: true, Sparse: true},
		OnRequest: func(method, uri string, _ int) {
			if method == http.MethodPut && strings.Contains(uri, "/manifests/sha256-") {
				writes.Add(1)
			}
		},
	}))
	t.Cleanup(srv.Close)
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	subject := store.NewManifest(store.MediaTypeImage, []byte("{}"))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.PutManifest(t.Context(), refersTo(subject, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := store.Collect(s.Referrers(t.Context(), subject.Digest, ""))
	if err != nil || len(got) != n || writes.Load() > bound {
		t.Errorf("%d of %d referrers are listed after %d writes, %v", len(got), n, writes.Load(), err)
	}
}

// TestManyProcessesAttach: every process has a store of its own, and the
// registry keeps the list under a tag that each of them writes.
func TestManyProcessesAttach(t *testing.T) {
	t.Parallel()
	quirks := serve.Quirks{NoReferrersAPI: true, NoOCISubject: true, Sparse: true}
	srv := httptest.NewServer(serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: quirks}))
	t.Cleanup(srv.Close)
	subject := store.NewManifest(store.MediaTypeImage, []byte("{}"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{}))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.PutBlob(t.Context(), store.NewBlob("a/b", []byte("{}"))); err != nil {
				t.Error(err)
			}
			if err := s.PutManifest(t.Context(), refersTo(subject, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.Collect(s.Referrers(t.Context(), subject.Digest, ""))
	if err != nil || len(got) != 8 {
		t.Errorf("%d of 8 referrers are listed, %v", len(got), err)
	}
}
