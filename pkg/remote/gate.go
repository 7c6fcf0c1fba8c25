package remote

import (
	"context"
	"net/http"
	"sync"

	"github.com/stet-oci/stet/internal/wire"
)

// gate lets one request of a client go ahead until its answer has shown
// whether the registry wants to know who asks. Without it every worker of a
// push would send its first blob to be refused, and then send it again.
//
// Many registries let everybody read: what an answer to a reader shows says
// nothing of writers, unless it was a challenge.
type gate struct {
	mu          sync.Mutex
	read, write bool          // shown: those requests need not wait
	ahead       chan struct{} // closed when the one ahead is answered; nil while there is none
}

// enter waits until a request may go. first is true for the one that goes
// ahead, which has to call leave.
func (g *gate) enter(ctx context.Context, writes bool) (first bool, err error) {
	for {
		g.mu.Lock()
		if writes && g.write || !writes && g.read {
			g.mu.Unlock()
			return false, nil
		}
		ahead := g.ahead
		if ahead == nil {
			g.ahead = make(chan struct{})
			g.mu.Unlock()
			return true, nil
		}
		g.mu.Unlock()
		select {
		case <-ahead:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// leave lets the others go: those that read, and those that write. Where
// neither was shown another one goes ahead.
func (g *gate) leave(read, write bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read, g.write = g.read || read, g.write || write
	close(g.ahead)
	g.ahead = nil
}

// open lets all go from now on, also while one is ahead.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read, g.write = true, true
}

// mayBeRefused says that a writer, or a question, need not wait at the gate: nobody has
// credentials for the registry, so that it most likely lets everybody in, and
// little is lost where it asks all the same. Over https it waits: the first
// request shows as well whether one connection takes them all (HTTP/2).
func (a *auth) mayBeRefused(req *http.Request) (bool, error) {
	if req.Method == http.MethodGet || a.base.Scheme != "http" || req.ContentLength < 0 || req.ContentLength > largeBody {
		return false, nil
	}
	cred, err := a.credential(req.Context(), tripOf(req).repo)
	return err == nil && cred == (Credential{}), err
}

func writes(req *http.Request) bool {
	return req.Method != http.MethodGet && req.Method != http.MethodHead
}

// ahead makes the request's header Authorization as the first one, and lets
// go of the gate as soon as it is known how to sign in, with the token in hand
// that the others can use. Where it is not, done is to be called after the answer.
func (a *auth) ahead(req *http.Request) (sent string, done func(), err error) {
	ctx := req.Context()
	done = sync.OnceFunc(func() {
		// That the request was given up shows nothing. That it failed does
		// neither, but the others would fail one after the other.
		shown := ctx.Err() == nil
		a.gate.leave(a.challenged() != nil || shown, a.challenged() != nil || shown && writes(req))
	})
	if req.Body != nil && req.Body != http.NoBody {
		a.greet(req)
	}
	if sent, err = a.header(req); err != nil || sent != "" {
		done()
	}
	return sent, done, err
}

// greet learns from GET /v2/ how the registry wants to be signed in to
// (distribution-spec "Determining Support"), so that a body is not sent only to
// be refused. Who has no credentials has no reason to expect that.
//
// It is no condition: whatever is wrong will show in the request itself.
func (a *auth) greet(req *http.Request) {
	ctx, t := req.Context(), tripOf(req)
	if cred, err := a.credential(ctx, t.repo); err != nil || cred == (Credential{}) || a.challenged() != nil {
		return
	}
	ping := tokenRequest(ctx, http.MethodGet, a.base.ResolveReference(wire.Request{Kind: wire.Ping}.URL()))
	tripOf(ping).once = true
	resp, err := a.next.RoundTrip(ping)
	if err != nil {
		return
	}
	drain(resp)
	if resp.StatusCode != http.StatusUnauthorized || !sameOrigin(resp.Request.URL, a.base) {
		return
	}
	if way, ok := strongest(parseChallenges(resp.Header.Values("Www-Authenticate"))); ok {
		a.learn(way)
	}
}

// challenged is how the registry wants to be signed in to, nil while that is
// not known.
func (a *auth) challenged() *challenge {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.way
}

func (a *auth) learn(way challenge) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.way = &way
}
