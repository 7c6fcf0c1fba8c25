package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// Round trips on the critical path are measured in time that does not pass by
// itself (testing/synctest): each request takes one trip, a new connection one more,
// nothing else takes any. So what a command took is the number of those that waited
// for each other, however busy the machine is.
const (
	trip     = 50 * time.Millisecond
	dialling = trip // what a new connection takes
	// connections is how many are opened at once, as the program does.
	connections = 4
)

// far is a registry that is one trip away.
type far struct {
	host    string
	handler *serve.Server
	server  *http.Server
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	cache   string // of where blobs are, as the program has it; "" is none

	mu   sync.Mutex
	seen []string
}

func newFar(t *testing.T, host string, quirks ...string) *far {
	t.Helper()
	q, err := serve.ParseQuirks(quirks...)
	if err != nil {
		t.Fatal(err)
	}
	f := &far{host: host, conns: make(chan net.Conn), closed: make(chan struct{})}
	f.handler = serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: q})
	f.server = &http.Server{Handler: f}
	go f.server.Serve(f)
	return f
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Method+" "+r.URL.RequestURI())
	f.mu.Unlock()
	time.Sleep(trip)
	f.handler.ServeHTTP(w, r)
}

func (f *far) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *far) Addr() net.Addr { return &net.TCPAddr{} }

func (f *far) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// end ends everything, as a bubble of synctest needs it.
func (f *far) end() {
	f.server.Close()
	f.handler.Close()
}

func (f *far) dial(context.Context, string, string) (net.Conn, error) {
	time.Sleep(dialling)
	mine, theirs := net.Pipe()
	select {
	case f.conns <- theirs:
		return newBuffered(mine), nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// buffered is a connection that takes what is written at once, as TCP does.
type buffered struct {
	net.Conn
	out  chan []byte
	end  chan struct{}
	once sync.Once
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, out: make(chan []byte, 1<<10), end: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-b.out:
				_, _ = c.Write(p)
			case <-b.end:
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.out <- bytes.Clone(p):
		return len(p), nil
	case <-b.end:
		return 0, net.ErrClosed
	}
}

func (b *buffered) Close() error {
	b.once.Do(func() { close(b.end) })
	return b.Conn.Close()
}

func (f *far) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

// client is what one run of the program has: nothing is known of registries but what
// is in the cache.
func (f *far) client(t *testing.T, repo string) store.Store {
	t.Helper()
	s, err := remote.Open(store.Ref{Scheme: store.SchemeRegistry, Host: f.host, Repo: repo}, plain(remote.Options{Connections: connections, CacheDir: f.cache}))
	if err != nil {
		t.Fatal(err)
	}
	remote.Dial(s, f.dial)
	return store.VerifyManifests(s)
}

// command is one command of the program, by the packages it is made of.
type command func(t *testing.T, ctx context.Context) error

func (f *far) push(dir, repo, tag string, files ...string) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		return send(ctx, s, artifact.PackRequest{Dir: dir}, files, tag)
	}
}

func send(ctx context.Context, s store.Store, r artifact.PackRequest, files []string, tags ...string) error {
	r.ArtifactType = "application/vnd.example"
	for _, name := range files {
		r.Files = append(r.Files, artifact.File{Path: name})
	}
	pkg, err := artifact.Pack(ctx, r)
	if err != nil {
		return err
	}
	parts := graph.Parts{MediaType: pkg.Decision.MediaType, Blobs: pkg.Blobs, Finish: pkg.Finish, Hash: pkg.Hash}
	_, err = graph.Push(ctx, parts, s, graph.Options{Tags: tags})
	return err
}

func (f *far) attach(dir, repo, tag, file string) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		subject, err := s.Resolve(ctx, tag)
		if err != nil {
			return err
		}
		return send(ctx, s, artifact.PackRequest{Dir: dir, Subject: &subject}, []string{file})
	}
}

func (f *far) pull(repo, tag string) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		m, err := s.Manifest(ctx, tag)
		if err != nil {
			return err
		}
		_, err = artifact.Unpack(ctx, s, m, artifact.UnpackOptions{Dir: t.TempDir()})
		return err
	}
}

