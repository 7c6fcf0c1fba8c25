package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

var user = Credential{Username: "alice", Password: "opensesame"}

// tokens is a registry with its own token server under /token. Tokens are
// "<number>|<scopes>" in order; those below valid are refused.
type tokens struct {
	*heard
	mu     sync.Mutex
	issued int
	valid  int
	asked  []string // "GET scope scope" of each token request
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func tokenRegistry(t *testing.T) *tokens {
	t.Helper()
	s := &tokens{}
	s.heard = hear(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			s.token(w, r)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var n int
		_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer %d|", &n)
		if err != nil || n < s.valid {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="reg"`, s.URL))
			w.WriteHeader(401)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})
	return s
}

func (s *tokens) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	scope := strings.Join(r.Form["scope"], " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+scope))
	if s.answer != nil && s.answer(w, r) {
		return
	}
	name, password, ok := r.BasicAuth()
	if ok && (name != user.Username || password != user.Password) {
		w.WriteHeader(401)
		return
	}
	s.issued++
	_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprintf("%d|%s", s.issued, strings.ReplaceAll(scope, " ", "+"))})
}

func (s *tokens) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func TestTokensAreSharedAndGrow(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	c, _ := clientOf(t, s.heard, Options{Credentials: Static(user)})
	must(t, c, get("a/b"))
	must(t, c, get("a/b"))
	if got := must(t, c, put("a/b", "hello")); got != "hello" {
		t.Errorf("got %q", got)
	}
	must(t, c, get("a/b"))
	must(t, c, get("other"))
	must(t, c, call{Request: wire.Request{Kind: wire.UploadMount, Repo: "a/b", From: "other"}})
	must(t, c, put("a/b", "again"))
	must(t, c, call{Request: wire.Request{Kind: wire.Ping}})
	must(t, c, call{Request: wire.Request{Kind: wire.ManifestDelete, Repo: "a/b", Ref: "v1"}})
	want := []string{
		"GET repository:a/b:pull",
		"GET repository:a/b:pull,push",
		"GET repository:other:pull",
		"GET repository:a/b:pull,push repository:other:pull",
		"GET",
		"GET repository:a/b:pull,push,delete",
	}
	if diff := cmp.Diff(want, s.requests()); diff != "" {
		t.Error(diff)
	}
	// One 401 is enough to learn how to sign in.
	if n := len(s.all()); n != 9+1+len(want) {
		t.Errorf("%d requests, want %d", n, 9+1+len(want))
	}
}

func TestManyAskOnce(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	c, _ := clientOf(t, s.heard, Options{Credentials: Static(user)})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			resp, err := c.do(t.Context(), get("a"))
			if err != nil {
				t.Error(err)
				return
			}
			drain(resp)
		})
	}
	wg.Wait()
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// Who asks for all may be cancelled; the others get their token all the same.
func TestCancelledAskerHarmsNobody(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	asking := make(chan bool, 10)
	release := make(chan bool)
	var n atomic.Int32
	s.answer = func(http.ResponseWriter, *http.Request) bool {
		if n.Add(1) == 1 {
			asking <- true
			<-release
		}
		return false
	}
	c, _ := clientOf(t, s.heard, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	do := func(ctx context.Context, done chan error) {
		resp, err := c.do(ctx, get("a"))
		if err == nil {
			drain(resp)
		}
		done <- err
	}
	go do(ctx, first)
	<-asking
	go do(t.Context(), second)
	time.Sleep(50 * time.Millisecond) // so that the second waits for the first
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("other: %v", err)
	}
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	c, _ := clientOf(t, s.heard, Options{Credentials: Static(user)})
	must(t, c, put("a", "one"))
	s.mu.Lock()
	s.valid = 2 // the first token has run out
	s.mu.Unlock()
	if got := must(t, c, put("a", "two")); got != "two" {
		t.Errorf("got %q", got)
	}
	s.mu.Lock()
	s.valid = 1000 // every token is refused
	s.mu.Unlock()
	before := len(s.all())
	if err := fails(t, c, get("a")); !errors.Is(err, store.ErrUnauthorized) {
		t.Error(err)
	}
	if n := len(s.all()) - before; n > 3 {
		t.Errorf("%d requests for one that is refused", n)
	}
}

// A time that has passed is only advice: small requests use the token until it
// is refused, large bodies go with a new one, and nothing loops.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		s.issued++
		_, _ = fmt.Fprintf(w, `{"access_token":"%d|","expires_in":60,"issued_at":"1999-01-01T00:00:00Z"}`, s.issued)
		return true
	}
	now := time.Unix(0, 0)
	c, _ := clientOf(t, s.heard, Options{Now: func() time.Time { return now }})
	must(t, c, put("a", "x"))
	now = now.Add(time.Hour)
	must(t, c, put("a", "x"))
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	must(t, c, put("a", strings.Repeat("x", largeBody+1)))
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

func TestTokenServer(t *testing.T) {
	reply := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		cred   Credential
		answer func(http.ResponseWriter, *http.Request) bool
		want   error
		asked  int
	}{
		"anonymous":      {asked: 1},
		"right password": {cred: user, asked: 1},
		"wrong password": {cred: Credential{Username: "alice", Password: "wrong"}, want: store.ErrUnauthorized, asked: 1},
		"500 for ever":   {answer: reply(500, ""), want: store.ErrUnavailable, asked: 6},
		"garbage":        {answer: reply(200, "<html>"), want: store.ErrInvalid, asked: 1},
		"no token":       {answer: reply(200, "{}"), want: store.ErrInvalid, asked: 1},
		"bad characters": {answer: reply(200, `{"token":"a\nb"}`), want: store.ErrInvalid, asked: 1},
		"endless":        {answer: reply(200, `{"token":"`+strings.Repeat("x", 2<<20)), want: store.ErrTooLarge, asked: 1},
		"redirect": {cred: user, want: store.ErrInvalid, asked: 1, answer: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/token?again", http.StatusFound)
			return true
		}},
		"refresh token": {cred: Credential{IdentityToken: "refresh-me"}, asked: 1, answer: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "POST" || r.PostForm.Get("grant_type") != "refresh_token" || r.PostForm.Get("refresh_token") != "refresh-me" {
				w.WriteHeader(400)
				return true
			}
			return false
		}},
		"only POST": {cred: user, asked: 2, answer: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "GET" {
				w.WriteHeader(405)
				return true
			}
			if r.PostForm.Get("grant_type") != "password" || r.PostForm.Get("password") != user.Password {
				w.WriteHeader(400)
				return true
			}
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tokenRegistry(t)
			s.answer = c.answer
			client, _ := clientOf(t, s.heard, Options{Credentials: Static(c.cred)})
			resp, err := client.do(t.Context(), get("a"))
			if err == nil {
				drain(resp)
			}
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if n := len(s.requests()); n != c.asked {
				t.Errorf("%d token requests, want %d", n, c.asked)
			}
			if err != nil && (strings.Contains(err.Error(), "opensesame") || strings.Contains(err.Error(), "refresh-me")) {
				t.Errorf("secret in %v", err)
			}
		})
	}
}

