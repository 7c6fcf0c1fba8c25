package remote

import (
	"net/http"
	"slices"
	"sync"
)

// secrets are what a client has sent and must not show: a registry may repeat
// it in an error, a header or the path of a redirect, and logs are read by others.
type secrets struct {
	mu   sync.Mutex
	sent map[string]bool // values of Authorization
	all  []string        // what not to show of them, the longest first
}

// newSecrets begins with what the user's own headers hold.
func newSecrets(h http.Header) *secrets {
	return &secrets{sent: map[string]bool{}, all: headerSecrets(h)}
}

// note adds the value of a header Authorization that is about to be sent.
func (s *secrets) note(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == "" || s.sent[value] {
		return
	}
	s.sent[value] = true
	all := append(slices.Clone(s.all), headerSecrets(http.Header{"Authorization": {value}})...)
	slices.SortStableFunc(all, func(a, b string) int { return len(b) - len(a) })
	s.all = all
}

// hide adds texts that are about to be sent in another way.
func (s *secrets) hide(texts ...string) {
	for _, text := range texts {
		s.note(text)
	}
}

// list gives them all.
func (s *secrets) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
