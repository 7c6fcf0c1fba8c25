package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// pointTo is a change for tests: artifact manifests become image manifests, and
// every subject and entry that moved is named anew.
func pointTo(_ context.Context, n *graph.Node, moved graph.Moved) (graph.Change, error) {
	var doc map[string]any
	if err := json.Unmarshal(n.Raw, &doc); err != nil {
		return graph.Change{}, err
	}
	changed, mediaType := false, n.MediaType
	if mediaType == store.MediaTypeArtifact {
		changed, mediaType = true, store.MediaTypeImage
		doc["mediaType"], doc["config"], doc["layers"] = mediaType, store.EmptyJSON(), doc["blobs"]
		delete(doc, "blobs")
	}
	if s := n.Outline.Subject; s != nil {
		if m, ok := moved(*s); ok {
			changed, doc["subject"] = true, store.Plain(m.Descriptor)
		}
	}
	var children []store.Descriptor
	for _, d := range n.Outline.Manifests {
		if m, ok := moved(d); ok {
			changed, d = true, store.Plain(m.Descriptor)
		}
		children = append(children, d)
	}
	if !changed {
		return graph.Change{Manifest: n.Manifest}, nil
	}
	if children != nil {
		doc["manifests"] = children
	}
	raw, err := json.Marshal(doc)
	c := graph.Change{Manifest: store.NewManifest(mediaType, raw), Blobs: []store.Blob{store.NewBlob("application/vnd.oci.empty.v1+json", []byte("{}"))}}
	return c, err
}

func rewriteAll(tags ...string) graph.RewriteOptions {
	return graph.RewriteOptions{Options: graph.Options{Tags: tags}, Referrers: true, Same: true, Change: pointTo}
}

// old is a graph from the time of the artifact manifest: an index of an image
// and an artifact, an SBOM of the image, and a signature of the SBOM.
type old struct{ image, artifact, index, sbom, signature store.Descriptor }

func (b builder) artifactManifest(content string, subject *store.Descriptor) store.Descriptor {
	doc := map[string]any{"mediaType": store.MediaTypeArtifact, "artifactType": "application/vnd.test", "blobs": []store.Descriptor{b.blob(content)}}
	if subject != nil {
		doc["subject"] = store.Plain(*subject)
	}
	return b.manifest(doc)
}

func buildOld(t *testing.T, s store.Store) old {
	b := builder{t, s}
	var x old
	x.image, x.artifact = b.image("image", nil), b.artifactManifest("artifact", nil)
	x.index = b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{x.image, x.artifact}}, "all")
	x.sbom = b.artifactManifest("sbom", &x.image)
	x.signature = b.artifactManifest("signature", &x.sbom)
	return x
}

// table is a map as lines of "old reasons".
func table(m []graph.Mapped) (lines []string) {
	for _, e := range m {
		lines = append(lines, fmt.Sprint(e.Old.Digest, e.Reasons))
	}
	slices.Sort(lines)
	return lines
}

