package serve_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

const (
	artifactType = "Content-Type: " + store.MediaTypeArtifact
	artifact     = `{"mediaType":"` + store.MediaTypeArtifact + `","artifactType":"application/x"}`
)

// layered is an image manifest whose only layer is the blob of this digest.
func layered(d string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[{"mediaType":"application/x","digest":%q,"size":1}]}`, emptySum, d)
}

var manifestQuirkCases = map[string]func(g *rig, m string){
	"no-docker": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/d", `{"schemaVersion":2}`, "Content-Type: "+store.MediaTypeDockerImage), "400 MANIFEST_INVALID")
	},
	"refusal=html": func(g *rig, _ string) {
		r := g.want(g.do("PUT", "/v2/a/manifests/am", artifact, artifactType), "400")
		g.header(r, "Content-Type: text/html; charset=utf-8")
		g.want(g.do("PUT", "/v2/a/manifests/am", artifact, "Content-Type: ;"), "400")
	},
	"type-before-auth": func(g *rig, m string) {
		q, _ := serve.ParseQuirks("type-before-auth")
		g = start(g.T, serve.Options{Quirks: q, Basic: map[string]string{"u": "p"}})
		g.want(g.do("PUT", "/v2/a/manifests/am", artifact, artifactType), "400 MANIFEST_INVALID")
		g.want(g.do("PUT", "/v2/a/manifests/v1", m, imageType), "401 UNAUTHORIZED")
	},
	"absent-blobs": func(g *rig, _ string) {
		g.want(g.do("PUT", "/v2/a/manifests/x", layered(noSum), imageType), "201")
		g.want(g.do("PUT", "/v2/a/manifests/x", index(noSum), indexType), "400 MANIFEST_BLOB_UNKNOWN")
	},
	"absent-blob=500:UNKNOWN": func(g *rig, _ string) {
		g.want(g.do("PUT", "/v2/a/manifests/x", layered(noSum), imageType), "500 UNKNOWN")
		g.want(g.do("PUT", "/v2/a/manifests/x", index(noSum), indexType), "400 MANIFEST_BLOB_UNKNOWN")
	},
	"absent-child=404:MANIFEST_UNKNOWN": func(g *rig, _ string) {
		g.want(g.do("PUT", "/v2/a/manifests/x", layered(noSum), imageType), "400 MANIFEST_BLOB_UNKNOWN")
		g.want(g.do("PUT", "/v2/a/manifests/x", index(noSum), indexType), "404 MANIFEST_UNKNOWN")
	},
	"wrong-digest=400:MANIFEST_INVALID": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/"+noSum, m, imageType), "400 MANIFEST_INVALID")
	},
	"no-digest-check": func(g *rig, m string) {
		other := image("application/other", "")
		g.header(g.want(g.do("PUT", "/v2/a/manifests/"+noSum, other, imageType), "201"), "Docker-Content-Digest: "+sum(other))
		for _, d := range []string{noSum, sum(other)} {
			if r := g.want(g.do("GET", "/v2/a/manifests/"+d, ""), "200"); r.body != other {
				g.Error(r.body)
			}
			g.want(g.do("HEAD", "/v2/a/manifests/"+d, ""), "200")
		}
		g.want(g.do("GET", "/v2/b/manifests/"+noSum, ""), "404 MANIFEST_UNKNOWN")
		g.want(g.do("DELETE", "/v2/a/manifests/"+noSum, ""), "202")
		g.want(g.do("GET", "/v2/a/manifests/"+noSum, ""), "404 MANIFEST_UNKNOWN")
		g.want(g.do("GET", "/v2/a/manifests/"+sum(other), ""), "200")
	},
	"layers-required": func(g *rig, m string) {
		bare := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[]}`, emptySum)
		g.want(g.do("PUT", "/v2/a/manifests/x", bare, imageType), "400 MANIFEST_INVALID")
		g.want(g.do("PUT", "/v2/a/manifests/x", m, imageType), "201")
		g.want(g.do("PUT", "/v2/a/manifests/ix", index(sum(m)), indexType), "201")
	},
	"subject-must-exist": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/x", image("application/x", noSum), imageType), "400 MANIFEST_BLOB_UNKNOWN")
		g.want(g.do("PUT", "/v2/a/manifests/x", image("application/x", sum(m)), imageType), "201")
	},
	"digest-tags": func(g *rig, m string) {
		tag := strings.Replace(sum(m), ":", "-", 1)
		g.header(g.want(g.do("HEAD", "/v2/a/manifests/"+tag, ""), "200"), "Docker-Content-Digest: "+sum(m))
		g.want(g.do("GET", "/v2/a/manifests/sha256-no", ""), "404 MANIFEST_UNKNOWN")
	},
	"large-manifest=400:MANIFEST_INVALID": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/v2", strings.Repeat(" ", 4<<20)+m, imageType), "400 MANIFEST_INVALID")
	},
}

