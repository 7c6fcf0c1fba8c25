package serve_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// look is an answer in a few words: its status, then the code; "{}", "object"
// or "string" is the shape of the detail, "text", "html" and "empty" a body
// that is no JSON, "called text" JSON under another name.
func look(r reply) string {
	words := []string{fmt.Sprint(r.status)}
	if r.code() != "" {
		words = append(words, r.code())
	}
	var body struct{ Errors []struct{ Detail any } }
	kind, _, _ := strings.Cut(r.Get("Content-Type"), ";")
	switch err := json.Unmarshal([]byte(r.body), &body); {
	case r.body == "" && r.status >= 400:
		words = append(words, "empty")
	case err != nil && r.status != 206 && kind == "text/plain":
		words = append(words, "text")
	case kind == "text/html":
		words = append(words, "html")
	case len(body.Errors) > 0:
		switch d := body.Errors[0].Detail.(type) {
		case string:
			words = append(words, "string")
		case map[string]any:
			words = append(words, map[bool]string{true: "{}", false: "object"}[len(d) == 0])
		}
		if kind == "text/plain" {
			words = append(words, "called text")
		}
	}
	return strings.Join(words, " ")
}

// question is a request, or a few, and what the registries answer. The repository
// "a" holds the blobs empty and hello and the manifest m as v1 and v2, and the
// index ix that names the manifest member.
type question struct {
	name  string
	ask   func(g *rig, m string) string
	other string            // what all but these say, where that is known; "" is not compared
	says  map[string]string // by names, with blanks between
}

const member = "application/member"

func put(ref, body, kind string) func(g *rig, m string) string {
	return func(g *rig, _ string) string {
		g.blob("a", empty)
		return look(g.do("PUT", "/v2/a/manifests/"+ref, body, kind))
	}
}

func get(method, path string, header ...string) func(g *rig, m string) string {
	return func(g *rig, m string) string {
		return look(g.do(method, strings.ReplaceAll(path, "{m}", sum(m)), "", header...))
	}
}

// fields is the answer with what stands in some header fields.
func fields(method, path string, names ...string) func(g *rig, m string) string {
	return func(g *rig, m string) string {
		r := g.do(method, strings.ReplaceAll(path, "{m}", sum(m)), "")
		words := []string{look(r)}
		for _, n := range names {
			words = append(words, r.Get(n))
		}
		return strings.TrimSpace(strings.ReplaceAll(strings.Join(words, " "), g.url, "URL"))
	}
}

