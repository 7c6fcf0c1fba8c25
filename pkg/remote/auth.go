package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// auth signs requests in. It learns from the first 401 how the registry wants
// that, and then sends what it knows with every request; what comes at the same
// time waits for it. A 401 is answered once per request: a second one is the
// registry's last word.
type auth struct {
	next   http.RoundTripper // to the registry
	realm  http.RoundTripper // to token servers
	base   *url.URL          // the registry's origin
	host   string            // as credentials know it
	creds  Credentials
	now    func() time.Time
	flight singleflight.Group // token requests under way, by scopes
	gate   gate

	offline bool // ask for a refresh token as well: login does

	secrets   *secrets // of the client
	actions   []string // that will come
	mountFrom []string

	mu      sync.Mutex
	way     *challenge            // how the registry wants it; nil before the first 401
	known   map[string]Credential // by repository
	grants  []*grant              // tokens that worked when they were last used
	refresh string                // the last refresh token that was given
	narrow  bool                  // tokens for what will come are refused
}

// grant is a token and what it is for. Its time is advice: it is used until it
// is refused, but no large body is sent with one that is out of date.
type grant struct {
	repo   string
	scopes scopes
	token  string
	until  time.Time // by our clock, from when it arrived; zero is unknown
}

func newAuth(c *client, next, realm http.RoundTripper) *auth {
	creds := c.opts.Credentials
	if creds == nil {
		creds = Static(Credential{})
	}
	return &auth{
		next: next, realm: realm, base: c.base, host: c.host, creds: creds,
		now: c.opts.Now, known: map[string]Credential{}, secrets: c.secrets, actions: c.opts.Actions, mountFrom: c.opts.MountFrom,
	}
}

func (a *auth) RoundTrip(req *http.Request) (*http.Response, error) {
	if !sameOrigin(req.URL, a.base) {
		return a.next.RoundTrip(req)
	}
	free, err := a.mayBeRefused(req)
	first := false
	if err == nil && !free {
		first, err = a.gate.enter(req.Context(), writes(req))
	}
	if err != nil {
		return nil, err
	}
	if !first {
		sent, err := a.header(req)
		if err != nil {
			return nil, err
		}
		resp, err := a.send(req, sent, func() {})
		if free && err == nil {
			a.gate.open() // what answers a writer answers a reader
		}
		return resp, err
	}
	sent, done, err := a.ahead(req)
	if err != nil {
		return nil, err
	}
	defer done()
	return a.send(req, sent, done)
}

// send sends the request, and once more where its 401 can be answered. learnt
// is called when that is known and the body is yet to be sent.
func (a *auth) send(req *http.Request, sent string, learnt func()) (*http.Response, error) {
	resp, err := a.next.RoundTrip(signed(req, sent))
	// A redirect may have led elsewhere: another origin's challenge is not ours to answer.
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !sameOrigin(resp.Request.URL, a.base) {
		return resp, err
	}
	header, err := a.answer(req, resp, sent)
	learnt()
	if err != nil {
		drain(resp)
		return nil, err
	}
	if header == "" || header == sent {
		return resp, nil
	}
	drain(resp)
	again, err := rewound(req)
	if err != nil {
		return nil, err
	}
	return a.next.RoundTrip(signed(again, header))
}

// signed is req with the header Authorization.
func signed(req *http.Request, header string) *http.Request {
	if header == "" {
		return req
	}
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", header)
	return out
}

// largeBody is from where on a body is not sent on a token that is out of date.
const largeBody = 64 << 10

// header is what is known to let the request in: "" before the first challenge.
func (a *auth) header(req *http.Request) (string, error) {
	way := a.challenged()
	if way == nil {
		return "", nil
	}
	ctx, t := req.Context(), tripOf(req)
	cred, err := a.credential(ctx, t.repo)
	if err != nil {
		return "", err
	}
	switch {
	case cred.RegistryToken != "":
		return "Bearer " + cred.RegistryToken, nil
	case way.scheme == "basic":
		return basic(cred), nil
	}
	if g := a.grant(t); g != nil {
		large := req.ContentLength < 0 || req.ContentLength > largeBody
		if !large || g.until.IsZero() || a.now().Before(g.until) {
			return "Bearer " + g.token, nil
		}
		a.drop(g.token)
	}
	return a.bearer(ctx, t, *way, t.scopes)
}

// answer is the header that answers a 401, "" where there is none. sent is
// what was refused.
func (a *auth) answer(req *http.Request, resp *http.Response, sent string) (string, error) {
	ctx, t := req.Context(), tripOf(req)
	way, ok := strongest(parseChallenges(resp.Header.Values("Www-Authenticate")))
	if !ok {
		return "", nil
	}
	cred, err := a.credential(ctx, t.repo)
	if err != nil {
		return "", err
	}
	if cred == (Credential{}) {
		t.lacksCredentials()
	}
	if token, ok := strings.CutPrefix(sent, "Bearer "); ok {
		a.drop(token)
	}
	a.learn(way)
	switch {
	case cred.RegistryToken != "":
		return "Bearer " + cred.RegistryToken, nil
	case way.scheme == "basic":
		return basic(cred), nil
	}
	// Another goroutine may have got a new token since ours was sent.
	need := t.scopes.with(parseScopes(way.params["scope"]))
	if g := a.grant(t); g != nil && g.scopes.cover(need) {
		return "Bearer " + g.token, nil
	}
	return a.bearer(ctx, t, way, need)
}