var referrersQuirkCases = map[string]func(g *rig, m string){
	"referrers=405:UNSUPPORTED": func(g *rig, m string) {
		g.want(g.do("GET", "/v2/a/referrers/"+sum(m), ""), "405 UNSUPPORTED")
		g.header(g.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "OCI-Subject: ")
	},
	"referrers-redirect=303": func(g *rig, m string) {
		r := g.want(g.do("GET", "/v2/a/referrers/"+sum(m), ""), "303")
		g.want(g.do("GET", r.Get("Location"), ""), "429")
		g.header(g.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "OCI-Subject: ")
	},
	"referrers-need-repo": func(g *rig, m string) {
		g.want(g.do("GET", "/v2/new/referrers/"+sum(m), ""), "404 NAME_UNKNOWN")
		g.want(g.do("GET", "/v2/a/referrers/"+noSum, ""), "200")
	},
	"referrers-bad-digest=200": func(g *rig, m string) {
		if r := g.want(g.do("GET", "/v2/a/referrers/x", ""), "200"); !strings.Contains(r.body, `"manifests":[]`) {
			g.Error(r.body)
		}
	},
	"unknown-subject=400:MANIFEST_INVALID": func(g *rig, m string) {
		g.want(g.do("GET", "/v2/a/referrers/"+noSum, ""), "400 MANIFEST_INVALID")
		g.want(g.do("GET", "/v2/a/referrers/"+sum(m), ""), "200")
	},
	"no-filter-header": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/v2", image("application/y", sum(m)), imageType), "201")
		r := g.do("GET", "/v2/a/referrers/"+sum(m)+"?artifactType=application/z", "")
		g.header(r, "OCI-Filters-Applied: ")
		if strings.Contains(r.body, "application/y") {
			g.Error(r.body)
		}
	},
	"unlisted-artifacts": func(g *rig, m string) {
		g = quirky(g.T, "unlisted-artifacts", "artifact-manifests")
		am := strings.Replace(artifact, "}", `,"subject":{"mediaType":"application/x","digest":"`+noSum+`","size":1}}`, 1)
		g.want(g.do("PUT", "/v2/a/manifests/am", am, artifactType), "201")
		if r := g.want(g.do("GET", "/v2/a/referrers/"+noSum, ""), "200"); !strings.Contains(r.body, `"manifests":[]`) {
			g.Error(r.body)
		}
	},
}

// two gives repository a the tags v1 and v2.
func (g *rig) two(m string) { g.want(g.do("PUT", "/v2/a/manifests/v2", m, imageType), "201") }

// body checks that the body of an answer has a part.
func (g *rig) body(r reply, part string) {
	g.Helper()
	if !strings.Contains(r.body, part) {
		g.Errorf("%s has no %s", r.body, part)
	}
}

var listQuirkCases = map[string]func(g *rig, m string){
	"max-page=9": func(g *rig, _ string) {
		g.want(g.do("GET", "/v2/a/tags/list?n=10", ""), "400 UNSUPPORTED")
		g.want(g.do("GET", "/v2/a/tags/list?n=9", ""), "200")
	},
	"no-paging": func(g *rig, m string) {
		g.two(m)
		r := g.do("GET", "/v2/a/tags/list?n=1&last=v1", "")
		g.header(r, "Link: ")
		g.body(r, `["v1","v2"]`)
	},
	"unsorted": func(g *rig, m string) {
		g.two(m)
		g.body(g.do("GET", "/v2/a/tags/list", ""), `["v2","v1"]`)
	},
	"last-must-exist": func(g *rig, m string) {
		if r := g.want(g.do("GET", "/v2/a/tags/list?last=v0", ""), "404"); r.body != "" {
			g.Error(r.body)
		}
		g.want(g.do("GET", "/v2/a/tags/list?last=v1", ""), "200")
	},
	"no-link": func(g *rig, m string) {
		g.two(m)
		r := g.do("GET", "/v2/a/tags/list?n=1", "")
		g.header(r, "Link: ")
		g.body(r, `["v1"]`)
	},
	"no-link-quotes": func(g *rig, m string) {
		g.two(m)
		g.header(g.do("GET", "/v2/a/tags/list?n=1", ""), "Link: </v2/a/tags/list?last=v1&n=1>; rel=next")
	},
	"catalog-last-link": func(g *rig, _ string) {
		g.header(g.do("GET", "/v2/_catalog?n=9", ""), `Link: </v2/_catalog?last=a&n=1>; rel="next"`)
		g.header(g.do("GET", "/v2/_catalog?last=a&n=1", ""), "Link: ")
	},
	"empty-tags": func(g *rig, _ string) { g.body(g.want(g.do("GET", "/v2/new/tags/list", ""), "200"), `"tags":[]`) },
}

