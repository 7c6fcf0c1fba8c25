package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// imitated are the imitations of registries that run here, with the quirks
// that stand for how they are set up here.
var imitated = map[string][]string{
	"olareg":               {"olareg", "no-delete=off"},
	"ociregistry":          {"cuelabs"},
	"go-containerregistry": {"go-containerregistry", "referrers=off"},
	"distribution-v3":      {"distribution-3"},
	"docker-registry-2.8":  {"distribution-2.8"},
}

// TestImitations sends the same requests to a registry and to its imitation:
// status, code, shape of the detail and header fields are the same.
func TestImitations(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		names := imitated[reg.name]
		if names == nil {
			t.Skip("it is our own")
		}
		q, err := serve.Imitate(names[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, more := range names[1:] {
			if err := q.Set(more); err != nil {
				t.Fatal(err)
			}
		}
		theirs, ours := interview(t, reg.start(t)), interview(t, startQuirky(t, q))
		for i, want := range theirs {
			if ours[i] != want {
				t.Errorf("it says      %s\nimitation %s", want, ours[i])
			}
		}
	})
}

// interviewer sends requests and keeps what was answered, in a few words each.
type interviewer struct {
	*testing.T
	host string
	said []string
}

func (v *interviewer) send(method, path, body string, header ...string) *http.Response {
	v.Helper()
	target, err := (&url.URL{Scheme: "http", Host: v.host}).Parse(path)
	if err != nil {
		v.Fatal(err)
	}
	req, err := http.NewRequestWithContext(v.Context(), method, target.String(), strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		v.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil && res.StatusCode != http.StatusRequestedRangeNotSatisfiable { // Distribution 2.8 announces a body there and sends none
		v.Fatal(err)
	}
	res.Body.Close()
	res.Body = io.NopCloser(strings.NewReader(string(raw)))
	return res
}

// note keeps status, code and the fields; of a refused manifest type also the
// shape of the detail.
func (v *interviewer) note(what string, res *http.Response, fields ...string) {
	var body struct {
		Errors []struct {
			Code   string
			Detail any
		}
	}
	raw, _ := io.ReadAll(res.Body)
	words := []string{what + ":", fmt.Sprint(res.StatusCode)}
	if json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		words = append(words, body.Errors[0].Code)
		if strings.HasPrefix(what, "type") {
			kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
			words = append(words, kind, fmt.Sprintf("%T", body.Errors[0].Detail))
		}
	}
	for _, f := range fields {
		words = append(words, strings.Join(res.Header.Values(f), ","))
	}
	v.said = append(v.said, strings.ReplaceAll(strings.Join(words, " "), v.host, "HOST"))
}

func (v *interviewer) ask(method, path string, fields ...string) {
	v.Helper()
	v.note(method+" "+path, v.send(method, path, "", "Accept: "+store.MediaTypeImage), fields...)
}

func (v *interviewer) put(what, ref, mediaType, body string, fields ...string) {
	v.Helper()
	v.note(what, v.send("PUT", "/v2/a/manifests/"+ref, body, "Content-Type: "+mediaType), fields...)
}

