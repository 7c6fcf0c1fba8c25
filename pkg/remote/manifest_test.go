package remote

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

const imageJSON = `{"schemaVersion":2,"mediaType":"` + store.MediaTypeImage + `"}`

var imageManifest = store.NewManifest(store.MediaTypeImage, []byte(imageJSON))

// typed is an answer with a manifest: its type, and the digest that it claims.
func typed(contentType, claimed, body string) http.HandlerFunc {
	header := []string{"Content-Type", contentType, "Content-Length", strconv.Itoa(len(body))}
	if claimed != "" {
		header = append(header, "Docker-Content-Digest", claimed)
	}
	return answer(http.StatusOK, body, header...)
}

func TestResolve(t *testing.T) {
	m := imageManifest
	right, wrong := m.Digest.String(), digest.FromString("other").String()
	get := typed(m.MediaType, right, imageJSON)
	head, both := "HEAD manifests/v1", []string{"HEAD manifests/v1", "GET manifests/v1"}
	for _, tc := range []struct {
		name  string
		ref   string
		head  http.HandlerFunc
		get   http.HandlerFunc
		asked []string
		err   error
	}{
		{name: "one request", head: get, asked: []string{head}},
		{name: "parameters of Content-Type", head: typed(m.MediaType+"; charset=utf-8", right, imageJSON), asked: []string{head}},
		{name: "HEAD not allowed", head: answer(405, ""), get: get, asked: both},
		{name: "no digest", head: typed(m.MediaType, "", imageJSON), get: get, asked: both},
		{name: "garbage for a digest", head: typed(m.MediaType, "sha256:zz", imageJSON), get: get, asked: both},
		{name: "type says nothing", head: typed("application/json", right, imageJSON), get: get, asked: both},
		{name: "type says nothing, twice", head: answer(405, ""), get: typed("text/plain", "", imageJSON), asked: both},
		{name: "absent", head: answer(404, ""), asked: []string{head}, err: store.ErrNotFound},
		{name: "not allowed", head: answer(403, ""), asked: []string{head}, err: store.ErrDenied},
		{name: "a web page", head: typed("text/html", "", "<html>"), get: typed("text/html", "", "<html>"), asked: both, err: store.ErrInvalid},
		{
			name: "header contradicts the digest asked for", ref: right, head: typed(m.MediaType, wrong, imageJSON),
			asked: []string{"HEAD manifests/" + right}, err: store.ErrMismatch,
		},
		{name: "no tag", ref: "../x", err: store.ErrBadReference},
		{name: "no digest at all", ref: "sha256:short", err: store.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.ref == "" {
				tc.ref = "v1"
			}
			s, st := newScript(t, Options{}, map[string]http.HandlerFunc{"HEAD manifests/" + tc.ref: tc.head, "GET manifests/" + tc.ref: tc.get})
			d, err := st.Resolve(t.Context(), tc.ref)
			s.asked(tc.asked...)
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(m.Descriptor, d); tc.err == nil && diff != "" {
				t.Errorf("descriptor (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManifest(t *testing.T) {
	m := imageManifest
	right, wrong := m.Digest.String(), digest.FromString("other").String()
	sha512 := digest.SHA512.FromString(imageJSON).String()
	for _, tc := range []struct {
		name string
		ref  string
		get  http.HandlerFunc
		want string // digest
		err  error
	}{
		{name: "by tag", ref: "v1", get: typed(m.MediaType, right, imageJSON), want: right},
		{name: "by tag, without the header", ref: "v1", get: typed(m.MediaType, "", imageJSON), want: right},
		{name: "by digest, header names another algorithm", ref: right, get: typed(m.MediaType, sha512, imageJSON), want: right},
		{name: "by sha512", ref: sha512, get: typed(m.MediaType, right, imageJSON), want: sha512},
		{name: "other bytes, honest header", ref: right, get: typed(m.MediaType, wrong, "other"), err: store.ErrMismatch},
		{name: "other bytes, lying header", ref: right, get: typed(m.MediaType, right, "other"), err: store.ErrMismatch},
		{name: "by tag, lying header", ref: "v1", get: typed(m.MediaType, wrong, imageJSON), err: store.ErrMismatch},
		{name: "two types", ref: "v1", get: typed(store.MediaTypeIndex, "", imageJSON), err: store.ErrInvalid},
		{name: "type only in the document", ref: "v1", get: typed("application/octet-stream", "", imageJSON), want: right},
		{name: "type nowhere", ref: "v1", get: typed("application/json", "", "{}"), err: store.ErrInvalid},
		{name: "a web page", ref: "v1", get: typed("text/html; charset=utf-8", "", "<html>"), err: store.ErrInvalid},
		{name: "not JSON", ref: "v1", get: typed(m.MediaType, "", "hello"), err: store.ErrInvalid},
		{name: "two documents", ref: "v1", get: typed(m.MediaType, "", imageJSON+imageJSON), err: store.ErrInvalid},
		{name: "one name twice", ref: "v1", get: typed(m.MediaType, "", `{"a":1,"A":2}`), err: store.ErrInvalid},
		{name: "too large", ref: "v1", get: typed(m.MediaType, "", `"`+strings.Repeat("x", 2000)+`"`), err: store.ErrTooLarge},
		{name: "absent", ref: "v1", get: answer(404, code("MANIFEST_UNKNOWN")), err: store.ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{MaxManifest: 1000}, map[string]http.HandlerFunc{"GET manifests/" + tc.ref: tc.get})
			got, err := st.Manifest(t.Context(), tc.ref)
			s.asked("GET manifests/" + tc.ref)
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if tc.err == nil && (string(got.Raw) != imageJSON || got.Digest.String() != tc.want || got.MediaType != m.MediaType) {
				t.Errorf("got %+v %q", got.Descriptor, got.Raw)
			}
		})
	}
}

func TestPutManifest(t *testing.T) {
	m := imageManifest
	sha512 := m
	sha512.Digest = digest.SHA512.FromBytes(m.Raw)
	put := func(ref string) string { return "PUT manifests/" + ref + " " + imageJSON }
	created := answer(201, "", "Docker-Content-Digest", m.Digest.String())
	named := "HEAD manifests/" + m.Digest.String()
	for _, tc := range []struct {
		name  string
		m     store.Manifest
		tags  []string
		on    map[string]http.HandlerFunc
		asked []string
		err   error
	}{
		{
			name: "by digest", m: m, on: map[string]http.HandlerFunc{"PUT manifests/" + m.Digest.String(): created},
			asked: []string{put(m.Digest.String())},
		},
		{
			name: "by tags", m: m, tags: []string{"a", "b"}, on: map[string]http.HandlerFunc{"PUT manifests/a": created, "PUT manifests/b": created},
			asked: []string{put("a"), put("b")},
		},
		{
			name: "stored and not named: asked for", m: m, tags: []string{"a"}, asked: []string{put("a"), named},
			on: map[string]http.HandlerFunc{"PUT manifests/a": answer(201, ""), named: typed(m.MediaType, m.Digest.String(), imageJSON)},
		},
		{
			name: "201 and nothing stored", m: m, tags: []string{"a", "b"}, asked: []string{put("a"), named}, err: store.ErrMismatch,
			on: map[string]http.HandlerFunc{"PUT manifests/a": answer(201, "")},
		},
		{
			name: "stored as something else", m: m, tags: []string{"a", "b"}, asked: []string{put("a")}, err: store.ErrMismatch,
			on: map[string]http.HandlerFunc{"PUT manifests/a": answer(201, "", "Docker-Content-Digest", dgst.String())},
		},
		{
			name: "named by sha512 in the answer", m: m, tags: []string{"a"}, asked: []string{put("a")},
			on: map[string]http.HandlerFunc{"PUT manifests/a": answer(201, "", "Docker-Content-Digest", sha512.Digest.String())},
		},
		{
			name: "refused: no second tag, no other kind", m: m, tags: []string{"a", "b"}, asked: []string{put("a")}, err: store.ErrRefused,
			on: map[string]http.HandlerFunc{"PUT manifests/a": answer(400, code("MANIFEST_INVALID"))},
		},
		{name: "other bytes", m: store.Manifest{Descriptor: m.Descriptor, Raw: []byte("{}")}, err: store.ErrMismatch},
		{name: "two kinds", m: store.NewManifest(store.MediaTypeIndex, m.Raw), err: store.ErrInvalid},
		{name: "no tag", m: m, tags: []string{"a/../b"}, err: store.ErrBadReference},
		{
			name: "sha512 with tags, one PUT", m: sha512, tags: []string{"a", "b"},
			on:    map[string]http.HandlerFunc{"PUT manifests/" + sha512.Digest.String(): answer(201, "", "OCI-Tag", "a, b", "Docker-Content-Digest", sha512.Digest.String())},
			asked: []string{"PUT manifests/" + sha512.Digest.String() + "?tag=a&tag=b " + imageJSON},
		},
		{
			name: "sha512 with a tag that is not echoed", m: sha512, tags: []string{"a", "b"},
			on: map[string]http.HandlerFunc{
				"PUT manifests/" + sha512.Digest.String(): answer(201, "", "OCI-Tag", "b", "Docker-Content-Digest", sha512.Digest.String()), "PUT manifests/a": created,
			},
			asked: []string{"PUT manifests/" + sha512.Digest.String() + "?tag=a&tag=b " + imageJSON, put("a")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for k, h := range tc.on {
				tc.on[k] = func(w http.ResponseWriter, r *http.Request) {
					if got := r.Header.Get("Content-Type"); r.Method == http.MethodPut && got != m.MediaType {
						t.Errorf("Content-Type %q", got)
					}
					h(w, r)
				}
			}
			s, st := newScript(t, Options{}, tc.on)
			err := st.PutManifest(t.Context(), tc.m, tc.tags...)
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			s.asked(tc.asked...)
		})
	}
}

func TestDeletes(t *testing.T) {
	for _, status := range []int{202, 400, 404, 405} {
		want := map[int]error{202: nil, 400: store.ErrUnsupported, 404: store.ErrNotFound, 405: store.ErrUnsupported}[status]
		s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
			"DELETE manifests/v1": answer(status, ""), "DELETE blobs/" + dgst.String(): answer(status, ""),
		})
		if err := st.Untag(t.Context(), "v1"); !errors.Is(err, want) {
			t.Errorf("Untag after %d: %v, want %v", status, err, want)
		}
		if err := st.DeleteBlob(t.Context(), store.Descriptor{Digest: dgst}); !errors.Is(err, want) {
			t.Errorf("DeleteBlob after %d: %v, want %v", status, err, want)
		}
		// Never the manifest itself instead; after a 404 whether the tag is there.
		asked := []string{"DELETE manifests/v1", "DELETE blobs/{d}"}
		if status == 404 {
			asked = slices.Insert(asked, 1, "HEAD manifests/v1")
		}
		s.asked(asked...)
	}
}

