package remote

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	s.all = longestFirst(all)
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

// with gives them all, and what the query of a request to u holds: a redirect or
// an upload's Location may be signed, and who is asked there may repeat it.
func (s *secrets) with(u *url.URL) []string {
	return longestFirst(slices.Concat(querySecrets(u), s.list()))
}

// longestFirst sorts secrets: what one contains may be a secret too.
func longestFirst(secrets []string) []string {
	slices.SortStableFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return secrets
}

// minSigned is how long a value of a query is that could be a signature. What is
// shorter is a number, a date or a word, of which a text may be full.
const minSigned = 12

// querySecrets is what must not be shown of a query. What the rest of the URL says
// as well is none.
func querySecrets(u *url.URL) []string {
	var all []string
	for _, part := range strings.Split(u.RawQuery, "&") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			value = part
		}
		if len(value) < minSigned || ok && (readable(key) || key == "account") || strings.Contains(u.Host+u.Path, value) {
			continue
		}
		all = append(all, value)
		if plain, err := url.QueryUnescape(value); err == nil && plain != value {
			all = append(all, forms(plain)...)
		}
	}
	return all
}

// forms is s as it may come back: as it is, as errors show what they quote, and
// as URLs do.
func forms(s string) []string {
	all := []string{s}
	quoted := strconv.Quote(s)
	for _, other := range []string{quoted[1 : len(quoted)-1], url.PathEscape(s), url.QueryEscape(s)} {
		if other != s {
			all = append(all, other)
		}
	}
	return all
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

// clean is err without secrets in its text: headers of answers are in it, what is
// no HTTP, names in certificates, and the last words of an HTTP/2 connection.
func clean(secrets []string, err error) error {
	if err == nil {
		return nil
	}
	said := err.Error()
	text := without(secrets, said)
	if text == said {
		return err
	}
	return &cleaned{err, text}
}

func (c *client) clean(err error) error { return clean(c.secrets.list(), err) }

// cleaned is an error with another text.
type cleaned struct {
	err  error
	text string
}

func (e *cleaned) Error() string { return e.text }

func (e *cleaned) Unwrap() error { return e.err }