func TestRewriteOfAGraph(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	before := len(s.puts())
	done, err := graph.Rewrite(t.Context(), s, s, x.index, rewriteAll("new", "all"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint(x.artifact.Digest, []graph.Reason{graph.TypeChange}), fmt.Sprint(x.index.Digest, []graph.Reason{graph.ChildMoved}),
		fmt.Sprint(x.sbom.Digest, []graph.Reason{graph.TypeChange}), fmt.Sprint(x.signature.Digest, []graph.Reason{graph.TypeChange, graph.SubjectMoved}),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, table(done.Map)); diff != "" {
		t.Error(diff)
	}
	puts := s.puts()[before:]
	if last := puts[len(puts)-1]; len(puts) != 5 || last != fmt.Sprintf("manifest %s new,all", done.Root.Digest) {
		t.Errorf("four manifests and the tags, last of all, should be put:\n%s", strings.Join(puts, "\n"))
	}
	for _, d := range []store.Descriptor{x.image, x.artifact, x.index, x.sbom, x.signature} {
		if _, err := s.Manifest(t.Context(), d.Digest.String()); err != nil {
			t.Errorf("an old manifest is gone: %v", err)
		}
	}
	if list, err := store.Collect(s.Referrers(t.Context(), x.image.Digest, "")); err != nil || len(list) != 2 {
		t.Errorf("the image should have the old and the new SBOM: %v, %v", list, err)
	}

	before = len(s.log)
	again, err := graph.Rewrite(t.Context(), s, s, x.index, rewriteAll("new", "all"))
	if err != nil || again.Root.Digest != done.Root.Digest {
		t.Fatalf("a second run gives %s, %v", again.Root.Digest, err)
	}
	if diff := cmp.Diff(table(done.Map), table(again.Map)); diff != "" {
		t.Errorf("the map of a second run is another: %s", diff)
	}
	for _, line := range s.log[before:] {
		if !strings.HasPrefix(line, "resolve ") {
			t.Errorf("a second run puts %s", line)
		}
	}
}

func TestRewritePutsNothingOnADryRun(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	opts := rewriteAll("new")
	opts.DryRun = true
	before := len(s.log)
	done, err := graph.Rewrite(t.Context(), s, s, x.index, opts)
	if err != nil || len(done.Map) != 4 {
		t.Fatalf("%d entries, %v", len(done.Map), err)
	}
	for _, line := range s.log[before:] {
		if !strings.HasPrefix(line, "resolve ") {
			t.Errorf("it puts %s", line)
		}
	}
}

// What is not there yet is all that goes to another store, old nodes that stay
// as they are among it.
func TestRewriteIntoAnotherStore(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	x := buildOld(t, src)
	opts := rewriteAll("v1")
	opts.Same = false
	done, err := graph.Rewrite(t.Context(), src, dst, x.index, opts)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := graph.Walk(t.Context(), dst, done.Root, graph.WalkOptions{Referrers: true})
	if err != nil || len(nodes) != 5 {
		t.Fatalf("%d manifests, %v", len(nodes), err)
	}
	for _, n := range nodes {
		if n.MediaType == store.MediaTypeArtifact {
			t.Errorf("%s is still an artifact manifest", n.Digest)
		}
		for _, d := range n.Blobs() {
			d.Size = store.UnknownSize
			if _, err := dst.Blob(t.Context(), d); err != nil {
				t.Errorf("a blob of %s: %v", n.Digest, err)
			}
		}
	}
	if _, err := dst.Manifest(t.Context(), x.sbom.Digest.String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old SBOM: %v", err)
	}
}

func TestRewriteTellsWhatItDidNotTake(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	opts := rewriteAll()
	opts.Referrers = false
	done, err := graph.Rewrite(t.Context(), s, s, x.sbom, opts)
	if err != nil || len(done.Map) != 1 || len(done.Map[0].Left) != 1 || done.Map[0].Left[0].Digest != x.signature.Digest {
		t.Errorf("%+v, %v", done.Map, err)
	}
}

func TestRewriteKeepsADanglingSubject(t *testing.T) {
	s := newRecorder()
	away := store.NewManifest(store.MediaTypeImage, []byte(`{"away":true}`)).Descriptor
	sbom := builder{t, s}.artifactManifest("sbom", &away)
	done, err := graph.Rewrite(t.Context(), s, s, sbom, rewriteAll())
	if err != nil || len(done.Map) != 1 || !done.Map[0].Dangling {
		t.Fatalf("%+v, %v", done.Map, err)
	}
	if o, err := store.ParseOutline(done.Map[0].New); err != nil || o.Subject.Digest != away.Digest {
		t.Errorf("%+v, %v", o, err)
	}
}

// faulty is a store out of order.
type faulty struct {
	*recorder
	loses  bool          // says that it took a manifest
	retags digest.Digest // somebody else moves the tags while blobs are put
	lies   bool          // gives every image manifest back as something else
	turns  bool          // lists referrers the other way round
	fails  string        // does not answer when asked for this tag
}

func (f faulty) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	m, err := f.recorder.Manifest(ctx, ref)
	if f.lies && m.MediaType == store.MediaTypeImage {
		m.MediaType = store.MediaTypeDockerImage
	}
	return m, err
}