// A 404 to the DELETE of a tag that is there is no answer about the tag (ECR).
func TestUntagOfATagThatStays(t *testing.T) {
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"DELETE manifests/v1": answer(404, ""),
		"HEAD manifests/v1":   answer(200, "", "Content-Type", store.MediaTypeImage, "Docker-Content-Digest", dgst.String(), "Content-Length", "9"),
	})
	err := st.Untag(t.Context(), "v1")
	if !errors.Is(err, store.ErrUnsupported) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrUnsupported alone", err)
	}
	if got := st.Support().Of(store.AbilityTagDelete); got != store.No {
		t.Errorf("tag-delete is %s", got)
	}
	s.asked("DELETE manifests/v1", "HEAD manifests/v1")
}

// A DELETE that was done, and whose answer got lost, is no failure: that there is
// nothing left to delete is its own work. Where nothing was there, that is told.
func TestDeleteWhoseAnswerIsLost(t *testing.T) {
	del := "DELETE blobs/" + dgst.String()
	gone := answer(404, code("BLOB_UNKNOWN"))
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, tc := range map[string]struct {
		first http.HandlerFunc
		err   error
	}{
		"cut off":         {hangUp, nil},
		"a gateway fails": {answer(502, ""), nil},
		"busy":            {answer(503, ""), store.ErrNotFound},
		"never there":     {gone, store.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, st := newScript(t, Options{Retries: 2}, map[string]http.HandlerFunc{del: turns(tc.first, gone)})
			err := st.DeleteBlob(t.Context(), store.Descriptor{Digest: dgst, Size: 5})
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
		})
	}
}
