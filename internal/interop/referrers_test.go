package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// TestReferrersThereAndBack: an index of three platforms with two referrers
// each, one of them a referrer of a referrer, goes by cp -r from a registry
// with the referrers API to one without and back to one with it. Nothing is
// lost, no digest moves, and the other way of keeping referrers is announced.
func TestReferrersThereAndBack(t *testing.T) {
	for _, middle := range []registry{
		{name: "docker-registry-2.8", start: startDebian},
		{name: "distribution-v3", start: startDistribution},
		{name: "serve without the API", start: func(t *testing.T) string {
			return startQuirky(t, serve.Quirks{NoReferrersAPI: true, NoOCISubject: true})
		}},
	} {
		t.Run(middle.name, func(t *testing.T) {
			t.Parallel()
			first, second, last := startServe(t), middle.start(t), startServe(t)
			want := makeFamily(t, first, "app", 0)
			if n := len(want); n != 1+3+3*2 {
				t.Fatalf("the source has %d manifests, want 10", n)
			}

			there := run{}.do(t, "cp", "-r", "--format", "json", first+"/app:all", second+"/mirror/app:all")
			if there.code != 0 {
				t.Fatalf("cp -r there: exit %d\n%s", there.code, there.stderr)
			}
			if diff := cmp.Diff(want, family(t, second, "mirror/app")); diff != "" {
				t.Errorf("there (-want +got):\n%s", diff)
			}
			announces(t, there, second)

			back := run{}.do(t, "cp", "-r", "--format", "json", second+"/mirror/app:all", last+"/app:all")
			if back.code != 0 {
				t.Fatalf("cp -r back: exit %d\n%s", back.code, back.stderr)
			}
			if diff := cmp.Diff(want, family(t, last, "app")); diff != "" {
				t.Errorf("and back (-want +got):\n%s", diff)
			}
			announces(t, back, second) // it is read there
			if tags := tagsOf(t, last, "app"); !slices.Equal(tags, []string{"all"}) {
				t.Errorf("tags at the end: %q, want only all: the referrers tags stay where they are needed", tags)
			}
			// A second time there is nothing to do, and nothing is written.
			again := decode[struct{ Counts struct{ Sent, Mounted int } }](t,
				run{}.ok(t, "cp", "-r", "--format", "json", first+"/app:all", second+"/mirror/app:all"))
			if again.Counts.Sent+again.Counts.Mounted > 0 {
				t.Errorf("a second cp sent %d and mounted %d", again.Counts.Sent, again.Counts.Mounted)
			}
		})
	}
}

// announces asserts that a copy says on stderr and in its JSON that host keeps
// referrers under tags.
func announces(t *testing.T, res result, host string) {
	t.Helper()
	if !strings.Contains(res.stderr, host+"/") || !strings.Contains(res.stderr, "referrers are kept under the tag schema") {
		t.Errorf("stderr does not announce the referrers tag:\n%s", res.stderr)
	}
	out := decode[struct {
		Fallbacks []struct{ Choice, Reason, Name string }
	}](t, res.stdout)
	for _, f := range out.Fallbacks {
		if f.Choice == "referrers-tag" && f.Reason != "" && strings.HasPrefix(f.Name, host+"/") {
			return
		}
	}
	t.Errorf("the JSON does not announce the referrers tag of %s:\n%s", host, res.stdout)
}

// TestReferrersEverywhere: the same family goes by cp -r through each registry
// that lists referrers, in one way or the other. The index has many referrers
// too, which are written at a time.
func TestReferrersEverywhere(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		first, second, last := startServe(t), reg.start(t), startServe(t)
		want := makeFamily(t, first, "app", 12)
		run{}.ok(t, "cp", "-r", first+"/app:all", second+"/app:all")
		run{}.ok(t, "cp", "-r", second+"/app:all", last+"/app:all")
		if diff := cmp.Diff(want, family(t, last, "app")); diff != "" {
			t.Errorf("there and back (-want +got):\n%s", diff)
		}
	})
}

