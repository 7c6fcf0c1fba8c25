package serve

import (
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
)

// aliases are the digests at which a manifest with another digest was taken
// (Quirks.NoDigestCheck). A store proves what it takes, so that it holds only
// the true name.
type aliases struct {
	mu sync.Mutex
	of map[alias]digest.Digest
}

type alias struct {
	repo string
	at   digest.Digest
}

// maxAliases bounds what clients can make the server remember.
const maxAliases = 10000

func (a *aliases) set(repo string, at, is digest.Digest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[alias]digest.Digest{}
	}
	if len(a.of) >= maxAliases {
		return &apiError{status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS", message: "too many manifests at digests that are not theirs"}
	}
	a.of[alias{repo, at}] = is
	return nil
}

// get is the true name of a reference, which is itself in most cases.
func (a *aliases) get(repo, ref string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if is, ok := a.of[alias{repo, digest.Digest(ref)}]; ok {
		return is.String()
	}
	return ref
}

// remove forgets an alias, and says whether it was one.
func (a *aliases) remove(repo, ref string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := alias{repo, digest.Digest(ref)}
	_, ok := a.of[key]
	delete(a.of, key)
	return ok
}
