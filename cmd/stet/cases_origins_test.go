package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// The account of the cases. The password is in no other text.
const (
	user     = "alice"
	password = "s3cr3t-word"
)

var (
	signedIn = []string{"-u", user, "-p", password}
	basicOf  = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
)

// quickAs is quick with the account of the cases.
func quickAs(args ...string) []string { return append(quick(args...), signedIn...) }

// behindBasic lets only the account of the cases in.
func behindBasic(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != basicOf {
			w.Header().Set("Www-Authenticate", `Basic realm="case"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		next(w, r)
	}
}

// noSecrets wants that a server was sent neither credentials nor the header of
// the user.
func (h *hostile) noSecrets() {
	h.t.Helper()
	h.without("Authorization", "X-Mine", password, basicOf, "Cookie", user+":")
}

// Case 26: urls of a layer on another host that asks for credentials: no
// credentials there.
func TestCase26LayerURLs(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{`Basic realm="other"`, `Bearer realm="http://REALM/token",service="x"`} {
		other := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				io.WriteString(w, `{"token":"tok"}`)
				return
			}
			w.Header().Set("Www-Authenticate", strings.ReplaceAll(challenge, "REALM", r.Host))
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		})
		s := newShelf()
		layer := store.Descriptor{
			MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: digest.FromString(content), Size: int64(len(content)),
			URLs: []string{other.URL + "/layer", "http://localhost:" + other.Port + "/layer"}, Annotations: map[string]string{"org.opencontainers.image.title": "layer.tar"},
		}
		s.artifact([]store.Descriptor{layer}, "v1")
		h := newHostile(t, behindBasic(s.ServeHTTP))
		d := newDesk(t)
		d.stet(quickAs("pull", h.Name()+"/app:v1")...).fails(5)
		d.leftAlone()
		// A copy may go without such a layer, and says so.
		d.stet(quick("cp", h.Name()+"/app:v1", "oci:copy:v1", "--from-username", user, "--from-password", password)...).says("is not in the source")
		other.noSecrets()
	}
}

// redirected is a registry behind credentials that sends what fits away.
func redirected(t *testing.T, s *shelf, fits func(*http.Request) bool, to string) *hostile {
	return newHostile(t, behindBasic(func(w http.ResponseWriter, r *http.Request) {
		if fits(r) {
			http.Redirect(w, r, to+r.URL.Path+"?X-Amz-Signature=5ign4ture", http.StatusTemporaryRedirect)
			return
		}
		s.ServeHTTP(w, r)
	}))
}

// Case 27: blob redirected to a CDN on another host: works, without
// Authorization. Case 28: redirect to another port of the same IP: no
// Authorization. Case 29: manifest redirected: no Authorization. Case 43:
// --header and a redirect: the header stays with the registry.
func TestCase27To29And43Redirected(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	for name, fits := range map[string]func(*http.Request) bool{"blob": isBlob, "manifest": isManifest} {
		for _, host := range []string{"127.0.0.1", "localhost"} { // another name; the same with another port
			t.Run(name+" "+host, func(t *testing.T) {
				t.Parallel()
				cdn := newHostile(t, s.ServeHTTP)
				h := redirected(t, s, fits, "http://"+host+":"+cdn.Port)
				d := newDesk(t)
				d.stet(quickAs("pull", h.Name()+"/app:v1", "-H", "X-Mine: "+password)...).ok()
				if d.read("data.bin") != content {
					t.Error("the file is not whole")
				}
				if len(cdn.heard("", "")) == 0 {
					t.Error("nothing was asked of the CDN")
				}
				cdn.noSecrets()
				for _, n := range h.heard("", "/v2/app/") {
					if n.Header.Get("X-Mine") != password {
						t.Errorf("%s was without the header of the user", n)
					}
				}
			})
		}
	}
}

// Case 27, by TLS to a host of another name.
func TestCase27RedirectedByTLS(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	cdn := newHostileTLS(t, s.ServeHTTP)
	h := newHostileTLS(t, behindBasic(func(w http.ResponseWriter, r *http.Request) {
		if isBlob(r) {
			http.Redirect(w, r, "https://example.com:"+cdn.Port+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		s.ServeHTTP(w, r)
	}))
	d := newDesk(t)
	d.stet(quickAs("pull", h.Host+"/app:v1", "-H", "X-Mine: 1", "--ca-file", h.CA, "--resolve", "example.com:"+cdn.Port+":127.0.0.1:"+cdn.Port)...).ok()
	cdn.noSecrets()
	if len(cdn.heard("", "")) == 0 || d.read("data.bin") != content {
		t.Error("the CDN was not asked, or the file is not whole")
	}
}

// Case 30: redirect target asks for credentials: not answered.
func TestCase30RedirectTargetAsks(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	for _, challenge := range []string{`Basic realm="x"`, `Bearer realm="http://HOST/token"`, `Bearer realm="http://REG/token",service="reg",scope="repository:app:push"`} {
		for name, fits := range map[string]func(*http.Request) bool{"blob": isBlob, "manifest": isManifest} {
			var reg atomic.Value
			cdn := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Www-Authenticate", strings.NewReplacer("HOST", r.Host, "REG", reg.Load().(string)).Replace(challenge))
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			})
			h := redirected(t, s, fits, cdn.URL)
			reg.Store(h.Name())
			d := newDesk(t)
			o := d.stet(quickAs("pull", h.Name()+"/app:v1")...).fails(4)
			if cdn.noSecrets(); len(cdn.heard("", "/token")) > 0 || len(h.heard("", "/token")) > 0 {
				t.Errorf("%s, %s: a token was asked for\n%s", name, challenge, o)
			}
			d.leftAlone()
		}
	}
}

// Case 31: upload Location on another host or port: no credentials there.
func TestCase31UploadLocationElsewhere(t *testing.T) {
	t.Parallel()
	for _, chunks := range []bool{false, true} {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			inner := newRegistry(t)
			other := newHostile(t, inner.ServeHTTP)
			h := newHostile(t, behindBasic(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					r.URL.RawQuery = "" // a POST alone stores nothing
					inner.ServeHTTP(moved{w, "http://" + host + ":" + other.Port}, r)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			d := newDesk(t)
			d.write("data.bin", content)
			args := quickAs("push", h.Name()+"/app:v1", "data.bin", "-H", "X-Mine: 1")
			if chunks {
				args = append(args, "--chunk-size", "100KiB")
			}
			o := d.stet(args...)
			other.noSecrets()
			if len(other.heard("", "")) == 0 && o.Code == 0 {
				t.Errorf("%s\nnothing went to the other host", o)
			}
			if o.Code == 0 {
				d.stet(quickAs("pull", "-o", "again", h.Name()+"/app:v1")...).ok()
			}
		}
	}
}

// moved makes a Location absolute and elsewhere.
type moved struct {
	http.ResponseWriter
	to string
}

func (m moved) WriteHeader(status int) {
	if l := m.Header().Get("Location"); strings.HasPrefix(l, "/") {
		m.Header().Set("Location", m.to+l)
	}
	m.ResponseWriter.WriteHeader(status)
}

// Case 32: redirect to itself: exit ≠ 0, few requests. The same in a circle of
// two, and without an end.
func TestCase32RedirectForEver(t *testing.T) {
	t.Parallel()
	var others sync.Map // by the host that leads there
	var n atomic.Int64
	for name, to := range map[string]func(r *http.Request) string{
		"itself": func(r *http.Request) string { return r.RequestURI },
		"a circle": func(r *http.Request) string {
			other, _ := others.Load(r.Host)
			return fmt.Sprint(other, r.RequestURI)
		},
		"no end": func(r *http.Request) string { return fmt.Sprintf("%s?n=%d", r.URL.Path, n.Add(1)) },
	} {
		for _, status := range []int{302, 307, 308} {
			answer := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" {
					w.Header().Set("Location", to(r))
					w.WriteHeader(status)
				}
			}
			a, b := newHostile(t, answer), newHostile(t, answer)
			others.Store(a.Name(), b.URL)
			others.Store(b.Host, a.URL)
			d := newDesk(t)
			d.write("a.txt", "a\n")
			d.stet("pull", a.Name()+"/app:v1").fails(7)
			if n := len(a.heard("", "")) + len(b.heard("", "")); n > 30 {
				t.Errorf("%s: %d requests", name, n)
			}
			if o := d.stet(quick("push", a.Name()+"/app:v1", "a.txt")...); o.Code == 0 || len(a.heard("", "")) > 120 {
				t.Errorf("%s: %s\n%d requests", name, o, len(a.heard("", "")))
			}
		}
	}
}

// Case 33: https → http redirect: refused. An upload's Location is the same.
func TestCase33RedirectFromTLS(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	plain := newHostile(t, s.ServeHTTP)
	for name, fits := range map[string]func(*http.Request) bool{
		"blob": isBlob, "manifest": isManifest, "upload": func(r *http.Request) bool { return r.Method == http.MethodPost },
	} {
		h := newHostileTLS(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !fits(r):
				s.ServeHTTP(w, r)
			case r.Method == http.MethodPost:
				w.Header().Set("Location", plain.URL+"/upload")
				w.WriteHeader(http.StatusAccepted)
			default:
				http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
			}
		})
		d := newDesk(t)
		if name == "upload" {
			d.write("a.txt", "a\n")
			d.stet(quick("push", h.Host+"/app:v2", "a.txt", "--ca-file", h.CA)...).fails(7).says("https to http")
		} else {
			d.stet(quick("pull", h.Host+"/app:v1", "--ca-file", h.CA)...).fails(7).says("https to http")
			d.leftAlone()
		}
		plain.atMost(0)
	}
}

// Case 42: cp between two registries: each sees only its own credentials.
func TestCase42CopyBetweenTwo(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	from := newHostile(t, behindBasic(s.ServeHTTP))
	inner := newRegistry(t)
	to := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		if name, pass, _ := r.BasicAuth(); name != "bob" || pass != "0ther-word" {
			w.Header().Set("Www-Authenticate", `Basic realm="to"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		inner.ServeHTTP(w, r)
	})
	check := func() {
		t.Helper()
		to.without(basicOf, password, "X-From")
		from.without(base64.StdEncoding.EncodeToString([]byte("bob:0ther-word")), "0ther-word", "X-To")
	}
	d := newDesk(t)
	args := []string{"cp", from.Name() + "/app:v1", to.Name() + "/app:v1"}
	d.stet(quick(append(args, "--from-username", user, "--from-password", password, "--to-username", "bob", "--to-password", "0ther-word",
		"--from-header", "X-From: 1", "--to-header", "X-To: 1")...)...).ok()
	check()
	// One side alone: the other gets nothing of it.
	d.stet(quick(append(args, "--from-username", user, "--from-password", password)...)...).fails(4)
	d.stet(quick(append(args, "--to-username", "bob", "--to-password", "0ther-word")...)...).fails(4)
	check()
	// The same from a file, where the names differ in the port alone.
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	d.write("both.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q},%q:{"auth":%q}}}`,
		from.Name(), auth(user+":"+password), to.Name(), auth("bob:0ther-word")))
	d.stet(quick(append(args, "--from-registry-config", "both.json", "--to-registry-config", "both.json")...)...).ok()
	check()
}