func (f faulty) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	if f.fails == ref {
		return store.Descriptor{}, store.ErrUnavailable
	}
	return f.recorder.Resolve(ctx, ref)
}

func (f faulty) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	list := f.recorder.Referrers(ctx, subject, artifactType)
	if !f.turns {
		return list
	}
	all, err := store.Collect(list)
	return func(yield func(store.Descriptor, error) bool) {
		for _, d := range slices.Backward(all) {
			if !yield(d, err) {
				return
			}
		}
	}
}

func (f faulty) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	if f.loses {
		return nil
	}
	return f.recorder.PutManifest(ctx, m, tags...)
}

func (f faulty) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	if f.retags != "" {
		m, err := f.Manifest(ctx, f.retags.String())
		if err == nil {
			err = f.recorder.PutManifest(ctx, m, "all")
		}
		if err != nil {
			return store.Put{}, err
		}
	}
	return f.recorder.PutBlob(ctx, b)
}

func TestRewriteFindsWhatWentWrong(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	_, err := graph.Rewrite(t.Context(), s, faulty{recorder: s, loses: true}, x.index, rewriteAll("all"))
	if !errors.Is(err, store.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "read back") {
		t.Errorf("a store that loses manifests: %v", err)
	}
	_, err = graph.Rewrite(t.Context(), s, faulty{recorder: s, retags: x.image.Digest}, x.index, rewriteAll("all"))
	if !errors.Is(err, store.ErrExists) {
		t.Errorf("a tag that somebody else moved: %v", err)
	}
	_, err = graph.Rewrite(t.Context(), s, faulty{recorder: s, lies: true}, x.index, rewriteAll())
	if !errors.Is(err, store.ErrMismatch) {
		t.Errorf("a store that gives back something else: %v", err)
	}
	_, err = graph.Rewrite(t.Context(), s, faulty{recorder: s, fails: "all"}, x.index, rewriteAll("all"))
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a store that does not say what a tag names: %v", err)
	}
	if d, err := s.Resolve(t.Context(), "all"); err != nil || d.Digest != x.image.Digest {
		t.Errorf("the tag that somebody else moved was overwritten: %v, %v", d.Digest, err)
	}
}

// Registries and layouts list referrers in different orders.
func TestRewriteHasOneOrder(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	for _, content := range []string{"a", "b", "c", "d"} {
		builder{t, s}.artifactManifest(content, &x.image)
	}
	opts := rewriteAll()
	opts.DryRun = true
	var maps [2][]digest.Digest
	for i, turns := range []bool{false, true} {
		done, err := graph.Rewrite(t.Context(), faulty{recorder: s, turns: turns}, s, x.index, opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range done.Map {
			maps[i] = append(maps[i], m.Old.Digest)
		}
	}
	if diff := cmp.Diff(maps[0], maps[1]); diff != "" || len(maps[0]) != 8 {
		t.Error(diff)
	}
}

// A registry that took an artifact manifest without its blobs must not be given
// an image that has none.
func TestRewriteWantsTheBlobs(t *testing.T) {
	s := newRecorder()
	x := buildOld(t, s)
	m, err := s.Manifest(t.Context(), x.sbom.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBlob(t.Context(), o.Layers[0]); err != nil {
		t.Fatal(err)
	}
	before := len(s.puts())
	_, err = graph.Rewrite(t.Context(), s, s, x.index, rewriteAll())
	if !errors.Is(err, store.ErrNotFound) || len(s.puts()) != before {
		t.Errorf("%v", err)
	}
}
