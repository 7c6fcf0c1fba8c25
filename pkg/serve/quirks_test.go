package serve_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// Each quirk is seen from outside. The registry holds in repository "a" the
// empty blob, hello, and the manifest m under the tag v1.
var quirkCases = map[string]func(g *rig, m string){
	"no-referrers-api": func(g *rig, m string) {
		r := g.want(g.do("GET", "/v2/a/referrers/"+sum(m), ""), "404")
		g.header(r, "Content-Type: text/plain; charset=utf-8")
		g.header(g.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "OCI-Subject: ")
	},
	"artifact-manifests": func(g *rig, _ string) {
		for _, kind := range []string{store.MediaTypeArtifact, store.MediaTypeORASArtifact} {
			am := fmt.Sprintf(`{"mediaType":%q,"artifactType":"application/x","subject":{"mediaType":"application/x","digest":%q,"size":1}}`, kind, noSum)
			r := g.want(g.do("PUT", "/v2/a/manifests/am", am, "Content-Type: "+kind), "201")
			g.header(r, "OCI-Subject: "+noSum)
			g.header(g.want(g.do("GET", "/v2/a/manifests/am", ""), "200"), "Content-Type: "+kind)
		}
		g.want(g.do("PUT", "/v2/a/manifests/am", empty, "Content-Type: application/json"), "400 MANIFEST_INVALID")
	},
	"any-manifest": func(g *rig, _ string) {
		g.want(g.do("PUT", "/v2/a/manifests/x", "anything", "Content-Type: application/x"), "201")
		g.header(g.do("GET", "/v2/a/manifests/x", ""), "Content-Type: application/x")
	},
	"sparse": func(g *rig, _ string) {
		g.want(g.do("PUT", "/v2/a/manifests/ix", index(noSum), indexType), "201")
		g.want(g.do("PUT", "/v2/b/manifests/v1", image("application/x", ""), imageType), "201")
	},
	"strict-accept": func(g *rig, m string) {
		g.want(g.do("GET", "/v2/a/manifests/v1", ""), "404 MANIFEST_UNKNOWN")
		g.want(g.do("HEAD", "/v2/a/manifests/v1", "", "Accept: */*"), "404")
		g.want(g.do("GET", "/v2/a/manifests/"+sum(m), "", "Accept: text/html, "+store.MediaTypeImage+";q=0.5"), "200")
	},
	"no-oci-subject": func(g *rig, m string) {
		g.header(g.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "OCI-Subject: ")
		if r := g.do("GET", "/v2/a/referrers/"+sum(m), ""); !strings.Contains(r.body, "application/y") {
			g.Error(r.body)
		}
	},
	"false-oci-subject": func(g *rig, m string) {
		both := quirky(g.T, "false-oci-subject", "no-referrers-api")
		both.blob("a", empty)
		both.header(both.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "OCI-Subject: "+sum(m))
		both.want(both.do("GET", "/v2/a/referrers/"+sum(m), ""), "404")
	},
	"no-filter":   nil, // TestReferrers
	"page-size=1": nil, // TestPaging, TestReferrers
	"no-link-brackets": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/v2", m, imageType), "201")
		g.header(g.do("GET", "/v2/a/tags/list?n=1", ""), `Link: /v2/a/tags/list?last=v1&n=1; rel="next"`)
	},
	"no-tag-delete": func(g *rig, m string) {
		g.want(g.do("DELETE", "/v2/a/manifests/v1", ""), "405 UNSUPPORTED")
		g.want(g.do("DELETE", "/v2/a/manifests/"+sum(m), ""), "202")
	},
	"no-delete": func(g *rig, m string) {
		for _, path := range []string{"manifests/v1", "manifests/" + sum(m), "blobs/" + emptySum} {
			g.want(g.do("DELETE", "/v2/a/"+path, ""), "405 UNSUPPORTED")
		}
		g.want(g.do("DELETE", g.open("a"), ""), "204") // an upload is no content
	},
	"no-single-post": func(g *rig, _ string) {
		r := g.want(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum("new"), "new"), "202")
		g.want(g.do("PUT", r.Get("Location")+"?digest="+sum("new"), "new"), "201")
	},
	"no-mount": func(g *rig, _ string) {
		g.want(g.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+sum(hello), ""), "202")
	},
	"mount-anywhere": func(g *rig, _ string) {
		g.want(g.do("POST", "/v2/b/blobs/uploads/?mount="+sum(hello), ""), "201")
		g.want(g.do("POST", "/v2/b/blobs/uploads/?mount="+noSum, ""), "202")
	},
	"no-chunked": func(g *rig, _ string) {
		up := g.open("a")
		g.want(g.do("PATCH", up, "new"), "405 UNSUPPORTED")
		g.want(g.do("PUT", up+"?digest="+sum("new"), "new"), "201")
	},
	"chunk-min=4": func(g *rig, _ string) {
		g.header(g.do("POST", "/v2/a/blobs/uploads/", ""), "OCI-Chunk-Min-Length: 4")
		up := g.open("a")
		g.want(g.do("PATCH", up, "long"), "202")
		g.want(g.do("PATCH", up, "end"), "202")
		g.want(g.do("PATCH", up, "more"), "400 SIZE_INVALID")
		g.want(g.do("PUT", up+"?digest="+sum("longend"), ""), "201")
	},
	"max-body=4": func(g *rig, _ string) {
		up := g.open("a")
		g.header(g.want(g.do("PATCH", up, "large"), "413"), "Content-Type: text/plain; charset=utf-8")
		g.want(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum("large"), "large"), "413")
		g.want(g.send("PATCH", up, io.MultiReader(strings.NewReader("large"))), "413")
		g.header(g.want(g.do("PATCH", up, "e"), "202"), "Range: 0-4") // what arrived before the limit counts
		g.want(g.do("PUT", up+"?digest="+sum("large"), ""), "201")
	},
	"max-manifest=9": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/v2", m, imageType), "413 SIZE_INVALID")
	},
	"no-range": func(g *rig, _ string) {
		if r := g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Range: bytes=1-2"), "200"); r.body != hello {
			g.Error(r.body)
		}
	},
	"no-digest-header": func(g *rig, m string) {
		g.header(g.do("HEAD", "/v2/a/manifests/v1", ""), "Docker-Content-Digest: ")
		g.header(g.do("PUT", "/v2/a/manifests/v1", m, imageType), "Docker-Content-Digest: ")
		g.header(g.do("GET", "/v2/a/blobs/"+sum(hello), ""), "Docker-Content-Digest: ")
	},
	"wrong-digest-header": func(g *rig, m string) {
		r := g.do("GET", "/v2/a/manifests/v1", "")
		if d := r.Get("Docker-Content-Digest"); d == sum(m) || !strings.HasPrefix(d, "sha256:") || r.body != m {
			g.Errorf("%s %s", d, r.body)
		}
	},
	"absolute-location": func(g *rig, m string) {
		g.header(g.do("PUT", "/v2/a/manifests/v2", m, imageType), "Location: "+g.url+"/v2/a/manifests/"+sum(m))
		up := g.do("POST", "/v2/a/blobs/uploads/", "").Get("Location")
		if !strings.HasPrefix(up, g.url+"/v2/a/") {
			g.Error(up)
		}
		g.want(g.do("PUT", up+"?digest="+sum("new"), "new"), "201")
	},
	"relative-location": func(g *rig, _ string) { g.open("a") },
	"no-sha512": func(g *rig, m string) {
		g.want(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum512("new"), "new"), "400 DIGEST_INVALID")
		g.want(g.do("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", ""), "400 DIGEST_INVALID")
		g.want(g.do("PUT", "/v2/a/manifests/"+sum512(m), m, imageType), "400 DIGEST_INVALID")
		g.want(g.do("PUT", "/v2/a/manifests/"+sum(m), m, imageType), "201")
	},
	"multi-tag-off": func(g *rig, m string) {
		g.header(g.want(g.do("PUT", "/v2/a/manifests/"+sum(m)+"?tag=v9", m, imageType), "201"), "OCI-Tag: ")
		g.want(g.do("GET", "/v2/a/manifests/v9", ""), "404 MANIFEST_UNKNOWN")
	},
	"read-only": func(g *rig, m string) {
		g.want(g.do("POST", "/v2/a/blobs/uploads/", ""), "405 DENIED")
		g.want(g.do("PUT", "/v2/a/manifests/v1", m, imageType), "405 DENIED")
		g.want(g.do("DELETE", "/v2/a/manifests/v1", ""), "405 DENIED")
		g.want(g.do("GET", "/v2/a/manifests/v1", ""), "200")
	},
	"repo-must-exist": func(g *rig, m string) {
		g.want(g.do("POST", "/v2/new/blobs/uploads/", ""), "404 NAME_UNKNOWN")
		g.want(g.do("PUT", "/v2/new/manifests/v1", m, imageType), "404 NAME_UNKNOWN")
		g.want(g.do("PUT", "/v2/a/manifests/v2", m, imageType), "201")
	},
	"catalog-off": func(g *rig, _ string) { g.want(g.do("GET", "/v2/_catalog", ""), "404") },
	"html-404": func(g *rig, _ string) {
		r := g.want(g.do("GET", "/v2/a/manifests/v2", ""), "404")
		g.header(r, "Content-Type: text/html; charset=utf-8")
	},
}