// Where a registry may send us for a token.
func TestRealm(t *testing.T) {
	for name, c := range map[string]struct {
		secureRegistry, secureRealm bool
		cred                        Credential
		want                        error
	}{
		"https to https elsewhere":          {true, true, user, nil},
		"https to http":                     {true, false, user, store.ErrInvalid},
		"https to http, anonymous":          {true, false, Credential{}, store.ErrInvalid},
		"http to http elsewhere":            {false, false, user, store.ErrInvalid},
		"http to http elsewhere, anonymous": {false, false, Credential{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			realm := hear(t, c.secureRealm, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token":"good"}`) })
			reg := hear(t, c.secureRegistry, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer good" {
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm.URL+`/token"`)
					w.WriteHeader(401)
				}
			})
			client, _ := clientOf(t, reg, Options{Credentials: Static(c.cred), Header: http.Header{"X-Mine": {"x"}}})
			resp, err := client.do(t.Context(), get("a"))
			if err == nil {
				drain(resp)
			}
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.want != nil && len(realm.all()) > 0 {
				t.Error("the realm was asked")
			}
			for _, r := range realm.all() {
				if r.Header.Get("X-Mine") != "" {
					t.Error("the realm got the registry's header")
				}
			}
		})
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != user.Username || password != user.Password {
			w.Header().Set("WWW-Authenticate", `Negotiate, BASIC realm="x"`)
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `you sent `+r.Header.Get("Authorization")+" "+password)
		}
	})
	c, _ := clientOf(t, s, Options{Credentials: Static(user)})
	must(t, c, get("a"))
	must(t, c, get("b"))
	if n := len(s.all()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	wrong, _ := clientOf(t, s, Options{Credentials: Static(Credential{Username: "alice", Password: "not-that"})})
	before := len(s.all())
	err := fails(t, wrong, get("a"))
	if !errors.Is(err, store.ErrUnauthorized) || strings.Contains(err.Error(), "not-that") || strings.Contains(err.Error(), "YWxpY2U6bm90LXRoYXQ=") {
		t.Errorf("%v; want ErrUnauthorized without the password", err)
	}
	if n := len(s.all()) - before; n != 2 {
		t.Errorf("%d requests with a wrong password, want 2", n)
	}
	fails(t, wrong, get("a"))
	if n := len(s.all()) - before; n != 3 {
		t.Errorf("%d requests with a password that is known to be wrong, want 3", n)
	}
	anonymous, _ := clientOf(t, s, Options{})
	var refusal *Error
	if err := fails(t, anonymous, get("a")); !errors.As(err, &refusal) || !refusal.Anonymous {
		t.Errorf("%v; want an anonymous refusal", err)
	}
}

