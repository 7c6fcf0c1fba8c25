package wire_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
)

const d256 = digest.Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")

func TestRequestsReadAsTheyAreBuilt(t *testing.T) {
	for want, r := range map[string]wire.Request{
		"GET /v2/":                    {Kind: wire.Ping},
		"GET /v2/_catalog?n=3&last=x": {Kind: wire.Catalog, N: 3, Last: "x"},
		"GET /v2/a/b/tags/list":       {Kind: wire.TagList, Repo: "a/b", N: wire.NoLimit},
		"GET /v2/a/tags/list?n=0":     {Kind: wire.TagList, Repo: "a"},
		"HEAD /v2/a/blobs/" + string(d256): {
			Kind: wire.BlobHead, Repo: "a", Digest: d256,
		},
		"PUT /v2/a/manifests/v1":               {Kind: wire.ManifestPut, Repo: "a", Ref: "v1"},
		"PUT /v2/a/manifests/v1?tag=x&tag=y":   {Kind: wire.ManifestPut, Repo: "a", Ref: "v1", Tags: []string{"x", "y"}},
		"POST /v2/a/blobs/uploads/":            {Kind: wire.UploadStart, Repo: "a"},
		"PATCH /v2/a/blobs/uploads/id":         {Kind: wire.UploadChunk, Repo: "a", Session: "id"},
		"DELETE /v2/blobs/uploads/manifests/x": {Kind: wire.ManifestDelete, Repo: "blobs/uploads", Ref: "x"},
		"POST /v2/a/blobs/uploads/?mount=" + url.QueryEscape(string(d256)) + "&from=b/c": {
			Kind: wire.UploadMount, Repo: "a", Digest: d256, From: "b/c",
		},
		"GET /v2/a/referrers/" + string(d256) + "?artifactType=application%2Fx%2Bjson": {
			Kind: wire.Referrers, Repo: "a", Digest: d256, ArtifactType: "application/x+json",
		},
	} {
		built := r.Method() + " " + r.URL().RequestURI()
		wantURL, _ := url.Parse(want[len(r.Method())+1:])
		gotURL, _ := url.Parse(built[len(r.Method())+1:])
		if wantURL.Path != gotURL.Path || wantURL.Query().Encode() != gotURL.Query().Encode() {
			t.Errorf("built %s, want %s", built, want)
		}
		got, err := wire.Parse(r.Method(), gotURL)
		if err != nil || !cmp.Equal(got, r) {
			t.Errorf("%s reads as %+v, %v; want %+v", want, got, err, r)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		method, url string
		endpoint    bool // the endpoint is right, a value in it is not
	}{
		{"GET", "/", false},
		{"GET", "/v1/a", false},
		{"GET", "/v2/a/blobs/sha256:xyz", true},
		{"GET", "/v2/a/blobs/../../etc", false},
		{"GET", "/v2/a/tags/list?n=many", true},
		{"GET", "/v2/a/tags/list?n=-1", true},
		{"PATCH", "/v2/a/manifests/v1", false},
		{"PUT", "/v2/a/blobs/uploads/", false},
		{"PUT", "/v2/a/blobs/uploads/id", true},
		{"GET", "/v2//manifests/v1", false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = wire.Parse(c.method, u)
		if err == nil || errors.Is(err, wire.ErrNoEndpoint) == c.endpoint {
			t.Errorf("%s %s: %v", c.method, c.url, err)
		}
	}
}

// The vectors are the table of distribution-spec "Referrers tag schema".
func TestReferrersTag(t *testing.T) {
	const a64 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for in, want := range map[digest.Digest]string{
		"sha256:" + a64:       "sha256-" + a64,
		"sha512:" + a64 + a64: "sha512-" + a64,
		"test+algorithm+using+algorithm+separators+and+lots+of+characters+to+exercise+truncation:alsoSome=InTheEncodedSectionToShow=Replacement": "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShow-Replacement",
	} {
		if got := wire.ReferrersTag(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// Whatever a client sends, what Parse makes of it builds the same request again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/v2/", "/v2/a/manifests/v1?tag=x", "/v2/a/blobs/uploads/x?digest=" + string(d256), "/v2/_catalog?n=1&last=%00"} {
		f.Add("GET", s)
		f.Add("PUT", s)
	}
	f.Fuzz(func(t *testing.T, method, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		r, err := wire.Parse(method, u)
		if err != nil {
			return
		}
		again, err := wire.Parse(r.Method(), r.URL())
		if method == http.MethodHead && r.Method() == http.MethodGet {
			return // lists answer HEAD as GET
		}
		if err != nil || !cmp.Equal(again, r) {
			t.Fatalf("%s %q reads as %+v, which builds %s and reads as %+v, %v", method, raw, r, r.URL(), again, err)
		}
	})
}