// refusalQuestions are what registries answer to a manifest that they do not
// take: of a type that is unknown, and of a known type with a defect.
var refusalQuestions = []question{
	{"artifact manifest", put("am", artifact, artifactType), "400 MANIFEST_INVALID", map[string]string{
		"distribution-2.8 harbor": "400 MANIFEST_INVALID {}", "distribution-3": "400 MANIFEST_INVALID string", "zot": "415 MANIFEST_INVALID object",
		"olareg": "400 MANIFEST_INVALID string called text", "zot-1.4 go-containerregistry cuelabs": "201", "quay": "415 MANIFEST_INVALID {}",
		"ecr": "405 UNSUPPORTED", "docker-hub": "404 MANIFEST_INVALID",
	}},
	{"artifact manifest at a wrong digest", put(noSum, artifact, artifactType), "400 MANIFEST_INVALID", map[string]string{
		"distribution-2.8 harbor": "400 MANIFEST_INVALID {}", "distribution-3": "400 MANIFEST_INVALID string", "zot": "415 MANIFEST_INVALID object",
		"olareg": "400 MANIFEST_INVALID string called text", "zot-1.4 cuelabs": "400 DIGEST_INVALID", "go-containerregistry": "201",
		"quay": "415 MANIFEST_INVALID {}", "ecr": "405 UNSUPPORTED", "docker-hub": "404 MANIFEST_INVALID",
	}},
	{"nonsense at a wrong digest", put(noSum, "{}", "Content-Type: application/vnd.example.nonsense.v1+json"), "400 MANIFEST_INVALID", map[string]string{
		"distribution-2.8 harbor": "400 MANIFEST_INVALID {}", "distribution-3": "400 MANIFEST_INVALID string", "zot zot-1.4": "415 MANIFEST_INVALID object",
		"olareg": "400 MANIFEST_INVALID string called text", "cuelabs": "400 DIGEST_INVALID", "go-containerregistry": "201",
		"quay": "415 MANIFEST_INVALID {}", "ecr": "405 UNSUPPORTED", "docker-hub": "404 MANIFEST_INVALID",
	}},
	{"image manifest at a wrong digest", put(noSum, image("application/x", ""), imageType), "400 DIGEST_INVALID", map[string]string{
		"zot quay": "400 MANIFEST_INVALID", "olareg": "400 DIGEST_INVALID called text", "go-containerregistry": "201",
	}},
	{"absent layer", put("x", layered(noSum), imageType), "", map[string]string{
		"distribution-2.8 distribution-3": "400 MANIFEST_BLOB_UNKNOWN string", "olareg": "400 MANIFEST_BLOB_UNKNOWN string called text",
		"zot": "400 MANIFEST_INVALID string", "zot-1.4 go-containerregistry": "201", "cuelabs": "500 UNKNOWN string",
	}},
	{"absent child", put("x", index(noSum), indexType), "", map[string]string{
		"distribution-2.8 distribution-3": "400 MANIFEST_BLOB_UNKNOWN string", "olareg": "400 MANIFEST_BLOB_UNKNOWN string called text",
		"zot-1.4": "201", "go-containerregistry": "404 MANIFEST_UNKNOWN string", "cuelabs": "500 UNKNOWN string",
	}},
	{"absent subject", put("x", image("application/x", noSum), imageType), "201", map[string]string{
		"gitlab docker-hub": "400 MANIFEST_BLOB_UNKNOWN string",
	}},
	{"Docker manifest", put("x", strings.Replace(layered(emptySum), `"sch`, `"mediaType":"`+store.MediaTypeDockerImage+`","sch`, 1), "Content-Type: "+store.MediaTypeDockerImage), "201", map[string]string{
		"zot zot-1.4": "415 MANIFEST_INVALID object",
	}},
	{"5 MiB", put("x", strings.Repeat(" ", 5<<20)+image("application/x", ""), imageType), "", map[string]string{
		"distribution-2.8 distribution-3": "400 MANIFEST_INVALID", "zot": "413 SIZE_INVALID", "zot-1.4 olareg go-containerregistry cuelabs": "201",
	}},
	{"several tags", func(g *rig, m string) string {
		r := g.do("PUT", "/v2/a/manifests/"+sum(m)+"?tag=t1&tag=t2", m, imageType)
		return fmt.Sprint(look(r), len(r.Values("OCI-Tag")))
	}, "", map[string]string{"distribution-2.8 distribution-3 zot-1.4 go-containerregistry cuelabs": "2010", "zot olareg": "2012"}},
	{"sha512 manifest", func(g *rig, m string) string { return look(g.do("PUT", "/v2/a/manifests/"+sum512(m), m, imageType)) }, "", map[string]string{
		"distribution-2.8 distribution-3 zot-1.4 cuelabs": "400 DIGEST_INVALID", "zot olareg go-containerregistry": "201",
	}},
	{"new repository", get("POST", "/v2/new/blobs/uploads/"), "202", map[string]string{"ecr": "404 NAME_UNKNOWN"}},
}

