package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// entry is a referrer as lists have it.
func entry(artifactType, name string) store.Descriptor {
	return store.Descriptor{MediaType: store.MediaTypeImage, ArtifactType: artifactType, Digest: digest.FromString(name), Size: 7}
}

// indexOf is an index of these entries, with more fields where they are given.
func indexOf(more string, entries ...store.Descriptor) string {
	raw, err := json.Marshal(append([]store.Descriptor{}, entries...))
	if err != nil {
		panic(err)
	}
	return `{"schemaVersion":2,"mediaType":"` + store.MediaTypeIndex + `"` + more + `,"manifests":` + string(raw) + `}`
}

var (
	api     = "GET referrers/" + dgst.String()
	tagName = wire.ReferrersTag(dgst)
	getTag  = "GET manifests/" + tagName
	putTag  = "PUT manifests/" + tagName
)

func TestReferrers(t *testing.T) {
	sbom, sig := entry("sbom", "1"), entry("sig", "2")
	list := typed(store.MediaTypeIndex, "", indexOf("", sbom, sig))
	ask := "GET referrers/{d}"
	for _, tc := range []struct {
		name  string
		mode  ReferrersMode
		kind  string
		api   http.HandlerFunc
		tag   http.HandlerFunc
		head  http.HandlerFunc // of the subject
		want  []store.Descriptor
		asked []string
		told  []string
		err   error
	}{
		{name: "API", api: list, want: []store.Descriptor{sbom, sig}, asked: []string{ask}},
		{name: "API, parameters", api: typed(store.MediaTypeIndex+";charset=utf-8", "", indexOf("", sbom)), want: []store.Descriptor{sbom}, asked: []string{ask}},
		{name: "API, empty", api: typed(store.MediaTypeIndex, "", indexOf("")), asked: []string{ask}},
		{
			name: "API does not filter and says it does", kind: "sig", want: []store.Descriptor{sig}, asked: []string{ask + "?artifactType=sig"},
			api: answer(200, indexOf("", sbom, sig), "Content-Type", store.MediaTypeIndex, "OCI-Filters-Applied", "artifactType"),
		},
		{name: "API, pages", want: []store.Descriptor{sbom, sig}, asked: []string{ask, ask + "?p=2"}, api: turns(
			answer(200, indexOf("", sbom), "Content-Type", store.MediaTypeIndex, "Link", "<?p=2>; rel=next"),
			typed(store.MediaTypeIndex, "", indexOf("", sig)))},
		{name: "API, second page is gone", want: []store.Descriptor{sbom}, asked: []string{ask, ask + "?p=2"}, err: store.ErrInvalid, api: turns(
			answer(200, indexOf("", sbom), "Content-Type", store.MediaTypeIndex, "Link", "<?p=2>; rel=next"), answer(404, ""))},
		{name: "old Harbor's {}", api: typed("application/json", "", "{}"), asked: []string{ask}},
		{name: "no repository", api: answer(404, code("NAME_UNKNOWN")), tag: list, asked: []string{ask}},
		{name: "Quay, unknown subject", api: answer(400, code("MANIFEST_INVALID")), asked: []string{ask, "HEAD manifests/{d}"}},
		{
			name: "400 for a subject that is there", api: answer(400, ""), head: typed(store.MediaTypeImage, dgst.String(), content5),
			asked: []string{ask, "HEAD manifests/{d}"}, err: store.ErrRefused,
		},
		{name: "401", api: answer(401, ""), tag: list, asked: []string{ask}, err: store.ErrUnauthorized},
		{name: "403", api: answer(403, ""), tag: list, asked: []string{ask}, err: store.ErrDenied},
		{name: "429", api: answer(429, ""), tag: list, asked: []string{ask}, err: store.ErrUnavailable},
		{name: "500", api: answer(500, ""), tag: list, asked: []string{ask}, err: store.ErrUnavailable},
		{name: "a web page", api: typed("text/html", "", "<html>"), tag: list, asked: []string{ask}, err: store.ErrInvalid},
		{name: "an image manifest", api: typed(store.MediaTypeImage, "", imageJSON), tag: list, asked: []string{ask}, err: store.ErrInvalid},
		{
			name: "an entry without a digest", api: typed(store.MediaTypeIndex, "", indexOf("", store.Descriptor{Size: 1})),
			asked: []string{ask}, err: store.ErrInvalid,
		},

		{
			name: "tag", api: answer(404, "404 page not found"), tag: list, want: []store.Descriptor{sbom, sig},
			asked: []string{ask, getTag}, told: []string{"referrers-tag"},
		},
		{
			name: "tag, filtered", kind: "sbom", api: answer(405, ""), tag: list, want: []store.Descriptor{sbom},
			asked: []string{ask + "?artifactType=sbom", getTag}, told: []string{"referrers-tag"},
		},
		{name: "tag, absent", api: answer(404, ""), asked: []string{ask, getTag}, told: []string{"referrers-tag"}},
		{name: "tag, no index", api: answer(404, ""), tag: typed(store.MediaTypeImage, "", imageJSON), asked: []string{ask, getTag}, told: []string{"referrers-tag"}},
		{
			name: "tag, index with a subject", api: answer(404, ""), asked: []string{ask, getTag}, told: []string{"referrers-tag"},
			tag: typed(store.MediaTypeIndex, "", indexOf(`,"subject":{"mediaType":"a/b","digest":"`+dgst.String()+`","size":5}`, sbom)),
		},
		{name: "tag, cannot be read", api: answer(404, ""), tag: answer(500, ""), asked: []string{ask, getTag}, told: []string{"referrers-tag"}, err: store.ErrUnavailable},
		{name: "tag pinned", mode: ReferrersTag, tag: list, want: []store.Descriptor{sbom, sig}, asked: []string{getTag}},
		{name: "API pinned and absent", mode: ReferrersAPI, api: answer(404, ""), tag: list, asked: []string{ask}, err: store.ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{Referrers: tc.mode}, map[string]http.HandlerFunc{
				api: tc.api, getTag: tc.tag, "HEAD manifests/" + dgst.String(): tc.head,
			})
			got, err := store.Collect(st.Referrers(t.Context(), dgst, tc.kind))
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("referrers (-want +got):\n%s", diff)
			}
			s.askedBeside(tc.asked...)
			s.told(tc.told...)
		})
	}
}