// copyTo copies from f, with what refers to it where deep is set.
func (f *far) copyTo(to *far, from, repo string, deep bool) command {
	return func(t *testing.T, ctx context.Context) error {
		src, dst := f.client(t, from), to.client(t, repo)
		defer src.Close()
		defer dst.Close()
		_, err := graph.Copy(ctx, src, dst, "v1", graph.CopyOptions{
			Options: graph.Options{Tags: []string{"v1"}}, Referrers: deep, Host: to.host,
		})
		return err
	}
}

func (f *far) tag(repo, from, to string) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		m, err := s.Manifest(ctx, from)
		if err != nil {
			return err
		}
		return s.PutManifest(ctx, m, to)
	}
}

func (f *far) discover(repo, tag string, want int) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		root, err := s.Resolve(ctx, tag)
		if err != nil {
			return err
		}
		// One level: what refers to the referrers is another trip.
		b, err := graph.Discover(ctx, s, root, graph.DiscoverOptions{Depth: 1})
		if err == nil && len(b.Referrers) != want {
			err = fmt.Errorf("%d referrers are listed, want %d", len(b.Referrers), want)
		}
		return err
	}
}

// cost is what a command takes. Requests below zero are at most so many: where
// more goes at once than there are connections, a list may be read once less.
type cost struct{ trips, requests int }

func (c cost) fits(trips, requests int) bool {
	return (c.trips == anyNumber || c.trips == trips) && (c.requests == requests || c.requests < 0 && requests <= -c.requests)
}

// costs runs a command and compares what it took. A part of a trip counts as one.
func costs(t *testing.T, name string, want cost, do command, at ...*far) (seen []string) {
	t.Helper()
	for _, f := range at {
		f.take()
	}
	began := time.Now()
	if err := do(t, t.Context()); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	took := int(math.Ceil(float64(time.Since(began)) / float64(trip)))
	synctest.Wait()
	for _, f := range at {
		seen = append(seen, f.take()...)
	}
	if !want.fits(took, len(seen)) {
		t.Errorf("%s took %d round trips and %d requests, want %d and %d:\n%s", name, took, len(seen), want.trips, want.requests, strings.Join(seen, "\n"))
	}
	return seen
}

// anyNumber of round trips is what many requests may take: not all are sent at once.
const anyNumber = -1

// smallFiles makes files of 4 KiB.
func smallFiles(t *testing.T, names ...string) (dir string) {
	dir = t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), slices.Repeat([]byte(name), 4096), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The numbers are those that the commands have reached. A smaller one is to be
// written down here, a larger one is a fault. Where the registry says that it mounted
// blobs, it is asked for each of them before the tag, which is a round trip: nobody
// sent them, and a tag comes after what it needs. A manifest that gets no tag is on
// its way meanwhile. What is known to be there is asked for instead of a mount.
func TestRoundTrips(t *testing.T) {
	t.Run("single POST, referrers API", func(t *testing.T) { synctest.Test(t, tripsFull) })
	t.Run("POST and PUT, referrers tag", func(t *testing.T) { synctest.Test(t, tripsOld) })
	t.Run("many referrers, referrers tag", func(t *testing.T) { synctest.Test(t, tripsOfMany) })
}

// tripsOfPush takes the same trips with each of them. Of each push the first opens the
// connections.
func tripsOfPush(t *testing.T, f *far, dir string) {
	t.Helper()
	push := func() command { return f.push(dir, "app", "v1", "a", "b", "c") }
	costs(t, "push", cost{4, 9}, push(), f)
	costs(t, "push again, from elsewhere", cost{4, 9}, push(), f)
	f.cache = t.TempDir()
	costs(t, "push, to remember", cost{4, 9}, push(), f)
	costs(t, "push again", cost{3, 5}, push(), f)
	f.cache = ""
}