// strongest takes the strongest challenge that can be answered.
func strongest(all []challenge) (challenge, bool) {
	for _, scheme := range []string{"bearer", "basic"} {
		if i := slices.IndexFunc(all, func(c challenge) bool { return c.scheme == scheme }); i >= 0 {
			return all[i], true
		}
	}
	return challenge{}, false
}

func basic(cred Credential) string {
	if cred.Username == "" && cred.Password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(cred.Username+":"+cred.Password))
}

// credential asks once per repository: a helper is a process.
func (a *auth) credential(ctx context.Context, repo string) (Credential, error) {
	a.mu.Lock()
	cred, ok := a.known[repo]
	a.mu.Unlock()
	if ok {
		return cred, nil
	}
	v, err := a.shared(ctx, "credential "+repo, func() (any, error) { return a.creds.Get(ctx, a.host, repo) })
	if err != nil {
		return Credential{}, fmt.Errorf("credentials for %s: %w", a.host, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[repo] = v.(Credential)
	return a.known[repo], nil
}

// grant is a token that covers what the trip needs, the last one first.
func (a *auth) grant(t *trip) *grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range slices.Backward(a.grants) {
		if g.repo == t.repo && g.scopes.cover(t.scopes) {
			return g
		}
	}
	return nil
}

// drop forgets a token that was refused.
func (a *auth) drop(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grants = slices.DeleteFunc(a.grants, func(g *grant) bool { return g.token == token })
}

// bearer gets a token for need, for what other requests on the repository needed
// and for what will come, so that a push does not change tokens between its reads
// and writes. However many goroutines want one, it is asked for once. Most token
// servers leave out what the account may not do; where one refuses it all, the
// token is for what is needed now.
func (a *auth) bearer(ctx context.Context, t *trip, way challenge, need scopes) (string, error) {
	need = need.with(a.before(t.repo, need))
	if wide := need.with(a.coming(t.repo)); !need.cover(wide) {
		header, err := a.token(ctx, t, way, wide)
		if refusal, ok := err.(*Error); !ok || refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusForbidden {
			return header, err
		}
		a.mu.Lock()
		a.narrow = true
		a.mu.Unlock()
	}
	return a.token(ctx, t, way, need)
}

// coming is what later requests on the repository will need, as far as known.
func (a *auth) coming(repo string) scopes {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := scopes{}
	if repo == "" || a.narrow || len(a.actions) == 0 {
		return s
	}
	s.add("repository:"+repo, a.actions)
	for _, from := range a.mountFrom {
		s.add("repository:"+from, []string{"pull"})
	}
	return s
}

// token gets a token for need.
func (a *auth) token(ctx context.Context, t *trip, way challenge, need scopes) (string, error) {
	cred, err := a.credential(ctx, t.repo)
	if err != nil {
		return "", err
	}
	key := strings.Join(append([]string{"token", t.repo, way.params["realm"], way.params["service"]}, need.strings()...), " ")
	v, err := a.shared(ctx, key, func() (any, error) {
		if g := a.grant(&trip{repo: t.repo, scopes: need}); g != nil {
			return g, nil // another flight has just landed
		}
		g, err := a.fetch(ctx, way, cred, need)
		if err != nil {
			return nil, err
		}
		g.repo = t.repo
		a.mu.Lock()
		defer a.mu.Unlock()
		a.grants = slices.DeleteFunc(a.grants, func(old *grant) bool { return old.repo == g.repo && g.scopes.cover(old.scopes) })
		a.grants = append(a.grants, g)
		return g, nil
	})
	if err != nil {
		return "", err
	}
	return "Bearer " + v.(*grant).token, nil
}

// before is what earlier tokens of the repository allowed on the resources in need.
func (a *auth) before(repo string, need scopes) scopes {
	a.mu.Lock()
	defer a.mu.Unlock()
	union := scopes{}
	for _, g := range a.grants {
		for resource, actions := range g.scopes {
			if g.repo == repo && need[resource] != nil {
				union.add(resource, actions)
			}
		}
	}
	return union
}

// shared runs f once for all who ask with the same key at the same time. Who
// runs it may be cancelled; then another does.
func (a *auth) shared(ctx context.Context, key string, f func() (any, error)) (any, error) {
	for {
		ch := a.flight.DoChan(key, f)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case r := <-ch:
			cancelled := errors.Is(r.Err, context.Canceled) || errors.Is(r.Err, context.DeadlineExceeded)
			if cancelled && ctx.Err() == nil && r.Shared {
				continue
			}
			return r.Val, r.Err
		}
	}
}