// A token that the user brought goes to the registry as it is.
func TestRegistryToken(t *testing.T) {
	t.Parallel()
	s := tokenRegistry(t)
	c, _ := clientOf(t, s.heard, Options{Credentials: Static(Credential{RegistryToken: "7|mine"})})
	must(t, c, get("a"))
	must(t, c, get("a"))
	if diff := cmp.Diff([]string{"", "Bearer 7|mine", "Bearer 7|mine"}, s.auths()); diff != "" {
		t.Error(diff)
	}
}

func TestLogin(t *testing.T) {
	offline := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Form.Get("offline_token") == "true" {
			_, _ = io.WriteString(w, `{"token":"5|","refresh_token":"for-later"}`)
		}
		return r.Form.Get("offline_token") == "true"
	}
	open := hear(t, false, func(http.ResponseWriter, *http.Request) {})
	page := hear(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	welcome := hear(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<title>Welcome</title>")
	})
	plain := true
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		server *heard
		cred   Credential
		want   Identity
		err    error
	}{
		"right":         {cred: user, want: Identity{user, true}},
		"wrong":         {cred: Credential{Username: "alice", Password: "wrong"}, err: store.ErrUnauthorized},
		"refresh token": {cred: user, answer: offline, want: Identity{Credential{Username: "alice", IdentityToken: "for-later"}, true}},
		"open":          {cred: user, server: open, want: Identity{user, false}},
		"no registry":   {cred: user, server: page, err: store.ErrNotFound},
		"a web page":    {cred: user, server: welcome, err: store.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{}
			s := c.server
			if s == nil {
				reg := tokenRegistry(t)
				reg.answer = c.answer
				s, opts.CAFile = reg.heard, caFile(t, reg.heard)
			} else {
				opts.PlainHTTP = &plain
			}
			got, err := Login(t.Context(), s.Listener.Addr().String(), c.cred, opts)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