var readQuestions = []question{
	{"referrers in an absent repository", get("GET", "/v2/new/referrers/{m}"), "", map[string]string{
		"distribution-2.8 distribution-3 ghcr gitlab": "404 text", "zot olareg": "200", "go-containerregistry": "404 METHOD_UNKNOWN",
		"cuelabs zot-1.4": "404 NAME_UNKNOWN", "ecr": "405 UNSUPPORTED",
	}},
	{"referrers of an absent digest", get("GET", "/v2/a/referrers/"+noSum), "200", map[string]string{
		"distribution-2.8 distribution-3 ghcr gitlab": "404 text", "go-containerregistry": "404 METHOD_UNKNOWN", "ecr": "405 UNSUPPORTED", "quay": "400 MANIFEST_INVALID",
	}},
	{"referrers of garbage", get("GET", "/v2/a/referrers/garbage"), "", map[string]string{
		"distribution-2.8 distribution-3": "404 text", "zot": "400 empty", "olareg": "200",
	}},
	{"filter", fields("GET", "/v2/a/referrers/{m}?artifactType=application/x", "OCI-Filters-Applied"), "", map[string]string{
		"zot olareg cuelabs acr artifactory": "200 artifactType", "zot-1.4": "200",
	}},
	{"subject", func(g *rig, m string) string {
		r := g.do("PUT", "/v2/a/manifests/x", image("application/x", sum(m)), imageType)
		return fmt.Sprint(look(r), " ", r.Get("OCI-Subject") == sum(m))
	}, "", map[string]string{
		"distribution-2.8 distribution-3 zot-1.4 go-containerregistry quay ghcr": "201 false", "zot olareg cuelabs harbor acr ecr": "201 true",
	}},
	{"tags", func(g *rig, _ string) string {
		r := g.do("GET", "/v2/a/tags/list?n=1", "")
		var body struct{ Tags []string }
		_ = json.Unmarshal([]byte(r.body), &body)
		return fmt.Sprint(body.Tags, r.Get("Link"))
	}, "", map[string]string{
		"distribution-2.8": "[v2 v1 ix]", "zot cuelabs": `[ix]</v2/a/tags/list?last=ix&n=1>; rel="next"`, "zot-1.4": `[ix]/v2/a/tags/list?last=ix&n=1; rel="next"`,
		"olareg": "[ix]</v2/a/tags/list?last=ix&n=1>; rel=next", "go-containerregistry": "[ix]", "gar": "[ix v1 v2]",
	}},
	{"tags after an unknown one", get("GET", "/v2/a/tags/list?last=no"), "200", map[string]string{"zot": "404 empty"}},
	{"tags of an absent repository", get("GET", "/v2/new/tags/list"), "404 NAME_UNKNOWN", map[string]string{"olareg": "200", "go-containerregistry": "404 NAME_UNKNOWN called text"}},
	{"n of 1001", get("GET", "/v2/a/tags/list?n=1001"), "200", map[string]string{"ecr": "400 UNSUPPORTED"}},
	{"catalog", fields("GET", "/v2/_catalog?n=5", "Link"), "", map[string]string{
		"distribution-2.8 distribution-3 go-containerregistry": "200", "zot": `200 </v2/_catalog?last=a&n=1>; rel="next"`,
		"olareg docker-hub": "404 text",
	}},
	{"manifest without Accept", get("GET", "/v2/a/manifests/v1"), "200", map[string]string{"distribution-2.8 distribution-3 ghcr acr": "404 MANIFEST_UNKNOWN"}},
	{"digest by tag", func(g *rig, m string) string {
		return g.do("HEAD", "/v2/a/manifests/v1", "", "Accept: "+store.MediaTypeImage).Get("Docker-Content-Digest")
	}, sum(image("application/x", "")), map[string]string{"ecr": ""}},
	{"digest as tag", func(g *rig, m string) string {
		return look(g.do("GET", "/v2/a/manifests/"+strings.Replace(sum(m), ":", "-", 1), "", "Accept: "+store.MediaTypeImage))
	}, "404 MANIFEST_UNKNOWN", map[string]string{"gitlab": "200", "olareg": "404 MANIFEST_UNKNOWN called text"}},
	{"range", get("GET", "/v2/a/blobs/"+sum(hello), "Range: bytes=100-"), "", map[string]string{
		"distribution-2.8 distribution-3 olareg": "416 text", "zot": "416 SIZE_INVALID", "go-containerregistry": "416 BLOB_UNKNOWN", "cuelabs": "500 UNKNOWN", "acr ghcr": "307",
	}},
	{"open range", get("GET", "/v2/a/blobs/"+sum(hello), "Range: bytes=1-"), "", map[string]string{
		"distribution-2.8 distribution-3 zot zot-1.4 olareg cuelabs": "206", "go-containerregistry": "416 BLOB_UNKNOWN",
	}},
	{"Accept-Ranges", fields("HEAD", "/v2/a/blobs/"+sum(hello), "Accept-Ranges"), "200 bytes", map[string]string{"zot go-containerregistry": "200"}},
	{"OPTIONS", fields("OPTIONS", "/v2/a/manifests/v1", "Allow"), "", map[string]string{
		"distribution-2.8 distribution-3": "200 GET, HEAD, PUT, DELETE", "zot": "204", "olareg": "405 UNSUPPORTED called text GET, HEAD, PUT, DELETE",
	}},
	{"extensions", get("GET", "/v2/_oci/ext/discover"), "404 text", map[string]string{"zot": "200", "gar": "307"}},
}