// A subject whose tag is the subject itself, as GitLab reads sha256-<hex>.
func TestReferrersTagIsSubject(t *testing.T) {
	subject := store.NewManifest(store.MediaTypeIndex, []byte(indexOf("", entry("sbom", "child"))))
	tag := wire.ReferrersTag(subject.Digest)
	_, st := newScript(t, Options{}, map[string]http.HandlerFunc{"GET manifests/" + tag: typed(subject.MediaType, "", string(subject.Raw))})
	got, err := store.Collect(st.Referrers(t.Context(), subject.Digest, ""))
	if err != nil || len(got) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// referrer is a manifest that refers to dgst.
func referrer(note string) store.Manifest {
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"sbom","digest":%q,"size":2},"layers":[],`+
		`"subject":{"mediaType":"a/b","digest":%q,"size":5},"annotations":{"note":%q}}`,
		store.MediaTypeImage, digest.FromString("{}"), dgst, note)
	return store.NewManifest(store.MediaTypeImage, []byte(raw))
}

// tagList is a registry's state of the list: what was PUT is what GET gives.
type tagList struct{ doc string }

func (l *tagList) get(w http.ResponseWriter, r *http.Request) {
	if l.doc == "" {
		answer(404, code("MANIFEST_UNKNOWN"))(w, r)
		return
	}
	typed(store.MediaTypeIndex, "", l.doc)(w, r)
}

func (l *tagList) put(w http.ResponseWriter, r *http.Request) {
	raw := make([]byte, r.ContentLength)
	_, _ = r.Body.Read(raw)
	l.doc = string(raw)
	w.WriteHeader(201)
}

func TestPutReferrer(t *testing.T) {
	m := referrer("one")
	listed := store.Plain(m.Descriptor)
	listed.ArtifactType, listed.Annotations = "sbom", map[string]string{"note": "one"}
	other := entry("sig", "other")
	byDigest, byTag := "PUT manifests/"+m.Digest.String(), "PUT manifests/v1"
	created, subject := answer(201, ""), answer(201, "", "OCI-Subject", dgst.String())
	lists, forgets := typed(store.MediaTypeIndex, "", indexOf("", other, listed)), typed(store.MediaTypeIndex, "", indexOf("", other))
	ask := "GET referrers/{d}"
	for _, tc := range []struct {
		name  string
		mode  ReferrersMode
		put   http.HandlerFunc
		api   http.HandlerFunc
		tag   string // the list before
		want  string // and after
		asked []string
		told  []string
		err   error
	}{
		{name: "OCI-Subject", put: subject, asked: []string{byDigest, byTag}},
		{name: "API without OCI-Subject", put: created, api: lists, asked: []string{byDigest, ask, byTag}},
		{name: "API that never lists it", put: created, api: forgets, asked: []string{byDigest, ask, ask, ask, ask}, err: store.ErrRefused},
		{name: "another OCI-Subject", put: answer(201, "", "OCI-Subject", m.Digest.String()), api: lists, asked: []string{byDigest, ask, byTag}},
		{
			name: "first in the list", put: created, want: indexOf("", listed), told: []string{"referrers-tag"},
			asked: []string{byDigest, ask, getTag, putTag, getTag, getTag, byTag},
		},
		{
			name: "added to the list", put: created, tag: indexOf("", other), want: indexOf("", other, listed), told: []string{"referrers-tag"},
			asked: []string{byDigest, ask, getTag, putTag, getTag, getTag, byTag},
		},
		{
			name: "in the list already", put: created, tag: indexOf("", listed), want: indexOf("", listed), told: []string{"referrers-tag"},
			asked: []string{byDigest, ask, getTag, byTag},
		},
		{
			name: "the tag is something else", put: created, tag: imageJSON, want: imageJSON, told: []string{"referrers-tag"},
			asked: []string{byDigest, ask, getTag}, err: store.ErrExists,
		},
		{name: "nobody may say", put: created, api: answer(403, ""), asked: []string{byDigest, ask}, err: store.ErrDenied},
		{name: "the repository is unknown", put: created, api: answer(404, code("NAME_UNKNOWN")), asked: []string{byDigest, ask}, err: store.ErrNotFound},
		{name: "tag pinned", mode: ReferrersTag, put: subject, want: indexOf("", listed), asked: []string{byDigest, getTag, putTag, getTag, getTag, byTag}},
		{name: "API pinned", mode: ReferrersAPI, put: created, api: lists, asked: []string{ask, byDigest, ask, byTag}},
		{name: "API pinned and absent: nothing is put", mode: ReferrersAPI, put: created, asked: []string{ask}, err: store.ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			list := &tagList{tc.tag}
			get := list.get
			if tc.tag == imageJSON {
				get = typed(store.MediaTypeImage, "", imageJSON)
			}
			s, st := newScript(t, Options{Referrers: tc.mode}, map[string]http.HandlerFunc{
				byDigest: tc.put, byTag: tc.put, api: tc.api, getTag: get, putTag: list.put,
			})
			err := st.PutManifest(t.Context(), m, "v1")
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, list.doc); diff != "" {
				t.Errorf("the list (-want +got):\n%s", diff)
			}
			s.withoutBodies()
			s.askedBeside(tc.asked...)
			s.told(tc.told...)
		})
	}
}

// askedBeside asserts the requests since the last call: how often the list was read,
// and the others in their order. The list may be read at the same time as
// something else, and may be read or not where wanted does not name it.
func (s *script) askedBeside(want ...string) {
	s.t.Helper()
	isList := func(line string) bool { return line == getTag }
	s.mu.Lock()
	got := slices.Clone(s.log)
	s.log = slices.DeleteFunc(s.log, isList)
	s.mu.Unlock()
	var others []string
	for _, line := range want {
		if !isList(line) {
			others = append(others, line)
		}
	}
	s.asked(others...)
	count := func(lines []string) int {
		return len(lines) - len(slices.DeleteFunc(slices.Clone(lines), isList))
	}
	if n, m := count(got), count(want); n != m && (m > 0 || n > 1) {
		s.t.Errorf("the list was read %d times, want %d:\n%s", n, m, strings.Join(got, "\n"))
	}
}

// withoutBodies cuts the log down to methods and paths.
func (s *script) withoutBodies() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, line := range s.log {
		var method, path string
		fmt.Sscan(line, &method, &path)
		s.log[i] = method + " " + path
	}
}

// What is known of a registry is not asked again, and told once.
func TestPutReferrerLearns(t *testing.T) {
	list := &tagList{}
	one, two := referrer("one"), referrer("two")
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"PUT manifests/" + one.Digest.String(): answer(201, ""), "PUT manifests/" + two.Digest.String(): answer(201, ""),
		getTag: list.get, putTag: list.put,
	})
	for i, m := range []store.Manifest{one, two} {
		if err := st.PutManifest(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		want := []string{"PUT manifests/" + m.Digest.String(), "GET referrers/{d}", getTag, putTag, getTag, getTag}
		if i > 0 {
			want = slices.Delete(want, 1, 2)
		}
		s.withoutBodies()
		s.askedBeside(want...)
	}
	s.told("referrers-tag")
	got, err := store.Collect(st.Referrers(t.Context(), dgst, ""))
	if err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

// Somebody who read the list before our PUT writes over it: it is written again.
func TestListOverwritten(t *testing.T) {
	m, other := referrer("one"), entry("sig", "other")
	list := &tagList{}
	n := 0
	s, st := newScript(t, Options{Referrers: ReferrersTag}, map[string]http.HandlerFunc{
		"PUT manifests/" + m.Digest.String(): answer(201, ""), getTag: list.get,
		putTag: func(w http.ResponseWriter, r *http.Request) {
			list.put(w, r)
			if n++; n <= 2 {
				list.doc = indexOf("", other)
			}
		},
	})
	if err := st.PutManifest(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	// Where others are at work, one look is not enough.
	s.withoutBodies()
	s.askedBeside("PUT manifests/"+m.Digest.String(), getTag, putTag, getTag, getTag, putTag, getTag, getTag, putTag, getTag, getTag, getTag)
	got, err := store.Collect(st.Referrers(t.Context(), dgst, ""))
	if err != nil || len(got) != 2 || n != 3 {
		t.Errorf("got %v, %v after %d PUTs", got, err, n)
	}
}

// A list that never takes the entry is an error, not a success.
func TestListNeverKeeps(t *testing.T) {
	m := referrer("one")
	_, st := newScript(t, Options{Referrers: ReferrersTag}, map[string]http.HandlerFunc{
		"PUT manifests/" + m.Digest.String(): answer(201, ""), getTag: typed(store.MediaTypeIndex, "", indexOf("")), putTag: answer(201, ""),
	})
	if err := st.PutManifest(t.Context(), m); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestDeleteReferrer(t *testing.T) {
	m, other := referrer("one"), entry("sig", "other")
	list := &tagList{indexOf("", other, entry("sbom", "x"), store.Plain(m.Descriptor))}
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"GET manifests/" + m.Digest.String():    typed(m.MediaType, "", string(m.Raw)),
		"DELETE manifests/" + m.Digest.String(): answer(202, ""),
		getTag:                                  list.get, putTag: list.put,
	})
	if err := st.DeleteManifest(t.Context(), m.Descriptor); err != nil {
		t.Fatal(err)
	}
	s.withoutBodies()
	s.askedBeside("GET manifests/"+m.Digest.String(), "DELETE manifests/"+m.Digest.String(), "GET referrers/{d}", getTag, putTag, getTag, getTag)
	if diff := cmp.Diff(indexOf("", other, entry("sbom", "x")), list.doc); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
}

// Once the registry is known to list referrers by itself, the tag needs no
// request of its own.
func TestPutReferrerByTag(t *testing.T) {
	one, two := referrer("one"), referrer("two")
	subject := answer(201, "", "OCI-Subject", dgst.String())
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"PUT manifests/" + one.Digest.String(): subject, "PUT manifests/v1": subject, "PUT manifests/v2": subject,
	})
	if err := st.PutManifest(t.Context(), one, "v1"); err != nil {
		t.Fatal(err)
	}
	if err := st.PutManifest(t.Context(), two, "v2"); err != nil {
		t.Fatal(err)
	}
	s.withoutBodies()
	s.askedBeside("PUT manifests/"+one.Digest.String(), "PUT manifests/v1", "PUT manifests/v2")
}

// go-containerregistry names the config's media type where the artifact type
// belongs; then the manifest itself is asked.
func TestReferrersOfEmptyConfigs(t *testing.T) {
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"sbom","config":{"mediaType":"application/vnd.oci.empty.v1+json",`+
		`"digest":%q,"size":2},"layers":[],"subject":{"mediaType":"a/b","digest":%q,"size":5}}`, store.MediaTypeImage, digest.FromString("{}"), dgst)
	m := store.NewManifest(store.MediaTypeImage, []byte(raw))
	wrong := store.Plain(m.Descriptor)
	wrong.ArtifactType = "application/vnd.oci.empty.v1+json"
	_, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		api:                                  typed(store.MediaTypeIndex, "", indexOf("", wrong)),
		"GET manifests/" + m.Digest.String(): typed(m.MediaType, "", raw),
	})
	for kind, want := range map[string]int{"": 1, "sbom": 1, "sig": 0} {
		got, err := store.Collect(st.Referrers(t.Context(), dgst, kind))
		if err != nil || len(got) != want || want > 0 && got[0].ArtifactType != "sbom" {
			t.Errorf("of the type %q: %v, %v", kind, got, err)
		}
	}
}
