package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// maxToken bounds the answer of a token server.
const maxToken = 1 << 20

// clientID is how the program names itself to OAuth2 servers.
const clientID = "stet"

// fetch asks the challenge's token server for a token: by GET, with Basic or
// anonymously (distribution token specification), and by POST where only a
// refresh token is known or the server has no GET (distribution OAuth2
// specification).
func (a *auth) fetch(ctx context.Context, way challenge, cred Credential, need scopes) (*grant, error) {
	realm, err := a.checkRealm(way.params["realm"], cred)
	if err != nil {
		return nil, err
	}
	form := url.Values{}
	if service := way.params["service"]; service != "" {
		form.Set("service", service)
	}
	if cred.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", cred.IdentityToken)
		return a.postToken(ctx, realm, form, need)
	}
	grant, err := a.getToken(ctx, realm, form, cred, need)
	if refusal, ok := err.(*Error); ok && cred.Username != "" &&
		(refusal.Status == http.StatusNotFound || refusal.Status == http.StatusMethodNotAllowed) {
		form.Set("grant_type", "password")
		form.Set("username", cred.Username)
		form.Set("password", cred.Password)
		if a.offline {
			form.Set("access_type", "offline")
		}
		return a.postToken(ctx, realm, form, need)
	}
	return grant, err
}

// checkRealm keeps credentials from who could read them: the realm is https
// or the registry itself. Without credentials a registry on plain http may
// name another http server; one on https never.
func (a *auth) checkRealm(realm string, cred Credential) (*url.URL, error) {
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: %s asks for a token without saying where", store.ErrInvalid, a.base)
	}
	anonymous := cred == (Credential{}) && a.base.Scheme == "http"
	if u.Scheme == "http" && !sameOrigin(u, a.base) && !anonymous {
		return nil, fmt.Errorf("%w: %s asks to send credentials to %s, which is not https", store.ErrInvalid, a.base, redactURL(u))
	}
	return u, nil
}

// getToken keeps what the realm's query already holds.
func (a *auth) getToken(ctx context.Context, realm *url.URL, form url.Values, cred Credential, need scopes) (*grant, error) {
	u := *realm
	q := u.Query()
	for k, v := range form {
		q[k] = v
	}
	for _, s := range need.strings() {
		q.Add("scope", s)
	}
	if cred.Username != "" {
		q.Set("account", cred.Username)
	}
	if a.offline {
		q.Set("offline_token", "true")
		q.Set("client_id", clientID)
	}
	u.RawQuery = q.Encode()
	req := tokenRequest(ctx, http.MethodGet, &u)
	if header := basic(cred); header != "" {
		req.Header.Set("Authorization", header)
	}
	return a.askToken(req, need, nil)
}

func (a *auth) postToken(ctx context.Context, realm *url.URL, form url.Values, need scopes) (*grant, error) {
	form.Set("client_id", clientID)
	if list := need.strings(); len(list) > 0 {
		form.Set("scope", strings.Join(list, " "))
	}
	body := form.Encode()
	req := tokenRequest(ctx, http.MethodPost, realm)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	var secrets []string
	for _, key := range []string{"refresh_token", "password"} {
		if v := form.Get(key); len(v) >= 4 {
			secrets = append(secrets, v)
		}
	}
	a.secrets.hide(secrets...)
	return a.askToken(req, need, secrets)
}

func tokenRequest(ctx context.Context, method string, u *url.URL) *http.Request {
	return (&http.Request{
		Method: method, URL: u, Host: u.Host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(withTrip(ctx, &trip{}))
}

// askToken sends a token request and reads its answer.
func (a *auth) askToken(req *http.Request, need scopes, secrets []string) (*grant, error) {
	asked := a.now()
	var raw []byte
	tripOf(req).read = func(resp *http.Response) (err error) {
		raw, err = readLimited(resp.Body, maxToken)
		return err
	}
	resp, err := a.realm.RoundTrip(req)
	if err != nil {
		return nil, explain(req, err)
	}
	if resp.StatusCode != http.StatusOK {
		refusal := newError(resp, tripOf(req), a.secrets.with(resp.Request.URL))
		refusal.noToken = true
		refusal.Anonymous = resp.StatusCode == http.StatusUnauthorized && req.Header.Get("Authorization") == "" && len(secrets) == 0
		return nil, refusal
	}
	var doc struct {
		Token     string  `json:"token"`
		Access    string  `json:"access_token"` // OAuth2's name for the same
		Refresh   string  `json:"refresh_token"`
		ExpiresIn float64 `json:"expires_in"` // seconds
	}
	if err := json.Unmarshal(raw, &doc); err != nil { // the error could quote a token
		return nil, fmt.Errorf("%w: the answer of %s is no token", store.ErrInvalid, redactURL(req.URL))
	}
	token := first(doc.Token, doc.Access)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fmt.Errorf("%w: the answer of %s holds no token", store.ErrInvalid, redactURL(req.URL))
	}
	if doc.Refresh != "" {
		a.mu.Lock()
		a.refresh = doc.Refresh
		a.mu.Unlock()
	}
	g := &grant{scopes: need, token: token}
	if doc.ExpiresIn > 0 && doc.ExpiresIn < 1e9 {
		g.until = asked.Add(time.Duration(doc.ExpiresIn * float64(time.Second)))
	}
	return g, nil
}

// noTokenClass is the sentinel of other statuses of a token server. What it does
// not find or know is no content of the registry.
func (e *Error) noTokenClass() error {
	switch e.Status / 100 {
	case 4:
		return store.ErrUnauthorized // 400 is how OAuth2 refuses a password (RFC 6749 section 5.2)
	case 5:
		return store.ErrUnavailable
	}
	return store.ErrInvalid
}
