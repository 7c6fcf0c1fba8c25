package remote

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The most verbose log, and every error, of a request that goes through all
// the layers holds no secret.
func TestTraceHoldsNoSecret(t *testing.T) {
	t.Parallel()
	cdn := hear(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "secret-cookie")
		w.Header().Set("Warning", "299 - \"raw \u202e\"")
		_, _ = io.WriteString(w, "secret-body")
	})
	s := tokenRegistry(t)
	s.Config.Handler = redirecting(s.Config.Handler, cdn.URL+"/x?X-Amz-Signature=secret-sig&n=5")
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = io.WriteString(w, `{"token":"1|secret-token","refresh_token":"secret-refresh"}`)
		return true
	}
	var log lines
	c, _ := clientOf(t, s.heard, Options{
		Trace: &log, Credentials: Static(Credential{Username: "alice", Password: "secret-password"}),
		Header: http.Header{"X-Key": {"secret-header"}}, UserAgent: "stet/1",
	})
	if got := must(t, c, get("a")); got != "secret-body" {
		t.Fatalf("got %q", got)
	}
	got := log.String()
	for _, secret := range []string{"secret", "c2VjcmV0", "\u202e"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q in\n%s", secret, got)
		}
	}
	for _, want := range []string{
		"> GET " + s.URL + "/v2/a/manifests/v1", "< 401 GET ", "/token?", "scope=repository%3Aa%3Apull", "auth=basic", "auth=bearer",
		"< 307 GET ", "X-Amz-Signature=REDACTED&n=5", "< 200 GET " + cdn.URL, `\u202e`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// redirecting sends a manifest's GET on to where, once it is signed in.
func redirecting(h http.Handler, where string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			http.Redirect(w, r, where, http.StatusTemporaryRedirect)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h/p?n=1&last=a%2Fb#frag": "https://h/p?n=1&last=a%2Fb",
		"https://h/p?sig=abc&digest=sha256:0": "https://h/p?sig=REDACTED&digest=sha256:0",
		"https://h/p?bare":                    "https://h/p?REDACTED",
		"https://h/p?%6e=1":                   "https://h/p?%6e=REDACTED",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := redactURL(u); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
			return
		}
		_, password, _ := r.BasicAuth()
		w.WriteHeader(400)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"X","message":%q,"detail":{"sent":%q}}]}`,
			r.Header.Get("X-Key"), r.Header.Get("Authorization")+password)
	})
	c, _ := clientOf(t, s, Options{Credentials: Static(user), Header: http.Header{"X-Key": {"my-api-key"}}})
	u, _ := url.Parse(s.URL + "/up?_state=signed-state")
	call := put("a", "hello")
	call.Location = u
	err := fails(t, c, call).Error()
	for _, secret := range []string{user.Password, "YWxpY2U6", "my-api-key", "signed-state"} {
		if strings.Contains(err, secret) {
			t.Errorf("%q in %s", secret, err)
		}
	}
}