var deleteQuirkCases = map[string]func(g *rig, m string){
	"tag-delete=400:DIGEST_INVALID": func(g *rig, m string) {
		g.want(g.do("DELETE", "/v2/a/manifests/v1", ""), "400 DIGEST_INVALID")
		g.want(g.do("DELETE", "/v2/a/manifests/"+sum(m), ""), "202")
	},
	"untag-deletes": func(g *rig, m string) {
		g.want(g.do("DELETE", "/v2/a/manifests/v2", ""), "404 MANIFEST_UNKNOWN")
		g.want(g.do("DELETE", "/v2/a/manifests/v1", ""), "202")
		g.want(g.do("GET", "/v2/a/manifests/"+sum(m), ""), "404 MANIFEST_UNKNOWN")
	},
	"manifest-delete=404": func(g *rig, m string) {
		g.want(g.do("DELETE", "/v2/a/manifests/"+sum(m), ""), "404")
		g.want(g.do("DELETE", "/v2/a/manifests/v1", ""), "202")
	},
	"blob-delete=405": func(g *rig, _ string) {
		r := g.want(g.do("DELETE", "/v2/a/blobs/"+emptySum, ""), "405")
		g.header(r, "Content-Type: text/plain; charset=utf-8")
	},
	"member-delete=405:DENIED": func(g *rig, m string) {
		g.want(g.do("PUT", "/v2/a/manifests/ix", index(sum(m)), indexType), "201")
		g.want(g.do("DELETE", "/v2/a/manifests/"+sum(m), ""), "405 DENIED")
		g.want(g.do("DELETE", "/v2/a/manifests/ix", ""), "202")
		g.want(g.do("DELETE", "/v2/a/manifests/"+sum(m), ""), "202")
	},
}

var uploadQuirkCases = map[string]func(g *rig, m string){
	"mount-needs-from": func(g *rig, _ string) {
		g.want(g.do("POST", "/v2/a/blobs/uploads/?mount="+emptySum, ""), "202")
		g.want(g.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+emptySum, ""), "201")
	},
	"mount-without-from=400": func(g *rig, _ string) {
		g.want(g.do("POST", "/v2/a/blobs/uploads/?mount="+emptySum, ""), "400")
		g.want(g.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+emptySum, ""), "201")
	},
	"mount-absent=404:BLOB_UNKNOWN": func(g *rig, _ string) {
		g.want(g.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+noSum, ""), "404 BLOB_UNKNOWN")
		g.want(g.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+emptySum, ""), "201")
		g.want(g.do("POST", "/v2/b/blobs/uploads/?mount="+noSum, ""), "202")
	},
	"chunk-max=4": func(g *rig, _ string) {
		up := g.open("a")
		g.want(g.do("PATCH", up, "large"), "416 BLOB_UPLOAD_INVALID")
		g.want(g.send("PATCH", up, io.MultiReader(strings.NewReader("large"))), "416 BLOB_UPLOAD_INVALID")
		g.want(g.do("PATCH", g.open("a"), "four"), "202")
	},
	"chunk-anywhere": func(g *rig, _ string) {
		up := g.open("a")
		g.want(g.do("PATCH", up, "one", "Content-Range: 7-9"), "202")
		g.want(g.do("PUT", up+"?digest="+sum("one"), ""), "201")
	},
	"chunk-order-code=RANGE_INVALID": func(g *rig, _ string) {
		g.want(g.do("PATCH", g.open("a"), "one", "Content-Range: 7-9"), "416 RANGE_INVALID")
	},
	"chunk-created": func(g *rig, _ string) { g.want(g.do("PATCH", g.open("a"), "one"), "201") },
	"no-progress": func(g *rig, _ string) {
		g.header(g.do("PATCH", g.open("a"), "one"), "Range: 0-0")
	},
	"range-unit": func(g *rig, _ string) {
		g.header(g.do("PATCH", g.open("a"), "one"), "Range: bytes=0-2")
	},
	"upload-status=404": func(g *rig, _ string) { g.want(g.do("GET", g.open("a"), ""), "404") },
	"upload-cancel=405:UNSUPPORTED": func(g *rig, _ string) {
		up := g.open("a")
		g.want(g.do("DELETE", up, ""), "405 UNSUPPORTED")
		g.want(g.do("PUT", up+"?digest="+sum("one"), "one"), "201")
	},
}

