package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Open gives the repository that ref names as a store. Nothing is asked of the
// registry; that the repository exists shows when it is used.
func Open(ref store.Ref, opts Options) (store.Store, error) {
	if ref.Scheme != store.SchemeRegistry {
		return nil, &store.RefError{Ref: ref.String(), Reason: "it does not name a repository of a registry"}
	}
	c, err := newClient(ref.Host, opts)
	if err != nil {
		return nil, err
	}
	return newRepository(c, ref.Repo), nil
}

// repository is one repository of a registry as a store.
type repository struct {
	client *client
	name   string

	known   knowledge
	asks    questions     // which way small blobs begin
	flights flights       // uploads under way and done
	chunk   atomic.Int64  // bytes of a chunk that was taken after larger requests were refused; 0 is none
	claims  claims        // blobs that are said to be there
	lists   lists         // changes to referrers lists under way
	kinds   kinds         // what was asked about kinds of manifests
	settle  time.Duration // the least time in which other writers of a list show
	fresh   time.Duration // for how long a list that was read may be the base of a change
}

func newRepository(c *client, name string) *repository {
	return &repository{client: c, name: name, settle: listSettle, fresh: listSettle}
}

// Support is what the registry's answers have shown so far.
func (r *repository) Support() store.Support { return r.known.support() }

// Close does nothing: connections belong to the client and end when idle.
func (r *repository) Close() error {
	r.client.close()
	return nil
}

// request is a wire.Request to this repository.
func (r *repository) request(kind wire.Kind) wire.Request {
	return wire.Request{Kind: kind, Repo: r.name}
}

// fallback tells of another way that was taken, once for each choice.
func (r *repository) fallback(choice, reason string) {
	if r.known.first(choice) {
		r.client.opts.Events.Emit(store.Event{Kind: store.Fallback, Choice: choice, Name: r.client.host + "/" + r.name, Text: reason})
	}
}

// knowledge is what answers have shown of a registry. It is kept for each
// repository, because behind one host some are proxies of others.
type knowledge struct {
	mu        sync.Mutex
	found     store.Support
	announced map[string]bool
}

func (k *knowledge) support() store.Support {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.found)
}

func (k *knowledge) of(a store.Ability) store.Answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found.Of(a)
}

func (k *knowledge) learn(a store.Ability, answer store.Answer, e store.Evidence) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.found == nil {
		k.found = store.Support{}
	}
	k.found[a] = store.Finding{Answer: answer, Evidence: e}
}

// first is true the first time that it is asked for the choice.
func (k *knowledge) first(choice string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.announced == nil {
		k.announced = map[string]bool{}
	}
	seen := k.announced[choice]
	k.announced[choice] = true
	return !seen
}

// answered is the evidence of an answer; header may be "".
func answered(req wire.Request, resp *http.Response, header string) store.Evidence {
	e := store.Evidence{Request: req.Method() + " " + req.URL().Path, Status: resp.StatusCode}
	if v := resp.Header.Get(header); header != "" && v != "" {
		e.Header = header + ": " + v
	}
	return e
}

// refused is the evidence of a refusal.
func refused(req wire.Request, err *Error) store.Evidence {
	e := store.Evidence{Request: req.Method() + " " + req.URL().Path, Status: err.Status}
	if len(err.Errors) > 0 {
		e.Code = err.Errors[0].Code
	}
	return e
}

// statusOf gives the registry's refusal when its status is one of these, or
// any status when none is given; nil otherwise. That of a token server is none:
// the registry was not asked, and nothing is to be concluded from it.
func statusOf(err error, status ...int) *Error {
	if e := refusalOf(err, status...); e != nil && !e.noToken {
		return e
	}
	return nil
}

// refusalOf is the same for a refusal by either of them.
func refusalOf(err error, status ...int) *Error {
	var e *Error
	if errors.As(err, &e) && (len(status) == 0 || slices.Contains(status, e.Status)) {
		return e
	}
	return nil
}

// checkDigestHeader compares Docker-Content-Digest, where there is one, with
// the digest that is expected. A registry may name content by another
// algorithm than the one asked for, which says nothing: not compared.
func checkDigestHeader(resp *http.Response, want digest.Digest) error {
	got := headerDigest(resp)
	if got == "" || got.Algorithm() != want.Algorithm() || got == want {
		return nil
	}
	return fmt.Errorf("%w: expected %s, the registry says %s", store.ErrMismatch, want, got)
}

// headerDigest is Docker-Content-Digest, or "" where it is absent or no digest.
func headerDigest(resp *http.Response) digest.Digest {
	d := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if d.Validate() != nil {
		return ""
	}
	return d
}

// locks are mutexes by digest that a context can leave.
type locks struct {
	mu   sync.Mutex
	held map[digest.Digest]chan struct{}
}

func (l *locks) lock(ctx context.Context, d digest.Digest) (unlock func(), err error) {
	for {
		l.mu.Lock()
		wait, taken := l.held[d]
		if !taken {
			if l.held == nil {
				l.held = map[digest.Digest]chan struct{}{}
			}
			mine := make(chan struct{})
			l.held[d] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, d)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// checkRef keeps what is neither tag nor digest out of URLs
// (distribution-spec "Pulling manifests").
func checkRef(ref string) error {
	if strings.Contains(ref, ":") && !strings.Contains(ref, "/") { // which names of layouts have
		return store.CheckDigest(digest.Digest(ref))
	}
	ok := ref != "" && len(ref) <= 128 && ref[0] != '.' && ref[0] != '-' && !strings.ContainsFunc(ref, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	})
	if !ok {
		return &store.RefError{Ref: ref, Reason: "neither a tag nor a digest"}
	}
	return nil
}
