package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// tagRegistry keeps one list of referrers under its tag. Its first write waits
// for release.
type tagRegistry struct {
	mu      sync.Mutex
	list    string
	writes  int
	began   chan bool // the first write has come
	release chan bool
}

func (g *tagRegistry) get(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", store.MediaTypeIndex)
	_, _ = io.WriteString(w, g.list)
}

func (g *tagRegistry) put(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	g.list = string(raw)
	g.writes++
	first := g.writes == 1
	g.mu.Unlock()
	if first {
		g.began <- true
		select {
		case <-g.release:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(http.StatusCreated)
}

// listed asserts the entries, by what they are digests of.
func (g *tagRegistry) listed(t *testing.T, writes int, names ...string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.writes != writes || strings.Count(g.list, "sha256:") != len(names) {
		t.Errorf("%d writes of %s, want %d with %d entries", g.writes, g.list, writes, len(names))
	}
	for _, name := range names {
		if !strings.Contains(g.list, digest.FromString(name).String()) {
			t.Errorf("%s is not listed", name)
		}
	}
}

func newTagRegistry(t *testing.T) (*tagRegistry, *repository) {
	t.Helper()
	g := &tagRegistry{began: make(chan bool, 1), release: make(chan bool)}
	tag := "manifests/" + wire.ReferrersTag(dgst)
	_, st := newScript(t, Options{}, map[string]http.HandlerFunc{"GET " + tag: g.get, "PUT " + tag: g.put})
	return g, st.(*repository)
}

// linkTo is a link of something that was put already.
func linkTo(r *repository) *linking {
	arrived, _ := r.lists.announce(dgst)
	return &linking{subject: dgst, arrived: arrived}
}

func entryOf(name string) store.Descriptor {
	return store.Descriptor{MediaType: store.MediaTypeImage, Digest: digest.FromString(name), Size: 1}
}

// waits waits until n changes wait behind the one that is written.
func (r *repository) waits(t *testing.T, n int) {
	t.Helper()
	for range 500 {
		r.lists.mu.Lock()
		b := r.lists.waiting[dgst]
		ok := n == 0 && b == nil || b != nil && len(b.changes) == n
		r.lists.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d changes do not come to wait", n)
}

// What arrives while a list is written is written at once.
func TestListChangesGoTogether(t *testing.T) {
	t.Parallel()
	g, r := newTagRegistry(t)
	var wg sync.WaitGroup
	add := func(name string) {
		wg.Go(func() {
			if err := r.addToList(t.Context(), linkTo(r), entryOf(name)); err != nil {
				t.Error(err)
			}
		})
	}
	add("first")
	<-g.began
	names := []string{"first"}
	for i := range 60 {
		names = append(names, fmt.Sprint(i))
		add(names[i+1])
	}
	r.waits(t, 60)
	close(g.release)
	wg.Wait()
	g.listed(t, 2, names...)
}

// Of two changes about the same referrer that wait, the later one holds.
func TestLaterListChangeHolds(t *testing.T) {
	t.Parallel()
	g, r := newTagRegistry(t)
	done := make(chan error, 4)
	go func() { done <- r.addToList(t.Context(), linkTo(r), entryOf("first")) }()
	<-g.began
	go func() { done <- r.addToList(t.Context(), linkTo(r), entryOf("gone")) }()
	r.waits(t, 1)
	go func() { done <- r.addToList(t.Context(), linkTo(r), entryOf("stays")) }()
	r.waits(t, 2)
	dropped := make(chan bool)
	go func() {
		close(dropped)
		done <- r.dropFromList(t.Context(), dgst, digest.FromString("gone"))
	}()
	<-dropped
	time.Sleep(20 * time.Millisecond) // the number that wait does not tell it
	close(g.release)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	g.listed(t, 2, "first", "stays")
}

// Who would have written for the others is given up: they write themselves.
func TestListChangeOutlivesItsWriter(t *testing.T) {
	t.Parallel()
	g, r := newTagRegistry(t)
	first, writer, other := make(chan error), make(chan error), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { first <- r.addToList(t.Context(), linkTo(r), entryOf("first")) }()
	<-g.began
	go func() { writer <- r.addToList(ctx, linkTo(r), entryOf("writer")) }()
	r.waits(t, 1)
	go func() { other <- r.addToList(t.Context(), linkTo(r), entryOf("other")) }()
	r.waits(t, 2)
	cancel()
	if err := <-writer; !errors.Is(err, context.Canceled) {
		t.Errorf("who was given up: %v", err)
	}
	r.waits(t, 1)
	close(g.release)
	for _, done := range []chan error{first, other} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	g.listed(t, 2, "first", "other")
}

// A list is not written while another change to it is on its way: they are
// written at once.
func TestListWaitsForChangesOnTheirWay(t *testing.T) {
	t.Parallel()
	g, r := newTagRegistry(t)
	close(g.release)
	second := linkTo(r)
	done := make(chan error, 2)
	go func() { done <- r.addToList(t.Context(), linkTo(r), entryOf("first")) }()
	r.waits(t, 1)
	time.Sleep(20 * time.Millisecond)
	g.listed(t, 0)
	go func() { done <- r.addToList(t.Context(), second, entryOf("second")) }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	g.listed(t, 1, "first", "second")
	// One that does not come after all is not waited for.
	third := linkTo(r)
	go func() { done <- r.addToList(t.Context(), linkTo(r), entryOf("fourth")) }()
	r.waits(t, 1)
	third.arrived()
	if err := <-done; err != nil {
		t.Error(err)
	}
	g.listed(t, 2, "first", "second", "fourth")
}

// What somebody else wrote between our reading and our writing of a list, and
// proved before we wrote, is put back by us: nobody else knows that it is lost.
func TestListPutsBackWhatItOverwrote(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	list, reads, writes := indexOf("", entryOf("old"), entryOf("gone")), 0, 0
	watched := make(chan struct{})
	tag := "manifests/" + wire.ReferrersTag(dgst)
	_, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"GET " + tag: func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			typed(store.MediaTypeIndex, "", list)(w, r)
			switch reads++; reads {
			case 1: // our reading of before: they write after it
				list = indexOf("", entryOf("old"), entryOf("gone"), entryOf("theirs"))
			case 2: // who looks while our writing is under way
				close(watched)
			}
		},
		"PUT " + tag: func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			<-watched
			mu.Lock()
			defer mu.Unlock()
			writes++
			list = string(raw)
			w.WriteHeader(http.StatusCreated)
		},
	})
	if err := st.(*repository).dropFromList(t.Context(), dgst, digest.FromString("gone")); err != nil {
		t.Fatal(err)
	}
	want := indexOf("", entryOf("old"), entryOf("theirs"))
	if list != want || writes != 2 {
		t.Errorf("after %d writes the list is %s, want %s", writes, list, want)
	}
}

