package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// maxStory is more than the story of one failure should ever need.
const maxStory = 16 << 10

// What an answer says is quoted in errors, however long it is: a log is not
// flooded by it.
func TestBeyondLongTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	for name, i := range map[string]item{
		"digest":      {kind: imageType, raw: []byte(strings.Replace(imageOf(), digest.FromString("{}").String(), "sha256:"+long, 1))},
		"media type":  {kind: imageType, raw: []byte(strings.Replace(imageOf(), imageType, "a/"+long, 1))},
		"name twice":  {kind: imageType, raw: []byte(`{"` + long[:1<<20] + `":1,"` + long[:1<<20] + `":1}`)},
		"header":      {kind: "a/" + long[:900<<10], raw: []byte(imageOf())},
		"digest said": {kind: imageType, raw: []byte(imageOf()), dcd: "sha256:" + long[:900<<10]},
		"no JSON":     {kind: imageType, raw: []byte(long)},
	} {
		s := newShelf()
		s.blob("{}")
		s.set("/v2/app/manifests/v1", i)
		h := newHostile(t, s.ServeHTTP)
		for _, args := range [][]string{{"pull", h.Name() + "/app:v1"}, {"cp", h.Name() + "/app:v1", "oci:copy:v1"}, {"resolve", h.Name() + "/app:v1"}} {
			if o := newDesk(t).stet(quick(args...)...); len(o.Stderr)+len(o.Stdout) > maxStory {
				t.Errorf("%s: %d bytes of %.500s", name, len(o.Stderr)+len(o.Stdout), o)
			}
		}
	}
}

// Warnings by the thousand: each once, and no more than can be read.
func TestBeyondManyWarnings(t *testing.T) {
	t.Parallel()
	n := 0
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		for range 20 {
			n++
			w.Header().Add("Warning", fmt.Sprintf(`299 - "beware of %d"`, n))
		}
		if n < 20_000 {
			w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?last=%d>; rel="next"`, n))
		}
		fmt.Fprint(w, `{"tags":["a"]}`)
	})
	if o := newDesk(t).stet(quick("repo", "tags", h.Name()+"/app")...).ok(); strings.Count(o.Stderr, "beware") > 200 {
		t.Errorf("%d warnings", strings.Count(o.Stderr, "beware"))
	}
}

// Challenges that are long, many, or ask for much: no time is lost with them, and
// no token is asked for what nobody needs.
func TestBeyondLongChallenges(t *testing.T) {
	t.Parallel()
	var actions, params strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&actions, "a%d,", i)
		fmt.Fprintf(&params, "p%d=x,", i)
	}
	for name, challenge := range map[string]string{
		"actions":    `Bearer realm="http://HOST/token",scope="repository:app:` + actions.String() + `"`,
		"scopes":     `Bearer realm="http://HOST/token",scope="` + strings.ReplaceAll(actions.String(), ",", ":x:pull ") + `"`,
		"parameters": `Bearer realm="http://HOST/token",` + params.String(),
		"commas":     strings.Repeat(",", 800_000) + `Bearer realm="http://HOST/token"`,
		"schemes":    strings.Repeat("Digest, ", 100_000) + `Bearer realm="http://HOST/token"`,
		"quotes":     `Bearer realm="http://HOST/token",x="` + strings.Repeat(`\"`, 400_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					fmt.Fprint(w, `{"token":"t0ken-1"}`)
					return
				}
				w.Header().Set("Www-Authenticate", strings.ReplaceAll(challenge, "HOST", r.Host))
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			})
			d := newDesk(t)
			o := d.stet(quickAs("pull", h.Name()+"/app:v1")...)
			if o.Code == 0 || o.Took.Seconds() > 20 || len(o.Stderr) > maxStory {
				t.Errorf("%.1000s", o)
			}
			for _, n := range h.heard("", "/token") {
				if len(n.URI) > 16<<10 {
					t.Errorf("a URL of %d bytes was asked for", len(n.URI))
				}
			}
		})
	}
}

// Where an upload or a list may lead: to the registry's own scheme alone, and
// lists to its own host.
func TestBeyondLeadingElsewhere(t *testing.T) {
	t.Parallel()
	other := newHostile(t, newShelf().ServeHTTP)
	for _, to := range []string{
		"file:///etc/passwd", "ftp://" + other.Host + "/x", "http://user:pass@" + other.Host + "/x", "http:///x", "http:x", "mailto:x", "://", "http://[::1", "\x01",
		"gopher://" + other.Host, "http://" + other.Host + ":0/x",
	} {
		h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodPost:
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusAccepted)
			case http.MethodGet:
				w.Header().Set("Link", "<"+to+`>; rel="next"`)
				fmt.Fprint(w, `{"tags":["a"]}`)
			default:
				refuse(w, http.StatusNotFound, "NOT_FOUND")
			}
		})
		d := newDesk(t)
		d.write("a.txt", "a\n")
		if o := d.stet(quick("push", h.Name()+"/app:v1", "a.txt")...); o.Code == 0 {
			t.Errorf("%s: %s", to, o)
		}
		if o := d.stet(quick("repo", "tags", h.Name()+"/app")...); o.Code == 0 && !strings.HasPrefix(to, "http:") {
			t.Errorf("%s: %s", to, o)
		}
	}
	other.atMost(0)
}