var blobQuirkCases = map[string]func(g *rig, m string){
	"redirect-blobs": func(g *rig, _ string) {
		r := g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), ""), "307")
		g.header(r, "Docker-Content-Digest: ")
		at := r.Get("Location")
		r = g.want(g.do("GET", at, "", "Range: bytes=1-2"), "206")
		g.header(r, "Docker-Content-Digest: ")
		g.body(r, hello[1:3])
		g.want(g.do("HEAD", at, ""), "200")
		g.want(g.do("PUT", at, ""), "405")
		g.want(g.do("GET", at+"0", ""), "403")
		g.want(g.do("HEAD", "/v2/a/blobs/"+sum(hello), ""), "200")
		g.want(g.do("GET", "/v2/a/blobs/"+noSum, ""), "404 BLOB_UNKNOWN")
	},
	"bad-range=416": func(g *rig, _ string) {
		r := g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Range: bytes=100-"), "416")
		g.header(r, "Content-Type: text/plain; charset=utf-8", "Content-Range: bytes */11")
	},
	"no-open-range": func(g *rig, _ string) {
		g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Range: bytes=1-"), "416 SIZE_INVALID")
		g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Range: bytes=1-2"), "206")
	},
	"no-accept-ranges": func(g *rig, _ string) {
		g.header(g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Range: bytes=1-2"), "206"), "Accept-Ranges: ")
	},
	"canonical-sha256": func(g *rig, m string) {
		r := g.want(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum512("new"), "new"), "201")
		g.header(r, "Docker-Content-Digest: "+sum("new"), "Location: /v2/a/blobs/"+sum("new"))
		for _, d := range []string{sum("new"), sum512("new")} {
			g.want(g.do("HEAD", "/v2/a/blobs/"+d, ""), "200")
		}
		up := g.open("a")
		g.want(g.do("PATCH", up, "newer"), "202")
		g.header(g.want(g.do("PUT", up+"?digest="+sum512("newer"), ""), "201"), "Docker-Content-Digest: "+sum("newer"))
		g.want(g.do("PUT", "/v2/a/manifests/"+sum512(m), m, imageType), "400 DIGEST_INVALID")
	},
	"no-tag-digest-header": func(g *rig, m string) {
		g.header(g.want(g.do("HEAD", "/v2/a/manifests/v1", ""), "200"), "Docker-Content-Digest: ")
		g.header(g.do("GET", "/v2/a/manifests/"+sum(m), ""), "Docker-Content-Digest: "+sum(m))
		g.header(g.do("PUT", "/v2/a/manifests/v1", m, imageType), "Docker-Content-Digest: "+sum(m))
	},
	"text-errors": func(g *rig, _ string) {
		r := g.want(g.do("GET", "/v2/a/manifests/v2", ""), "404 MANIFEST_UNKNOWN")
		g.header(r, "Content-Type: text/plain; charset=utf-8")
	},
	"html-login": func(g *rig, _ string) {
		r := g.want(g.do("GET", "/v2/_oci/ext/discover", ""), "307")
		g.header(g.want(g.do("GET", r.Get("Location"), ""), "200"), "Content-Type: text/html; charset=utf-8")
		g.want(g.do("GET", "/v2/a/manifests/v2", ""), "404 MANIFEST_UNKNOWN")
		hidden := quirky(g.T, "html-login", "no-referrers-api")
		hidden.want(hidden.do("GET", "/v2/a/referrers/"+noSum, ""), "307")
	},
	"extensions": func(g *rig, _ string) {
		g.body(g.want(g.do("GET", "/v2/_oci/ext/discover", ""), "200"), `{"extensions":[]}`)
	},
	"options=200": func(g *rig, _ string) {
		g.header(g.want(g.do("OPTIONS", "/v2/a/manifests/v1", ""), "200"), "Allow: GET, HEAD, PUT, DELETE")
		g.want(g.do("OPTIONS", "/nowhere", ""), "404")
		g.want(g.do("POST", "/v2/a/manifests/v1", ""), "405 UNSUPPORTED")
	},
	`warning=say "hi"`: func(g *rig, _ string) {
		g.header(g.do("GET", "/v2/", ""), `Warning: 299 - "say \"hi\""`)
	},
}

