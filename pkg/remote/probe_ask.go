package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// reply is an answer as a probe reads it: none of them is an error.
type reply struct {
	req     wire.Request
	status  int
	header  http.Header
	body    []byte // as much as was asked for; of a refusal nothing
	refusal *Error // nil with a 2xx
	foreign string // the host that answered after redirects, where that is not the one that was asked
	proto   int    // major version of HTTP
	tls     bool
	as      string // who asked
	resp    *http.Response
	lost    error // there was no answer; all else is zero
}

// ask sends the call and gives whatever comes back, with up to limit bytes of
// its body. The error is that there is no answer. Statuses in call.Want mean
// nothing here.
func (c *client) ask(ctx context.Context, call call, limit int64) (reply, error) {
	t := &trip{once: call.Once, scopes: newScopes(call.Request.Scope(), call.Request.MountScope()), repo: call.Request.Repo}
	var body []byte
	t.read = func(resp *http.Response) (err error) { // not to its end: a Range may be ignored
		body, err = io.ReadAll(io.LimitReader(resp.Body, limit))
		return err
	}
	req, err := c.request(ctx, call, t)
	if err != nil {
		return reply{}, err
	}
	resp, err := c.auth.RoundTrip(req)
	if err != nil {
		return reply{}, c.clean(explain(req, err))
	}
	defer resp.Body.Close()
	c.warn(resp)
	r := reply{
		req: call.Request, status: resp.StatusCode, header: resp.Header, proto: resp.ProtoMajor, tls: resp.TLS != nil,
		as: c.identity(ctx, call.Request.Repo), resp: resp, body: body,
	}
	if !sameOrigin(resp.Request.URL, req.URL) {
		r.foreign = resp.Request.URL.Host
	}
	if resp.StatusCode/100 != 2 {
		r.refusal = newError(resp, t, c.secrets.with(resp.Request.URL))
	}
	return r, nil
}

// identity is who the registry sees: "anonymous", the user name, or "token".
func (c *client) identity(ctx context.Context, repo string) string {
	c.auth.mu.Lock()
	asked := c.auth.way != nil
	c.auth.mu.Unlock()
	if !asked { // nothing is sent before a challenge
		return anonymous
	}
	cred, err := c.auth.credential(ctx, repo)
	switch {
	case err != nil || cred == (Credential{}):
		return anonymous
	case cred.Username != "":
		return cred.Username
	}
	return "token"
}

const anonymous = "anonymous"

// code is the first error code, "" without one.
func (r reply) code() string {
	if r.refusal == nil || len(r.refusal.Errors) == 0 {
		return ""
	}
	return r.refusal.Errors[0].Code
}

// said is what a refusal says in words: message and detail.
func (r reply) said() string {
	if r.refusal == nil || len(r.refusal.Errors) == 0 {
		return ""
	}
	info := r.refusal.Errors[0]
	info.Code = ""
	return info.String()
}

// is says whether the status is one of these.
func (r reply) is(status ...int) bool { return slices.Contains(status, r.status) }

// html: the answer is a page for people. A portal, a login or a proxy wrote
// it (trap T3), so that it says nothing of the registry.
func (r reply) html() bool {
	return r.resp != nil && isHTML(mediaType(r.resp)) || strings.HasPrefix(r.said(), htmlPage)
}

// mute says why an answer is none about the ability: it is about rights,
// pace, faults, or by somebody else. "" is an answer that counts.
func (r reply) mute() string {
	switch {
	case r.lost != nil:
		return "no answer: " + r.lost.Error()
	case r.is(http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired), r.refusal != nil && r.refusal.Has("DENIED"):
		return "not allowed to " + r.as // T1: another account may see more
	case r.is(http.StatusTooManyRequests) || r.refusal != nil && r.refusal.Has("TOOMANYREQUESTS"):
		return "throttled" // T8
	case r.status == http.StatusRequestTimeout || r.status/100 == 5 && r.status != http.StatusNotImplemented:
		return "the registry failed"
	case r.status/100 == 3:
		return "redirected elsewhere"
	case r.html():
		return "a web page answered"
	case r.foreign != "": // T4
		return r.foreign + " answered"
	case r.refusal != nil && r.refusal.Has("NAME_UNKNOWN"): // T5
		return "the repository is not known"
	}
	return ""
}

// refuses: the registry is there, and will not talk, to us or now.
func (r reply) refuses() bool {
	return r.is(http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusTooManyRequests) || r.status/100 == 5
}

// same says whether two answers cannot be told apart: T12, an answer without
// a body is compared by its status alone.
func (r reply) same(o reply) bool { return r.status == o.status && r.code() == o.code() }

// String is a reply in short, such as "400 DIGEST_INVALID".
func (r reply) String() string { return strings.TrimSpace(fmt.Sprint(r.status, " ", r.code())) }

// evidence is what an answer rests on; header may be "".
func (r reply) evidence(header, note string) store.Evidence {
	uri := strings.NewReplacer("%3A", ":", "%2F", "/", "%2B", "+").Replace(r.req.URL().RequestURI()) // to be read
	e := store.Evidence{
		Request: r.req.Method() + " " + uri, Status: r.status, Code: r.code(), As: r.as,
		Note: joined(r.said(), note),
	}
	if values := r.header.Values(header); header != "" && len(values) > 0 {
		e.Header = header + ": " + without(longestFirst(querySecrets(r.resp.Request.URL)), strings.Join(shownValues(header, values), ", "))
	}
	return e
}

// shownValues are the values of a header without what is secret in their URLs.
func shownValues(header string, values []string) []string {
	switch next, ok := nextLink(values); {
	case header == "Location":
		return []string{redactLocation(values[0])}
	case header == "Link" && ok:
		return []string{"<" + redactLocation(next) + `>; rel="next"`}
	}
	return values
}

// joined are the sentences that are there, with "; " between them.
func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// finding is an answer that rests on r, unless r is none.
func (r reply) finding(answer store.Answer, header, note string) store.Finding {
	if why := r.mute(); why != "" {
		return store.Finding{Answer: store.Unknown, Evidence: r.evidence(header, why)}
	}
	return store.Finding{Answer: answer, Evidence: r.evidence(header, note)}
}
