package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// tokenServer gives the tokens t1, t2 …, which let their holder in until they
// are revoked.
type tokenServer struct {
	mu   sync.Mutex
	n    int
	good map[string]bool
	used map[string]bool // let somebody in
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good == nil {
		s.good = map[string]bool{}
	}
	s.n++
	token := fmt.Sprintf("t0ken-%d", s.n)
	s.good["Bearer "+token] = true
	fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, token)
}

// revoke makes all tokens worthless.
func (s *tokenServer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good = nil
}

func (s *tokenServer) lets(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := r.Header.Get("Authorization")
	if s.good[token] {
		if s.used == nil {
			s.used = map[string]bool{}
		}
		s.used[token] = true
	}
	return s.good[token]
}

// worked says whether the request's token has let somebody in.
func (s *tokenServer) worked(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[r.Header.Get("Authorization")]
}

// behindTokens lets in who has a token from realm, which is a URL; HOST in it is
// the registry's own.
func (s *tokenServer) behindTokens(realm string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			s.ServeHTTP(w, r)
		case !s.lets(r):
			w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="case",scope="repository:app:pull,push"`, strings.ReplaceAll(realm, "HOST", r.Host)))
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		default:
			next(w, r)
		}
	}
}

// Case 34: https registry, http realm: no credentials, exit ≠ 0.
func TestCase34PlainRealmOfTLS(t *testing.T) {
	t.Parallel()
	tokens := &tokenServer{}
	realm := newHostile(t, tokens.ServeHTTP)
	d := newDesk(t)
	// Elsewhere; and under the registry's own name and port.
	for _, where := range []string{realm.URL + "/token", "http://HOST/token", "HTTP://HOST/token", "http://localhost:" + realm.Port + "/token"} {
		h := newHostileTLS(t, tokens.behindTokens(where, newShelf().ServeHTTP))
		d.stet(quickAs("pull", h.Host+"/app:v1", "--ca-file", h.CA)...).fails(7).says("not https")
		d.stet(quickAs("login", h.Host, "--ca-file", h.CA)[:4]...) // without --retry, which it does not have
		d.stet(quick("pull", h.Host+"/app:v1", "--ca-file", h.CA)...).fails(7)
		h.noSecrets()
	}
	realm.atMost(0)
}

// Case 35: https realm on another host: works.
func TestCase35RealmElsewhereByTLS(t *testing.T) {
	t.Parallel()
	tokens, s := &tokenServer{}, newShelf()
	s.artifact(nil, "v1")
	realm := newHostileTLS(t, tokens.ServeHTTP)
	resolve := "example.com:" + realm.Port + ":127.0.0.1:" + realm.Port
	for _, host := range []string{"example.com", "127.0.0.1"} {
		h := newHostileTLS(t, tokens.behindTokens("https://"+host+":"+realm.Port+"/token", s.ServeHTTP))
		newDesk(t).stet(quickAs("pull", h.Host+"/app:v1", "--ca-file", h.CA, "--resolve", resolve, "-H", "X-Mine: 1")...).ok()
		h.without(basicOf)
		realm.without("X-Mine")
	}
	if asked := realm.heard("GET", "/token"); len(asked) == 0 || asked[0].Header.Get("Authorization") != basicOf {
		t.Errorf("the realm was asked %v", asked)
	}
}

// Case 36: http realm on another host for an http registry: no credentials (all
// peers send them).
func TestCase36PlainRealmElsewhere(t *testing.T) {
	t.Parallel()
	tokens := &tokenServer{}
	realm := newHostile(t, tokens.ServeHTTP)
	for _, where := range []string{
		realm.URL + "/token", "http://localhost:" + realm.Port + "/token", "http://alice:x@HOST/token", "//HOST/token", "file:///etc/passwd", "",
		"http:///token", "http://HOST\\@" + realm.Host + "/token", "http://HOST.x@" + realm.Host + "/token", "http://" + realm.Host + "#HOST/token",
	} {
		h := newHostile(t, tokens.behindTokens(where, newShelf().ServeHTTP))
		newDesk(t).stet(quickAs("pull", h.Name()+"/app:v1")...).fails(4, 7)
		h.noSecrets()
	}
	realm.noSecrets()
	// Nor after the realm has led elsewhere.
	behind := tokens.behindTokens("http://HOST/away/token", func(http.ResponseWriter, *http.Request) {})
	h := newHostile(t, away(behind, realm.URL).ServeHTTP)
	newDesk(t).stet(quickAs("pull", h.Name()+"/app:v1")...).fails(4, 6, 7)
	realm.noSecrets()
}

// away redirects what is below /away/.
func away(next http.Handler, to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/away/") {
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Case 37: token endpoint 500 for ever, garbage: exit ≠ 0, bounded.
func TestCase37TokenEndpointOutOfOrder(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"503 for long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(503)
		},
		"html":         func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"empty object": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") },
		"empty token":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":""}`) },
		"a number":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":7}`) },
		"a header":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"x\r\nX-Forged: 1"}`) },
		"cut":          func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/token?x", http.StatusFound) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := challenging(t, "", answer)
			o := newDesk(t).stet(append([]string{"pull", h.Name() + "/app:v1", "--retry", "2"}, signedIn...)...).fails(4, 6, 7, 8)
			o.never(password)
			h.atMost(10)
			for _, n := range h.heard("", "/v2/") {
				if n.Header.Get("X-Forged") != "" {
					t.Errorf("%s has a forged header", n)
				}
			}
		})
	}
}

// Case 38: every token refused: exit ≠ 0, bounded.
func TestCase38EveryTokenRefused(t *testing.T) {
	t.Parallel()
	n := 0
	h := challenging(t, "", func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprintf(w, `{"token":"t0ken-%d"}`, n)
	})
	d := newDesk(t)
	d.write("a.txt", "a\n")
	d.stet(append([]string{"pull", h.Name() + "/app:v1"}, signedIn...)...).fails(4)
	d.stet(append([]string{"push", h.Name() + "/app:v1", "a.txt"}, signedIn...)...).fails(4)
	h.atMost(30)
}

// Case 39: token refused in the middle of a pull; of an upload: renewed, success.
// Each time it is one that let a request in before.
func TestCase39TokenRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(*http.Request) bool{
		"pull, GET blob":     func(r *http.Request) bool { return r.Method == "GET" && isBlob(r) },
		"push, POST":         func(r *http.Request) bool { return r.Method == "POST" },
		"push, PATCH":        func(r *http.Request) bool { return r.Method == "PATCH" },
		"push, PUT blob":     func(r *http.Request) bool { return r.Method == "PUT" && isBlob(r) },
		"push, PUT manifest": func(r *http.Request) bool { return r.Method == "PUT" && isManifest(r) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := &tokenServer{}
			inner := newRegistry(t)
			var armed atomic.Bool
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				if at(r) && tokens.worked(r) && armed.CompareAndSwap(true, false) {
					tokens.revoke()
				}
				tokens.behindTokens("http://HOST/token", inner.ServeHTTP)(w, r)
			})
			d := newDesk(t)
			run := func(command string, args ...string) {
				d.stet(append([]string{command, h.Name() + "/app:v1", "-u", user, "-p", password, "--retry", "0"}, args...)...).ok()
			}
			armed.Store(strings.HasPrefix(name, "push"))
			run("push", d.sources()...)
			armed.Store(strings.HasPrefix(name, "pull"))
			run("pull", "-o", "out")
			if d.read("out/large.bin") != largeContent || d.read("out/small.txt") != "small\n" {
				t.Error("the files are not whole")
			}
			if armed.Load() {
				t.Error("no token was refused")
			}
			if tokens.n > 4 {
				t.Errorf("%d tokens were asked for", tokens.n)
			}
		})
	}
}

// Case 40: most verbose log: no secret, no signed URL. Nor what sets a cookie,
// nor in the results and errors beside it.
func TestCase40NoSecretInLogs(t *testing.T) {
	t.Parallel()
	tokens, s := &tokenServer{}, newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	var gone atomic.Bool
	cdn := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=c00kie")
		if gone.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		s.ServeHTTP(w, r)
	})
	inner := newRegistry(t)
	h := newHostile(t, tokens.behindTokens("http://HOST/token?sig=5ign4ture", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=c00kie")
		switch {
		case isBlob(r) && strings.Contains(r.URL.Path, "/app/"):
			http.Redirect(w, r, cdn.URL+r.URL.Path+"?X-Amz-Signature=5ign4ture&sig=5ign4ture&n=1&Expires=1", http.StatusTemporaryRedirect)
		case strings.Contains(r.URL.Path, "/app/"):
			s.ServeHTTP(w, r)
		default:
			inner.ServeHTTP(moved{w, "http://" + user + "-state:5ign4ture@" + r.Host}, r)
		}
	}))
	secrets := []string{password, basicOf[6:], "t0ken-", "5ign4ture", "c00kie", "h1dden"}
	args := []string{"--debug", "-H", "X-Key: h1dden", "-u", user, "-p", password, "--retry", "1"}
	d := newDesk(t)
	d.write("a.txt", "a\n")
	d.stet(append([]string{"pull", h.Name() + "/app:v1", "--format", "json"}, args...)...).ok().never(secrets...)
	d.stet(append([]string{"push", h.Name() + "/other:v1", "a.txt"}, args...)...).never(secrets...)
	gone.Store(true)
	d.stet(append([]string{"pull", h.Name() + "/app:v1", "-o", "out"}, args...)...).fails(4).never(secrets...)
	h.Server.CloseClientConnections()
	h.Server.Listener.Close()
	d.stet(append([]string{"pull", h.Name() + "/app:v1", "-o", "out"}, args...)...).fails(8).never(secrets...)
}

// Case 41: error body echoes our Authorization: redact our own secrets.
func TestCase41ErrorEchoesSecrets(t *testing.T) {
	t.Parallel()
	tokens := &tokenServer{}
	echo := func(w http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
		w.Header().Set("Warning", fmt.Sprintf("299 - %q", auth+" "+r.Header.Get("X-Mine")))
		w.Header().Set("Www-Authenticate", fmt.Sprintf("Basic realm=%q", auth+" "+r.Header.Get("X-Mine")))
		w.WriteHeader(http.StatusBadRequest)
		kind, value, _ := strings.Cut(auth, " ")
		raw, _ := base64.StdEncoding.DecodeString(value)
		fmt.Fprint(w, asJSON(map[string]any{"errors": []any{map[string]any{
			"code": "BAD " + auth, "message": kind + " and " + value + " and " + string(raw) + " and " + r.Header.Get("X-Mine"),
			"detail": map[string]any{"headers": r.Header, "split": strings.Split(string(raw), ":"), value: 1},
		}}}))
	}
	plain := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<title>%s %s</title>", r.Header.Get("Authorization"), r.Header.Get("X-Mine"))
	}
	path := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			http.Redirect(w, r, "/"+value+"/"+r.Header.Get("X-Mine"), http.StatusTemporaryRedirect)
			return
		}
		refuse(w, http.StatusForbidden, "DENIED")
	}
	form := func(w http.ResponseWriter, r *http.Request) { // of a token server: what was posted, and the query
		r.ParseForm()
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":%q}`, fmt.Sprint(r.Form, r.Header))
	}
	for name, handler := range map[string]http.HandlerFunc{
		"Basic": behindBasic(echo), "Basic, a page": behindBasic(plain), "Basic, a path": behindBasic(path),
		"Bearer": tokens.behindTokens("http://HOST/token", echo), "token server": challenging(t, "", form).Server.Config.Handler.ServeHTTP,
	} {
		h := newHostile(t, handler)
		d := newDesk(t)
		d.write("a.txt", "a\n")
		for _, args := range [][]string{{"pull", h.Name() + "/app:v1"}, {"push", h.Name() + "/app:v1", "a.txt"}} {
			o := d.stet(quickAs(append(args, "--debug", "-H", "X-Mine: h1dden")...)...)
			o.never(password, basicOf[6:], "t0ken-", "h1dden")
			if o.Code == 0 || t.Failed() {
				t.Errorf("%s: exit code %d", name, o.Code)
			}
		}
		d.stet(quick("pull", h.Name()+"/app:v1", "--identity-token", "1dentity-word")...).never("1dentity-word")
	}
}

// Case 45: login with a wrong password: exit ≠ 0, nothing stored. Nor where the
// registry did not ask for it, or is none.
func TestCase45LoginWrongPassword(t *testing.T) {
	t.Parallel()
	tokens := &tokenServer{}
	servers := map[string]http.HandlerFunc{
		"Basic": behindBasic(newShelf().ServeHTTP),
		"token server refuses": challenging(t, "", func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		}).Server.Config.Handler.ServeHTTP,
		"the token is refused": challenging(t, "", tokens.ServeHTTP).Server.Config.Handler.ServeHTTP,
		"403":                  func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusForbidden, "DENIED") },
		"404":                  http.NotFound,
		"500":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	}
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, handler)
			d := newDesk(t)
			d.Stdin = "wr0ng-word"
			o := d.stet("login", h.Name(), "-u", user, "--password-stdin").never("wr0ng-word")
			if o.Code == 0 {
				t.Errorf("%s", o)
			}
			if left := filesBelow(t, d.Home); slices.ContainsFunc(left, func(f string) bool { return strings.Contains(f, "config.json") || strings.Contains(f, "auth") }) {
				t.Errorf("the home has %q", left)
			}
		})
	}
}