// loadQuirkCases are those of a registry that has too much to do.
var loadQuirkCases = map[string]func(g *rig, m string){
	"busy=2": func(g *rig, _ string) {
		for range 2 {
			g.header(g.want(g.do("GET", "/v2/", ""), "429 TOOMANYREQUESTS"), "Retry-After: 1")
		}
		g.want(g.do("GET", "/v2/", ""), "200")
	},
	"at-once=1": func(g *rig, _ string) {
		body, feed := io.Pipe()
		done := make(chan reply)
		go func() { done <- g.send("POST", "/v2/a/blobs/uploads/?digest="+sum("slow"), body) }()
		_, _ = io.WriteString(feed, "sl")
		r := g.do("GET", "/v2/", "")
		for ; r.status == 200; r = g.do("GET", "/v2/", "") { // the other is on its way yet
			time.Sleep(time.Millisecond)
		}
		g.header(g.want(r, "429 TOOMANYREQUESTS"), "Retry-After: ")
		_, _ = io.WriteString(feed, "ow")
		feed.Close()
		g.want(<-done, "201")
		g.want(g.do("GET", "/v2/", ""), "200")
	},
	"rate=3": func(g *rig, _ string) {
		now := time.Now()
		q, _ := serve.ParseQuirks("rate=3")
		g = start(g.T, serve.Options{Quirks: q, Now: func() time.Time { return now }})
		for range 3 {
			g.want(g.do("GET", "/v2/", ""), "200")
		}
		g.header(g.want(g.do("GET", "/v2/", ""), "429 TOOMANYREQUESTS"), "Retry-After: 1")
		now = now.Add(time.Second)
		g.want(g.do("GET", "/v2/", ""), "200")
	},
}

// allQuirkCases are the cases of all quirks.
func allQuirkCases() map[string]func(g *rig, m string) {
	all := maps.Clone(quirkCases)
	for _, more := range []map[string]func(g *rig, m string){
		manifestQuirkCases, referrersQuirkCases, listQuirkCases, deleteQuirkCases, uploadQuirkCases, blobQuirkCases, loadQuirkCases,
	} {
		maps.Copy(all, more)
	}
	return all
}

// A hidden endpoint asks nobody to sign in: it is not there for anybody.
func TestHiddenBeforeAuth(t *testing.T) {
	t.Parallel()
	q, _ := serve.ParseQuirks("no-referrers-api", "catalog-off")
	g := start(t, serve.Options{Quirks: q, Basic: map[string]string{"u": "p"}})
	g.want(g.do("GET", "/v2/a/referrers/"+noSum, ""), "404")
	g.want(g.do("GET", "/v2/a/referrers/garbage", ""), "404")
	g.want(g.do("GET", "/v2/_catalog", ""), "404")
	g.want(g.do("GET", "/v2/a/tags/list", ""), "401 UNAUTHORIZED")
}

// A redirected blob may lie on another host, which asks for no sign-in, but for
// the signature.
func TestBlobsElsewhere(t *testing.T) {
	t.Parallel()
	reg := local.NewMemoryRegistry()
	var there *serve.Server
	other := httptest.NewUnstartedServer(nil)
	q, _ := serve.ParseQuirks("redirect-blobs")
	g := startOver(t, reg, serve.Options{Quirks: q, Basic: map[string]string{"u": "p"}, BlobsAt: "http://" + other.Listener.Addr().String() + "/"})
	there = g.server
	other.Config.Handler = there
	other.Start()
	t.Cleanup(other.Close)
	g.blob("a", hello)
	g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), ""), "401 UNAUTHORIZED")
	r := g.want(g.do("GET", "/v2/a/blobs/"+sum(hello), "", "Authorization: Basic dTpw"), "307")
	if !strings.HasPrefix(r.Get("Location"), other.URL+"/") {
		t.Error(r.Get("Location"))
	}
	g.body(g.want(g.do("GET", r.Get("Location"), ""), "200"), hello)
}

func TestQuirkOff(t *testing.T) {
	t.Parallel()
	all, err := serve.ParseQuirks("no-mount", "page-size=2", "referrers=405:UNSUPPORTED", "warning=x", "page-size=off", "warning=off", "referrers=off", "no-mount=off")
	if err != nil || all != (serve.Quirks{}) {
		t.Errorf("%+v, %v", all, err)
	}
	for _, bad := range []string{
		"referrers", "referrers=", "referrers=200", "referrers=600", "referrers=405:", "referrers=405:lower", "options=201", "options=x",
		"refusal=nobody", "warning=", "warning=two\nlines", "chunk-order-code=a b", "nothing=off",
	} {
		if _, err := serve.ParseQuirks(bad); !errors.Is(err, store.ErrUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