func tripsFull(t *testing.T) {
	f, g := newFar(t, "one.example"), newFar(t, "two.example")
	defer f.end()
	defer g.end()
	dir := smallFiles(t, "a", "b", "c", "n")
	tripsOfPush(t, f, dir)
	costs(t, "pull", cost{3, 4}, f.pull("app", "v1"), f)
	// HEAD and HEAD, the manifest, blobs here and there, the manifest.
	costs(t, "copy", cost{6, 16}, f.copyTo(g, "app", "app", false), f, g)
	costs(t, "copy again", cost{2, 2}, f.copyTo(g, "app", "app", false), f, g)
	costs(t, "copy within", cost{6, 13}, f.copyTo(f, "app", "other", false), f)
	costs(t, "tag", cost{3, 2}, f.tag("app", "v1", "v2"), f)
	costs(t, "attach", cost{5, 6}, f.attach(dir, "app", "v1", "n"), f)
	costs(t, "attach another", cost{4, 6}, f.attach(dir, "app", "v1", "a"), f)
	costs(t, "discover", cost{3, 3}, f.discover("app", "v1", 2), f)
	costs(t, "copy with referrers", cost{anyNumber, 32}, f.copyTo(g, "app", "deep", true), f, g)
}

func tripsOld(t *testing.T) {
	f, g := newFar(t, "one.example", oldQuirks()...), newFar(t, "two.example", oldQuirks()...)
	defer f.end()
	defer g.end()
	dir := smallFiles(t, "a", "b", "c", "n")
	tripsOfPush(t, f, dir)
	costs(t, "copy", cost{6, 16}, f.copyTo(g, "app", "app", false), f, g)
	costs(t, "copy again", cost{2, 2}, f.copyTo(g, "app", "app", false), f, g)
	costs(t, "copy within", cost{6, 13}, f.copyTo(f, "app", "other", false), f)
	// Two to three of them are a wait in which other writers of the list would show.
	costs(t, "attach", cost{11, 11}, f.attach(dir, "app", "v1", "n"), f)
	costs(t, "attach another", cost{10, 11}, f.attach(dir, "app", "v1", "a"), f)
	costs(t, "discover", cost{3, 3}, f.discover("app", "v1", 2), f)
}

// oldQuirks are those of Distribution 2.8 that cost requests.
func oldQuirks() []string { return []string{"no-single-post", "no-referrers-api", "no-oci-subject"} }

// tripsOfMany copies an artifact with many referrers: each is a read at the
// source, of itself and of the list of its own, a question at the destination and
// a write. Their list is written once, whatever their number is.
func tripsOfMany(t *testing.T) {
	const n = 60
	f, g := newFar(t, "one.example", oldQuirks()...), newFar(t, "two.example", oldQuirks()...)
	defer f.end()
	defer g.end()
	costs(t, "push", cost{4, 5}, f.push(smallFiles(t, "a"), "app", "v1", "a"), f)
	seen := costs(t, "attach", cost{anyNumber, -(n + 8)}, f.putReferrers("app", "v1", n), f)
	seen = append(seen, costs(t, "copy", cost{anyNumber, -(4*n + 22)}, f.copyTo(g, "app", "app", true), f, g)...)
	writes := slices.DeleteFunc(seen, func(s string) bool { return !strings.HasPrefix(s, "PUT /v2/app/manifests/sha256-") })
	if len(writes) != 2 {
		t.Errorf("two lists were written %d times", len(writes))
	}
	costs(t, "discover", cost{3, 3}, g.discover("app", "v1", n), g)
}

// putReferrers puts n manifests that refer to one, all at once.
func (f *far) putReferrers(repo, tag string, n int) command {
	return func(t *testing.T, ctx context.Context) error {
		s := f.client(t, repo)
		defer s.Close()
		subject, err := s.Manifest(ctx, tag)
		if err == nil { // shows that there is no API
			_, err = store.Collect(s.Referrers(ctx, subject.Digest, ""))
		}
		if err != nil {
			return err
		}
		group, gctx := errgroup.WithContext(ctx)
		for i := range n {
			m := store.NewManifest(store.MediaTypeImage, fmt.Appendf(nil,
				`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],`+
					`"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{"n":"%d"}}`,
				store.MediaTypeImage, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Digest,
				subject.MediaType, subject.Digest, subject.Size, i))
			group.Go(func() error { return s.PutManifest(gctx, m) })
		}
		return group.Wait()
	}
}