func openRepo(t *testing.T, host, repo string) store.Store {
	t.Helper()
	s, err := remote.Open(store.Ref{Scheme: store.SchemeRegistry, Host: host, Repo: repo}, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store.Verify(s)
}

func tagsOf(t *testing.T, host, repo string) []string {
	t.Helper()
	tags, err := store.Collect(openRepo(t, host, repo).Tags(t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(tags))
}

// makeFamily puts an index of three platforms, to each of which an SBOM refers,
// and to that a signature. more referrers refer to the index. It gives what
// family gives.
func makeFamily(t *testing.T, host, repo string, more int) map[string][]string {
	t.Helper()
	s := openRepo(t, host, repo)
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, arch := range []string{"amd64", "arm64", "riscv64"} {
		child := putImage(t, s, "", nil, "program for "+arch)
		d := store.Plain(child.Descriptor)
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
		sbom := putImage(t, s, "application/vnd.example.sbom", &child, "parts of "+arch)
		putImage(t, s, "application/vnd.example.signature", &sbom, "signature of the parts of "+arch)
	}
	root := put(t, s, index.MediaType, index, "all")
	for i := range more {
		putImage(t, s, "application/vnd.example.note", &root, fmt.Sprint("note ", i))
	}
	return family(t, host, repo)
}

func putImage(t *testing.T, s store.Store, artifactType string, subject *store.Manifest, content string) store.Manifest {
	t.Helper()
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Config: store.Plain(store.EmptyJSON()),
		Annotations: map[string]string{"note": content},
	}
	m.SchemaVersion = 2
	if subject != nil {
		d := store.Plain(subject.Descriptor)
		m.Subject = &d
	}
	for _, b := range []store.Blob{store.NewBlob(m.Config.MediaType, []byte("{}")), store.NewBlob("text/plain", []byte(content))} {
		if _, err := s.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		m.Layers = []store.Descriptor{b.Descriptor}
	}
	return put(t, s, m.MediaType, m)
}

func put(t *testing.T, s store.Store, mediaType string, v any, tags ...string) store.Manifest {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	m := store.NewManifest(mediaType, raw)
	if err := s.PutManifest(t.Context(), m, tags...); err != nil {
		t.Fatal(err)
	}
	return m
}

// family walks from the tag all: each manifest's digest, with what leads on
// from there. Everything that it meets is read and proven.
func family(t *testing.T, host, repo string) map[string][]string {
	t.Helper()
	s, found := openRepo(t, host, repo), map[string][]string{}
	root, err := s.Resolve(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	queue := []string{root.Digest.String()}
	for len(queue) > 0 {
		ref := queue[0]
		queue = queue[1:]
		if _, seen := found[ref]; seen {
			continue
		}
		m, err := s.Manifest(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			t.Fatal(err)
		}
		leads := []string{}
		for _, d := range o.Manifests {
			leads = append(leads, "child "+d.Digest.String())
			queue = append(queue, d.Digest.String())
		}
		for d, err := range s.Referrers(t.Context(), m.Digest, "") {
			if err != nil {
				t.Fatal(err)
			}
			leads = append(leads, fmt.Sprintf("%s %s %s", d.Digest, d.ArtifactType, slices.Sorted(maps.Values(d.Annotations))))
			queue = append(queue, d.Digest.String())
		}
		readBlobs(t, s, o)
		slices.Sort(leads)
		found[ref] = leads
	}
	return found
}

func readBlobs(t *testing.T, s store.Store, o *store.Outline) {
	t.Helper()
	for _, d := range o.Blobs() {
		b, err := s.Blob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := store.ReadBlob(t.Context(), b, 1<<20)
		if err != nil || int64(len(raw)) != d.Size {
			t.Fatalf("blob %s: %d bytes, %v", d.Digest, len(raw), err)
		}
	}
}