// Case 44: unknown CA: exit ≠ 0, nothing sent, no http. The same with a
// certificate for another name.
func TestCase44UnknownCA(t *testing.T) {
	t.Parallel()
	h := newHostileTLS(t, newShelf().ServeHTTP)
	relay, first := firstBytes(t, h.Host)
	d := newDesk(t)
	d.write("a.txt", "a\n")
	for _, args := range [][]string{
		{"pull", relay + "/app:v1"},
		{"push", relay + "/app:v1", "a.txt"},
		{"login", relay},
		{"pull", "--plain-http=false", "--ca-file", h.CA, strings.Replace(relay, "127.0.0.1", "localhost", 1) + "/app:v1"},
	} {
		o := d.stet(append(args, signedIn...)...).fails(8).says("certificate")
		if o.Took.Seconds() > 10 {
			t.Errorf("%s\nit tried for long", o)
		}
	}
	h.atMost(0)
	for _, b := range first() {
		if b != 0x16 { // TLS handshake (RFC 8446 section 5.1)
			t.Errorf("a connection began with %q", b)
		}
	}
	if len(first()) < 4 || len(filesBelow(t, d.Home)) > 0 {
		t.Errorf("%d connections; the home has %q", len(first()), filesBelow(t, d.Home))
	}
}

// firstBytes relays connections to an address, and tells what byte each began with.
func firstBytes(t *testing.T, to string) (address string, first func() []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var all []byte
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				one := make([]byte, 1)
				if _, err := io.ReadFull(c, one); err != nil {
					return // opened ahead, and not used
				}
				mu.Lock()
				all = append(all, one[0])
				mu.Unlock()
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				up.Write(one)
				go io.Copy(up, c)
				io.Copy(c, up)
			}()
		}
	}()
	return l.Addr().String(), func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return append([]byte(nil), all...)
	}
}
