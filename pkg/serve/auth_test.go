package serve_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/serve"
)

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// onlyReads lets bob pull and alice do everything but with "secret".
func onlyReads(user, repo, action string) bool {
	return user == "alice" && repo != "secret" || repo == "a" && action == "pull"
}

func TestBasic(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{Basic: map[string]string{"alice": "pw", "bob": "pw2", "empty": ""}, Allow: onlyReads})
	d := g.blob("secret", hello)
	for _, c := range []struct{ method, path, auth, want string }{
		{"GET", "/v2/", "X: y", "401 UNAUTHORIZED"},
		{"GET", "/v2/", basic("alice", "pw"), "200"},
		{"GET", "/v2/", basic("alice", "pw2"), "401 UNAUTHORIZED"},
		{"GET", "/v2/", basic("alice", ""), "401 UNAUTHORIZED"},
		{"GET", "/v2/", basic("nobody", ""), "401 UNAUTHORIZED"},
		{"GET", "/v2/", "Authorization: Basic %%%", "401 UNAUTHORIZED"},
		{"GET", "/v2/", "Authorization: Bearer pw", "401 UNAUTHORIZED"},
		{"POST", "/v2/a/blobs/uploads/", basic("alice", "pw"), "202"},
		{"POST", "/v2/a/blobs/uploads/", basic("bob", "pw2"), "403 DENIED"},
		{"GET", "/v2/a/manifests/v1", basic("bob", "pw2"), "404 MANIFEST_UNKNOWN"},
		{"GET", "/v2/_catalog", basic("bob", "pw2"), "403 DENIED"},
		{"GET", "/v2/_catalog", basic("alice", "pw"), "200"},
		{"GET", "/v2/A/tags/list", "X: y", "401 UNAUTHORIZED"},
		{"GET", "/v2/a/blobs/short", "X: y", "401 UNAUTHORIZED"},
		// What may not be pulled is not mounted either.
		{"POST", "/v2/a/blobs/uploads/?from=secret&mount=" + d.String(), basic("alice", "pw"), "202"},
	} {
		r := g.want(g.do(c.method, c.path, "", c.auth), c.want)
		if r.status == 401 {
			g.header(r, `WWW-Authenticate: Basic realm="stet", charset="UTF-8"`)
		}
		if t.Failed() {
			t.Fatal(c)
		}
	}
}

// token is the answer of the token service.
type token struct {
	Token     string `json:"token"`
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int    `json:"expires_in"`
	Scope     string `json:"scope"`
}

func (g *rig) token(r reply) token {
	g.Helper()
	var tok token
	if err := json.Unmarshal([]byte(g.want(r, "200").body), &tok); err != nil {
		g.Fatal(err)
	}
	return tok
}

func (g *rig) form(v url.Values) reply {
	return g.do("POST", "/token", v.Encode(), "Content-Type: application/x-www-form-urlencoded")
}

func bearer(t *testing.T, b serve.Bearer, now func() time.Time) *rig {
	b.Users = map[string]string{"alice": "pw", "bob": "pw2"}
	return start(t, serve.Options{Bearer: &b, Allow: onlyReads, Now: now})
}

func TestBearerChallenge(t *testing.T) {
	t.Parallel()
	g := bearer(t, serve.Bearer{}, nil)
	host := strings.TrimPrefix(g.url, "http://")
	for _, c := range []struct{ method, path, rest string }{
		{"GET", "/v2/", ""},
		{"GET", "/v2/a/b/manifests/v1", `,scope="repository:a/b:pull"`},
		{"PUT", "/v2/a/manifests/v1", `,scope="repository:a:pull,push"`},
		{"DELETE", "/v2/a/manifests/v1", `,scope="repository:a:delete"`},
		{"GET", "/v2/_catalog", `,scope="registry:catalog:*"`},
		{"POST", "/v2/a/blobs/uploads/?from=b&mount=" + noSum, `,scope="repository:a:pull,push repository:b:pull"`},
		{"GET", `/v2/a%22b/tags/list`, ""}, // nothing may end the quotes
	} {
		r := g.want(g.do(c.method, c.path, ""), "401 UNAUTHORIZED")
		g.header(r, fmt.Sprintf(`WWW-Authenticate: Bearer realm="%s/token",service="%s"%s`, g.url, host, c.rest))
	}
}

