package remote

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// trace writes a line for each request and each answer. It shows only what is
// on its lists: a header or a query value is secret until it is known not to be.
type trace struct {
	next http.RoundTripper
	out  io.Writer // one Write per line; nil is silent
	now  func() time.Time

	secrets *secrets // answers may repeat them, and so where they lead
}

func (t *trace) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.out == nil {
		return t.next.RoundTrip(req)
	}
	start := t.now()
	what := req.Method + " " + redactURL(req.URL)
	size := ""
	if req.ContentLength != 0 {
		size = fmt.Sprintf(" length=%d", req.ContentLength)
	}
	secrets := t.secrets.with(req.URL)
	t.line(secrets, "> %s%s%s%s", what, size, shown(secrets, req.Header, "Accept", "Content-Type", "Range", "Content-Range"), authKind(req.Header))
	resp, err := t.next.RoundTrip(req)
	took := t.now().Sub(start).Round(time.Millisecond)
	secrets = t.secrets.with(req.URL) // also a proxy's, who was chosen meanwhile
	if err != nil {
		t.line(secrets, "< %s: no answer after %v", what, took)
		return nil, err
	}
	t.line(secrets, "< %d %s %s %v length=%d%s", resp.StatusCode, what, resp.Proto, took, resp.ContentLength, shown(secrets, resp.Header,
		"Content-Type", "Content-Range", "Range", "Location", "Retry-After", "Warning", "Www-Authenticate",
		"Docker-Content-Digest", "Oci-Subject", "Oci-Tag", "Oci-Filters-Applied", "Oci-Chunk-Min-Length"))
	return resp, nil
}

func (t *trace) line(secrets []string, format string, args ...any) {
	_, _ = io.WriteString(t.out, without(secrets, fmt.Sprintf(format, args...))+"\n")
}

// shown is the named headers in one line, with controls escaped. A secret is taken
// out before its value is cut or quoted, after which it would not be recognised.
func shown(secrets []string, h http.Header, names ...string) string {
	var b strings.Builder
	for _, name := range names {
		for _, v := range h.Values(name) {
			switch name {
			case "Location":
				v = redactLocation(v)
			case "Www-Authenticate":
				v = redactChallenge(v)
			}
			v = without(secrets, v)
			fmt.Fprintf(&b, " %s=%s", name, strconv.Quote(v[:min(len(v), 500)]))
		}
	}
	return b.String()
}

// authKind says how a request was signed in, and not with what.
func authKind(h http.Header) string {
	kind, _, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(kind, "Basic") && !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return " auth=" + strings.ToLower(kind)
}

// readable is whether a query value may be shown. Everything else could be
// a signature or an upload's state.
func readable(key string) bool {
	switch key {
	case "n", "last", "digest", "digest-algorithm", "mount", "from", "artifactType", "tag", "scope", "service":
		return true
	}
	return false
}

// redactURL is a URL without user, fragment and what may be secret in its query.
func redactURL(u *url.URL) string {
	out := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, Opaque: u.Opaque}
	var parts []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		key, _, ok := strings.Cut(part, "=")
		if ok && !readable(key) {
			part = key + "=REDACTED"
		}
		if !ok && part != "" {
			part = "REDACTED"
		}
		parts = append(parts, part)
	}
	out.RawQuery = strings.Join(parts, "&")
	return out.String()
}

// redactChallenge is a challenge with the parameters that say what is asked for.
// The realm is a URL, which may be signed; what other schemes send is theirs.
func redactChallenge(value string) string {
	var all []string
	for _, c := range parseChallenges([]string{value}) {
		var params []string
		for _, name := range []string{"realm", "service", "scope", "error"} {
			v, ok := c.params[name]
			if name == "realm" && strings.Contains(v, "?") {
				v = redactLocation(v)
			}
			if ok {
				params = append(params, name+`="`+v+`"`)
			}
		}
		all = append(all, strings.TrimSpace(c.scheme+" "+strings.Join(params, ",")))
	}
	return strings.Join(all, ", ")
}

func redactLocation(loc string) string {
	u, err := url.Parse(loc)
	if err != nil {
		return "(no URL)"
	}
	return redactURL(u)
}
