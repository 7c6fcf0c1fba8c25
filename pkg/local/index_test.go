package local_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// What is there already is not written again.
func TestLayoutWritesOnlyChanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	put(t, s, manifest("a"), "v1", "v2")
	b := store.NewBlob("text/plain", []byte("hello"))
	if _, err := s.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	stat := func() (list []os.FileInfo) {
		for _, name := range files(t, dir) {
			info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, info)
		}
		return list
	}
	before := stat()
	put(t, s, manifest("a"))
	put(t, s, manifest("a"), "v2", "v1")
	if _, err := s.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b.Digest = "" // learnt to be there only when it was read
	if got, err := s.PutBlob(t.Context(), b); err != nil || got.How != store.Present {
		t.Errorf("got %v, %v", got.How, err)
	}
	now := stat()
	if len(now) != len(before) {
		t.Fatalf("%d files, there were %d", len(now), len(before))
	}
	for i, after := range now {
		if !os.SameFile(before[i], after) {
			t.Errorf("%s was written again", after.Name())
		}
	}
}

// Other tools leave one tag at two manifests: the later one has it, and a
// change of the tag takes it from both.
func TestLayoutTagTwice(t *testing.T) {
	a, b, c := manifest("a"), manifest("b"), manifest("c")
	names := map[digest.Digest]string{a.Digest: "a", b.Digest: "b", c.Digest: "c"}
	entry := func(m store.Manifest) string {
		return `{"mediaType":"` + m.MediaType + `","digest":"` + m.Digest.String() + `","size":` + fmt.Sprint(m.Size) +
			`,"annotations":{"org.opencontainers.image.ref.name":"v1"}}`
	}
	index := `{"schemaVersion":2,"manifests":[` + entry(a) + "," + entry(b) + `]}`
	blobs := []string{string(a.Raw), string(b.Raw)}

	dir := foreign(t, index, blobs...)
	s := openLayout(t, dir)
	d, err := s.Resolve(t.Context(), "v1")
	if diff := cmp.Diff(b.Descriptor, d); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if tags, err := store.Collect(s.Tags(t.Context(), "")); err != nil || len(tags) != 1 {
		t.Errorf("tags %q, %v", tags, err)
	}
	put(t, s, c, "v1")
	if got := entries(t, dir, names); got != "a b c:v1" {
		t.Errorf("after a move: %s", got)
	}

	dir = foreign(t, index, blobs...)
	s = openLayout(t, dir)
	if err := s.Untag(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, dir, names); got != "a b" {
		t.Errorf("after Untag: %s", got)
	}
	if err := s.Untag(t.Context(), "v1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Untag again: %v", err)
	}
	if err := s.Untag(t.Context(), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Untag of nothing: %v", err)
	}
}

// What another tool removed is gone, also where it was read before.
func TestLayoutSeesWhatOthersRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	s := openLayout(t, dir)
	subject, _ := json.Marshal(manifest("subject").Descriptor)
	m := store.NewManifest(store.MediaTypeImage, []byte(`{"subject":`+string(subject)+`}`))
	put(t, s, m, "v1")
	for _, want := range []int{1, 0} {
		list, err := store.Collect(s.Referrers(t.Context(), manifest("subject").Digest, ""))
		if err != nil || len(list) != want {
			t.Errorf("%d referrers, want %d: %v", len(list), want, err)
		}
		_ = os.Remove(filepath.Join(dir, "blobs", "sha256", m.Digest.Encoded()))
	}
	_, err := s.Resolve(t.Context(), "v1")
	wants(t, err, store.ErrNotFound)
	put(t, s, m, "v1")
	if _, err := s.Resolve(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
	write(t, emptyIndex, dir, "index.json")
	_, err = s.Resolve(t.Context(), "v1")
	wants(t, err, store.ErrNotFound)
}

// A layout that stays open answers as one that is opened anew, whatever was done
// to it, and whatever other tools left in it: it does not read all again.
func TestLayoutStaysInStep(t *testing.T) {
	var ms []store.Manifest
	var raws []string
	names := map[digest.Digest]string{}
	for i := range 6 {
		ms = append(ms, manifest(fmt.Sprint(i)))
		names[ms[i].Digest] = fmt.Sprint("m", i)
		raws = append(raws, string(ms[i].Raw))
	}
	entry := func(i int, tag string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":%q}}`,
			ms[i].MediaType, ms[i].Digest, ms[i].Size, tag)
	}
	// Tags that stand twice, at two manifests and at one.
	index := `{"schemaVersion":2,"manifests":[` + strings.Join([]string{
		entry(0, "t0"), entry(1, "t0"), entry(2, "t1"), entry(2, "t1"), entry(3, "t2"), entry(3, "t3"),
	}, ",") + `]}`
	tag := func(r *rand.Rand) string { return fmt.Sprintf("t%d", r.IntN(5)) }
	r := rand.New(rand.NewPCG(1, 2))
	const eachRound = 6
	var dir string
	var s store.Store
	for step := range 25 * eachRound {
		if step%eachRound == 0 {
			dir = foreign(t, index, raws...)
			s = openLayout(t, dir)
		}
		m, what := ms[r.IntN(len(ms))], ""
		var err error
		switch r.IntN(5) {
		case 0:
			what, err = "delete", s.DeleteManifest(t.Context(), m.Descriptor)
		case 1:
			what, err = "untag", s.Untag(t.Context(), tag(r))
		case 2:
			what, err = "put", s.PutManifest(t.Context(), m)
		default:
			what, err = "tag", s.PutManifest(t.Context(), m, tag(r), tag(r))
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("step %d, %s: %v", step, what, err)
		}
		fresh := openLayout(t, dir)
		if diff := cmp.Diff(answers(t, fresh, ms), answers(t, s, ms)); diff != "" {
			t.Fatalf("step %d, %s (-opened anew +stayed open):\n%s", step, what, diff)
		}
		list := strings.Fields(entries(t, dir, names))
		for _, e := range list {
			name, _, tagged := strings.Cut(e, ":")
			if !tagged && strings.Count(" "+strings.Join(list, " "), " "+name) > 1 {
				t.Fatalf("step %d, %s: %s is listed without a tag beside others of its own: %s", step, what, name, list)
			}
		}
	}
}

// answers are what a layout says of tags and manifests.
func answers(t *testing.T, s store.Store, ms []store.Manifest) map[string]string {
	t.Helper()
	all := map[string]string{}
	ask := func(ref string) {
		d, err := s.Resolve(t.Context(), ref)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		all[ref] = fmt.Sprint(d.Digest, d.Size, err != nil)
	}
	for i, m := range ms {
		ask(fmt.Sprintf("t%d", i))
		ask(m.Digest.String())
	}
	tags, err := store.Collect(s.Tags(t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	all["tags"] = strings.Join(tags, " ")
	return all
}