func TestQuirks(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for name, see := range allQuirkCases() {
		known, _, _ := strings.Cut(name, "=")
		tested[known] = true
		if see == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := quirky(t, name)
			m := image("application/x", "")
			for _, content := range []string{empty, hello} {
				g.blob("a", content)
			}
			if err := g.repo("a").PutManifest(t.Context(), store.NewManifest(store.MediaTypeImage, []byte(m)), "v1"); err != nil {
				t.Fatal(err)
			}
			see(g, m)
		})
	}
	for _, q := range serve.QuirkNames() {
		if known, _, _ := strings.Cut(q.Name, "="); !tested[known] || q.Help == "" {
			t.Errorf("%s has no test or no help", q.Name)
		}
	}
}

func TestParseQuirks(t *testing.T) {
	t.Parallel()
	q, err := serve.ParseQuirks("no-mount", "page-size=2", "chunk-min=5MiB", "max-body=1GiB", "max-manifest=9")
	want := serve.Quirks{NoMount: true, PageSize: 2, ChunkMin: 5 << 20, MaxBody: 1 << 30, MaxManifest: 9}
	if err != nil || q != want {
		t.Errorf("%+v, %v", q, err)
	}
	for _, bad := range []string{
		"", "no-such", "no-mount=1", "no-mount=", "page-size", "page-size=0", "page-size=x", "chunk-min=", "chunk-min=-1",
		"chunk-min=0", "chunk-min=5MB", "max-body=99999999999999999999", "max-body=9999999999GiB",
	} {
		if _, err := serve.ParseQuirks(bad); !errors.Is(err, store.ErrUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