func TestBearerScopes(t *testing.T) {
	t.Parallel()
	g := bearer(t, serve.Bearer{}, nil)
	for _, c := range []struct {
		user, scopes  string
		granted       string
		method, path  string
		want, because string
	}{
		{"alice", "repository:a:pull,push", "repository:a:pull,push", "POST", "/v2/a/blobs/uploads/", "202", ""},
		{"alice", "repository:a:pull,push", "repository:a:pull,push", "POST", "/v2/b/blobs/uploads/", "401 UNAUTHORIZED", "insufficient_scope"},
		{"alice", "repository:b:pull repository:a:pull", "repository:b:pull repository:a:pull", "GET", "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN", ""},
		{"alice", "repository:secret:pull", "", "GET", "/v2/secret/manifests/v1", "401 UNAUTHORIZED", "insufficient_scope"},
		{"bob", "repository:a:pull,push", "repository:a:pull", "POST", "/v2/a/blobs/uploads/", "401 UNAUTHORIZED", "insufficient_scope"},
		{"bob", "nonsense repository:a", "", "GET", "/v2/", "200", ""},
		{"alice", "registry:catalog:*", "registry:catalog:*", "GET", "/v2/_catalog", "200", ""},
		{"alice", "repository:a:pull", "repository:a:pull", "DELETE", "/v2/a/manifests/v1", "401 UNAUTHORIZED", "insufficient_scope"},
		{"alice", "repository:a:delete", "repository:a:delete", "DELETE", "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN", ""},
	} {
		password := map[string]string{"alice": "pw", "bob": "pw2"}[c.user]
		tok := g.token(g.do("GET", "/token?scope="+url.QueryEscape(c.scopes), "", basic(c.user, password)))
		if tok.Scope != c.granted || tok.Token != tok.Access || tok.ExpiresIn != 300 || tok.Refresh != "" {
			t.Errorf("%s asked for %s: %+v", c.user, c.scopes, tok)
		}
		r := g.want(g.do(c.method, c.path, "", "Authorization: bearer "+tok.Token), c.want)
		if !strings.Contains(r.Get("WWW-Authenticate"), c.because) {
			t.Error(r.Get("WWW-Authenticate"))
		}
	}
}

func TestTokenService(t *testing.T) {
	t.Parallel()
	g := bearer(t, serve.Bearer{}, nil)
	password := url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {"pw"}, "access_type": {"offline"}, "scope": {"repository:a:pull"},
	}
	tok := g.token(g.form(password))
	if tok.Refresh == "" || tok.Scope != "repository:a:pull" {
		t.Fatalf("%+v", tok)
	}
	renewed := g.token(g.form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.Refresh}, "scope": {"repository:b:push"}}))
	if renewed.Scope != "repository:b:push" {
		t.Errorf("%+v", renewed)
	}
	if tok := g.token(g.do("GET", "/token?offline_token=true", "", basic("bob", "pw2"))); tok.Refresh == "" {
		t.Errorf("%+v", tok)
	}
	g.want(g.do("GET", "/v2/", "", "Authorization: Bearer "+tok.Refresh), "401 UNAUTHORIZED") // it is no access token
	password.Set("password", "wrong")
	for _, r := range []reply{
		g.form(password),
		g.form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tok.Token}}),
		g.form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"forged.x"}}),
		g.form(url.Values{}),
		g.do("GET", "/token", "", basic("alice", "pw2")),
		g.do("GET", "/token", ""),
	} {
		g.want(r, "401 UNAUTHORIZED")
	}
	g.want(g.do("PUT", "/token", ""), "405 UNSUPPORTED")

	anonymous := bearer(t, serve.Bearer{Anonymous: true, GetOnly: true}, nil)
	if tok := anonymous.token(anonymous.do("GET", "/token?scope=repository:a:pull,push", "")); tok.Scope != "repository:a:pull" || tok.Refresh != "" {
		t.Errorf("anonymous: %+v", tok)
	}
	open := start(t, serve.Options{Bearer: &serve.Bearer{Anonymous: true}})
	if tok := open.token(open.do("GET", "/token?scope=repository:a:pull,push+registry:catalog:*", "")); tok.Scope != "repository:a:pull" {
		t.Errorf("anonymous may %s", tok.Scope)
	}
	anonymous.want(anonymous.form(password), "405 UNSUPPORTED")
	anonymous.want(anonymous.do("GET", "/token", "", basic("alice", "wrong")), "401 UNAUTHORIZED")
}

// A token is refused when it has expired, was changed, or is another server's.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	now := func() time.Time { return time.Unix(passed.Load(), 0) }
	g := bearer(t, serve.Bearer{Expiry: time.Minute}, now)
	tok := g.token(g.do("GET", "/token?scope=repository:a:pull", "", basic("alice", "pw"))).Token
	ask := func(tok string) reply { return g.do("GET", "/v2/a/manifests/v1", "", "Authorization: Bearer "+tok) }
	g.want(ask(tok), "404 MANIFEST_UNKNOWN")
	other := bearer(t, serve.Bearer{}, now)
	for _, bad := range []string{
		"", "x", "..", tok + "AA", "A" + tok, tok[:len(tok)-4],
		other.token(other.do("GET", "/token?scope=repository:a:pull", "", basic("alice", "pw"))).Token,
	} {
		r := g.want(ask(bad), "401 UNAUTHORIZED")
		if !strings.Contains(r.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Error(r.Get("WWW-Authenticate"))
		}
	}
	passed.Store(59)
	g.want(ask(tok), "404 MANIFEST_UNKNOWN")
	passed.Store(60)
	g.want(ask(tok), "401 UNAUTHORIZED")
}