var writeQuestions = []question{
	{"delete a tag", get("DELETE", "/v2/a/manifests/v1"), "202", map[string]string{
		"distribution-2.8": "400 DIGEST_INVALID", "olareg": "405 UNSUPPORTED called text", "ghcr acr docker-hub": "405 UNSUPPORTED",
		"harbor": "400 UNSUPPORTED", "ecr": "404 text",
	}},
	{"delete a manifest", get("DELETE", "/v2/a/manifests/{m}"), "202", map[string]string{
		"olareg": "405 UNSUPPORTED called text", "ghcr": "405 UNSUPPORTED", "ecr": "404 text",
	}},
	{"delete a blob", get("DELETE", "/v2/a/blobs/"+sum(hello)), "202", map[string]string{
		"olareg": "405 UNSUPPORTED called text", "ghcr quay": "405 UNSUPPORTED", "ecr": "404 text", "artifactory": "405 text",
	}},
	{"delete a member", get("DELETE", "/v2/a/manifests/"+sum(image(member, ""))), "", map[string]string{
		"zot": "405 DENIED", "docker-hub": "403 DENIED", "distribution-2.8 distribution-3 zot-1.4": "202",
	}},
	{"mount without from", get("POST", "/v2/b/blobs/uploads/?mount="+sum(hello)), "", map[string]string{
		"distribution-2.8 distribution-3 olareg cuelabs go-containerregistry acr artifactory": "202", "zot zot-1.4": "201", "quay": "400 text",
	}},
	{"mount without from what the repository has", get("POST", "/v2/a/blobs/uploads/?mount="+sum(hello)), "", map[string]string{
		"distribution-2.8 distribution-3 olareg cuelabs go-containerregistry acr artifactory": "202", "zot zot-1.4": "201",
	}},
	{"mount", get("POST", "/v2/b/blobs/uploads/?from=a&mount="+sum(hello)), "", map[string]string{
		"distribution-2.8 distribution-3 olareg cuelabs zot zot-1.4 acr": "201", "go-containerregistry artifactory": "202",
	}},
	{"mount what is absent", get("POST", "/v2/b/blobs/uploads/?from=a&mount="+noSum), "", map[string]string{"distribution-2.8 distribution-3 zot olareg": "202", "cuelabs": "404 BLOB_UNKNOWN"}},
	{"single POST", func(g *rig, _ string) string {
		return look(g.do("POST", "/v2/a/blobs/uploads/?digest="+sum("new"), "new"))
	}, "", map[string]string{"distribution-2.8 distribution-3": "202", "zot zot-1.4 olareg cuelabs go-containerregistry": "201"}},
	{"Location", func(g *rig, _ string) string {
		return fmt.Sprint(strings.HasPrefix(g.do("POST", "/v2/a/blobs/uploads/", "").Get("Location"), g.url))
	}, "", map[string]string{"distribution-2.8 distribution-3": "true", "zot olareg go-containerregistry": "false"}},
	{"chunk", session("PATCH", "four", ""), "202 0-3", map[string]string{
		"ecr": "201 0-0", "quay": "202 bytes=0-3", "gar": "405 UNSUPPORTED",
	}},
	{"chunk out of order", session("PATCH", "four", "Content-Range: 7-10"), "", map[string]string{
		"distribution-2.8": "202 0-3", "distribution-3": "416 RANGE_INVALID 0-0", "zot": "416 BLOB_UPLOAD_INVALID 0-0",
		"olareg": "416 SIZE_INVALID called text 0-0", "acr": "416 BLOB_UPLOAD_RANGE_INVALID 0-0", "cuelabs": "416 RANGE_INVALID 0-0", "zot-1.4": "416 BLOB_UPLOAD_INVALID 0-0",
	}},
	{"long chunk", session("PATCH", strings.Repeat("x", 4<<20+1), ""), "", map[string]string{
		"ghcr": "416 BLOB_UPLOAD_INVALID", "distribution-2.8 zot": "202 0-4194304", "ecr": "201 0-0",
	}},
	{"upload status", session("GET", "", ""), "204 0-0", map[string]string{
		"ecr": "404 text", "go-containerregistry": "400 NAME_INVALID", "quay": "204 bytes=0-0",
	}},
	{"upload cancel", session("DELETE", "", ""), "204", map[string]string{
		"go-containerregistry": "400 NAME_INVALID", "cuelabs": "405 UNKNOWN",
	}},
	{"least chunk", fields("POST", "/v2/a/blobs/uploads/", "OCI-Chunk-Min-Length"), "202", map[string]string{"ecr": "202 5242880", "cuelabs": "202 8192"}},
	{"sha512 blob", func(g *rig, _ string) string {
		up := g.do("POST", "/v2/a/blobs/uploads/", "").Get("Location")
		r := g.do("PUT", up+"?digest="+sum512("new"), "new")
		alg, _, _ := strings.Cut(r.Get("Docker-Content-Digest"), ":")
		return strings.TrimSpace(look(r) + " " + alg)
	}, "", map[string]string{
		"distribution-2.8 distribution-3": "201 sha256", "zot olareg": "201 sha512", "cuelabs zot-1.4": "400 DIGEST_INVALID",
	}},
	{"no layers", put("x", fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[]}`, emptySum), imageType), "201", map[string]string{
		"ecr": "405 UNSUPPORTED",
	}},
}

// session sends a request to an upload that was just opened.
func session(method, body, header string) func(g *rig, m string) string {
	return func(g *rig, _ string) string {
		var h []string
		if header != "" {
			h = append(h, header)
		}
		up := g.do("POST", "/v2/a/blobs/uploads/", "").Get("Location")
		r := g.send(method, up, io.Reader(bytes.NewReader([]byte(body))), h...)
		return strings.TrimSpace(look(r) + " " + r.Get("Range"))
	}
}

// imitating is a registry with something in it, and the manifest of v1.
func imitating(t *testing.T, name string) (*rig, string) {
	t.Helper()
	q, err := serve.Imitate(name)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, serve.Options{Quirks: q})
	for _, content := range []string{empty, hello} {
		g.blob("a", content)
	}
	m, inner := image("application/x", ""), image(member, "")
	for tag, raw := range map[string]string{"v1": m, "v2": m, "": inner} {
		var tags []string
		if tag != "" {
			tags = []string{tag}
		}
		if err := g.repo("a").PutManifest(t.Context(), store.NewManifest(store.MediaTypeImage, []byte(raw)), tags...); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.repo("a").PutManifest(t.Context(), store.NewManifest(store.MediaTypeIndex, []byte(index(sum(inner)))), "ix"); err != nil {
		t.Fatal(err)
	}
	return g, m
}

// Each imitation answers as the registry does, as far as that is known. What
// is known stands above, by question; a name that is not there is of a registry
// that says what the others say, or of which nothing is known.
func TestImitations(t *testing.T) {
	t.Parallel()
	var names []string
	for _, i := range serve.Imitations() {
		names = append(names, i.Name)
		t.Run(i.Name, func(t *testing.T) {
			t.Parallel()
			for _, q := range slices.Concat(refusalQuestions, readQuestions, writeQuestions) {
				want, known := q.other, q.other != ""
				for who, says := range q.says {
					if slices.Contains(strings.Fields(who), i.Name) {
						want, known = says, true
					}
				}
				if !known {
					continue
				}
				g, m := imitating(t, i.Name)
				got := q.ask(g, m)
				if !strings.Contains(want, "called text") && slices.Contains(i.Quirks, "text-errors") { // one answer shows it
					got = strings.TrimSuffix(got, " called text")
				}
				if got != want {
					t.Errorf("%s: %q, want %q", q.name, got, want)
				}
			}
		})
	}
	for _, q := range slices.Concat(refusalQuestions, readQuestions, writeQuestions) {
		for who := range q.says {
			for _, name := range strings.Fields(who) {
				if !slices.Contains(names, name) {
					t.Errorf("%s: there is no %s", q.name, name)
				}
			}
		}
	}
	if _, err := serve.Imitate("nobody"); !errors.Is(err, store.ErrUsage) {
		t.Error(err)
	}
}

// What needs more than a request and a fresh registry.
func TestImitationsFurther(t *testing.T) {
	t.Parallel()
	g, _ := imitating(t, "gitlab")
	g.body(g.do("PUT", "/v2/a/manifests/am", artifact, artifactType), "unknown media type")

	g, _ = imitating(t, "cuelabs")
	am := strings.Replace(artifact, "}", `,"subject":{"mediaType":"application/x","digest":"`+noSum+`","size":1}}`, 1)
	g.want(g.do("PUT", "/v2/a/manifests/am", am, artifactType), "201")
	g.body(g.do("GET", "/v2/a/referrers/"+noSum, ""), `"manifests":[]`)

	q, err := serve.Imitate("quay")
	if err != nil {
		t.Fatal(err)
	}
	g = start(t, serve.Options{Quirks: q, Basic: map[string]string{"u": "p"}})
	g.want(g.do("PUT", "/v2/a/manifests/am", artifact, artifactType), "415 MANIFEST_INVALID")

	// go-containerregistry with referrers switched on.
	q, _ = serve.Imitate("go-containerregistry")
	if err := q.Set("referrers=off"); err != nil {
		t.Fatal(err)
	}
	g = start(t, serve.Options{Quirks: q})
	g.want(g.do("GET", "/v2/new/referrers/"+noSum, ""), "404 NAME_UNKNOWN")
	am = strings.Replace(am, noSum, emptySum, 1)
	g.header(g.want(g.do("PUT", "/v2/a/manifests/am", am, artifactType), "201"), "OCI-Subject: ")
	r := g.do("GET", "/v2/a/referrers/"+emptySum+"?artifactType=application/other", "")
	g.header(r, "OCI-Filters-Applied: ")
	g.body(r, store.MediaTypeArtifact)
}

// The page for users has a row for each imitation, with each of its quirks.
func TestImitationsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/imitations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			rows[strings.Trim(cells[1], " `")] += line
		}
	}
	for _, i := range serve.Imitations() {
		if i.Help == "" || i.Source == "" || len(i.Quirks) == 0 {
			t.Errorf("%+v", i)
		}
		for _, q := range i.Quirks {
			if !strings.Contains(rows[i.Name], "`"+q+"`") {
				t.Errorf("docs/imitations.md: the row %s has no `%s`", i.Name, q)
			}
		}
	}
}
