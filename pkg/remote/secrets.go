package remote

import (
	"net/http"
	"slices"
	"strings"
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

// without is s with secrets taken out, also where they come back in another case.
func without(secrets []string, s string) string {
	for _, secret := range secrets {
		secret = lower(secret)
		var out strings.Builder
		for {
			at := strings.Index(lower(s), secret)
			if at < 0 {
				break
			}
			out.WriteString(s[:at] + "REDACTED")
			s = s[at+len(secret):]
		}
		s = out.String() + s
	}
	return s
}

// lower is s with the letters of ASCII in lower case: as long as s, and cut alike.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// clean is err without what was sent in its text: headers of answers are in it.
func (c *client) clean(err error) error {
	if err == nil {
		return nil
	}
	return &cleaned{err, without(c.secrets.list(), err.Error())}
}

// cleaned is an error with another text.
type cleaned struct {
	err  error
	text string
}

func (e *cleaned) Error() string { return e.text }

func (e *cleaned) Unwrap() error { return e.err }