// A write that failed is not sent again as it was: what others have written since
// then, and proved, would be lost. The list is read anew, whether the registry has
// stored ours or not.
func TestListIsReadAnewAfterAFault(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"refused": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			list, reads, writes := indexOf("", entryOf("old")), 0, 0
			watched := make(chan struct{})
			tag := "manifests/" + wire.ReferrersTag(dgst)
			_, st := newScript(t, Options{Retries: 2}, map[string]http.HandlerFunc{
				"GET " + tag: func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					typed(store.MediaTypeIndex, "", list)(w, r)
					if reads++; reads == 2 { // who looks while our writing is under way
						close(watched)
					}
				},
				"PUT " + tag: func(w http.ResponseWriter, r *http.Request) {
					raw, _ := io.ReadAll(r.Body)
					<-watched
					mu.Lock()
					defer mu.Unlock()
					if writes++; writes > 1 {
						list = string(raw)
						w.WriteHeader(http.StatusCreated)
						return
					}
					// They read it now, and write and prove it before we come again.
					entries := []store.Descriptor{entryOf("old"), entryOf("theirs")}
					if stored {
						entries = append(entries, entryOf("ours"))
					}
					list = indexOf("", entries...)
					w.WriteHeader(http.StatusServiceUnavailable)
				},
			})
			if err := st.(*repository).addToList(t.Context(), linkTo(st.(*repository)), entryOf("ours")); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"old", "ours", "theirs"} {
				if strings.Count(list, digest.FromString(name).String()) != 1 {
					t.Errorf("after %d writes %s is not in %s", writes, name, list)
				}
			}
		})
	}
}