// upload opens an upload and gives its Location.
func (v *interviewer) upload() string {
	return v.send("POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
}

// finish sends the closing PUT of an upload with all its content.
func (v *interviewer) finish(d, content string) *http.Response {
	up := v.upload()
	sep := "?"
	if strings.Contains(up, "?") {
		sep = "&"
	}
	return v.send("PUT", up+sep+"digest="+d, content, "Content-Type: application/octet-stream")
}

func imageOf(layer, subject string) string {
	s := `{"schemaVersion":2,"mediaType":"` + store.MediaTypeImage + `","config":{"mediaType":"application/x","digest":"` + digest.FromString("{}").String() + `","size":2},`
	s += `"layers":[{"mediaType":"application/x","digest":"` + layer + `","size":2}]`
	if subject != "" {
		s += `,"subject":{"mediaType":"` + store.MediaTypeImage + `","digest":"` + subject + `","size":9}`
	}
	return s + "}"
}

func interview(t *testing.T, host string) []string {
	v := &interviewer{T: t, host: host}
	empty, hello := digest.FromString("{}").String(), digest.FromString("hello").String()
	absent, wrong := digest.FromString("absent").String(), digest.FromString("wrong").String()
	v.finish(empty, "{}")
	v.finish(hello, "hello")
	m := imageOf(empty, "")
	sum := digest.FromString(m).String()
	v.put("tag", "v1", store.MediaTypeImage, m, "Docker-Content-Digest")
	v.put("tag", "v2", store.MediaTypeImage, m)

	artifact := `{"mediaType":"` + store.MediaTypeArtifact + `","artifactType":"application/x"}`
	v.put("type artifact, wrong digest", wrong, store.MediaTypeArtifact, artifact)
	v.put("type nonsense, wrong digest", wrong, "application/vnd.example.nonsense.v1+json", "{}")
	v.put("image, wrong digest", wrong, store.MediaTypeImage, imageOf(hello, ""))
	v.put("type artifact", "am", store.MediaTypeArtifact, artifact)
	v.put("absent layer", "x", store.MediaTypeImage, imageOf(absent, ""))
	v.put("absent child", "x", store.MediaTypeIndex, `{"schemaVersion":2,"mediaType":"`+store.MediaTypeIndex+`","manifests":[{"mediaType":"`+store.MediaTypeImage+`","digest":"`+absent+`","size":9}]}`)
	v.put("subject", "s", store.MediaTypeImage, imageOf(hello, sum), "OCI-Subject")
	v.put("absent subject", "s", store.MediaTypeImage, imageOf(hello, absent), "OCI-Subject")
	v.put("5 MiB", "big", store.MediaTypeImage, strings.Repeat(" ", 5<<20)+m)
	v.put("two tags", sum+"?tag=t1&tag=t2", store.MediaTypeImage, m, "OCI-Tag")
	v.put("sha512", digest.SHA512.FromString(m).String(), store.MediaTypeImage, m)

	v.ask("GET", "/v2/new/referrers/"+sum)
	v.ask("GET", "/v2/a/referrers/"+absent)
	v.ask("GET", "/v2/a/referrers/"+sum+"?artifactType=application/y", "OCI-Filters-Applied")
	v.ask("GET", "/v2/a/tags/list?last=no")
	v.ask("GET", "/v2/new/tags/list")
	v.ask("GET", "/v2/_catalog?n=5", "Link")
	v.ask("HEAD", "/v2/a/manifests/v1", "Docker-Content-Digest")
	v.ask("GET", "/v2/a/manifests/none")
	v.ask("GET", "/v2/a/blobs/"+absent)
	v.ask("HEAD", "/v2/a/blobs/"+hello, "Accept-Ranges", "Docker-Content-Digest")
	v.note("no Accept", v.send("GET", "/v2/a/manifests/v1", ""))
	for _, r := range []string{"1-2", "1-", "100-"} {
		v.note("range "+r, v.send("GET", "/v2/a/blobs/"+hello, "", "Range: bytes="+r))
	}

	v.ask("POST", "/v2/b/blobs/uploads/?mount="+hello+"&from=a")
	v.ask("POST", "/v2/c/blobs/uploads/?mount="+hello)
	v.ask("POST", "/v2/c/blobs/uploads/?mount="+absent+"&from=a")
	v.note("single POST", v.send("POST", "/v2/a/blobs/uploads/?digest="+digest.FromString("new").String(), "new", "Content-Type: application/octet-stream"))
	v.note("chunk", v.send("PATCH", v.upload(), "four", "Content-Type: application/octet-stream", "Content-Range: 0-3"), "Range")
	v.note("chunk out of order", v.send("PATCH", v.upload(), "four", "Content-Type: application/octet-stream", "Content-Range: 7-10"))
	v.note("upload status", v.send("GET", v.upload(), ""))
	v.note("upload cancel", v.send("DELETE", v.upload(), ""))
	v.note("least chunk", v.send("POST", "/v2/a/blobs/uploads/", ""), "OCI-Chunk-Min-Length")
	v.note("sha512 blob", v.finish(digest.SHA512.FromString("new").String(), "new"), "Docker-Content-Digest")
	v.said = append(v.said, fmt.Sprint("absolute Location: ", strings.Contains(v.upload(), "://")))

	v.ask("DELETE", "/v2/a/manifests/v2")
	v.ask("DELETE", "/v2/a/manifests/"+sum)
	v.ask("DELETE", "/v2/a/blobs/"+hello)
	return v.said
}
