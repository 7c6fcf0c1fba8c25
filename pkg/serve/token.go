package serve

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/wire"
)

// tokenPath is where the token service answers, beside the registry.
const tokenPath = "/token"

// Bearer is a token service on the server itself, at /token: by GET with Basic
// credentials, and by OAuth2 POST with password or refresh token (Docker
// Registry "Token Authentication"). A token holds the scopes that were asked
// for and allowed, for each repository on its own.
type Bearer struct {
	Users     map[string]string // passwords by user name
	Anonymous bool              // whoever is not signed in may pull
	GetOnly   bool              // 405 on POST, as many token services answer
	// Expiry is how long a token is good; 0 is DefaultTokenExpiry.
	Expiry time.Duration
}

type tokens struct {
	Bearer
	allow func(user, repository, action string) bool
	now   func() time.Time
	key   []byte // signs tokens; they are good for the life of the server
}

// claims are what a token says.
type claims struct {
	Refresh bool         `json:"refresh,omitempty"`
	User    string       `json:"user"`
	Expires time.Time    `json:"expires"`
	Access  []wire.Scope `json:"access"`
}

func newTokens(o Options) *tokens {
	t := &tokens{Bearer: *o.Bearer, allow: o.Allow, now: o.Now, key: []byte(rand.Text())}
	if t.Expiry == 0 {
		t.Expiry = DefaultTokenExpiry
	}
	return t
}

// authorize says whether the request has a token that is enough for it.
func (t *tokens) authorize(r *http.Request, req wire.Request) error {
	need := req.Scope()
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return unauthorized(t.challenge(r, req, ""))
	}
	c, ok := t.open(text)
	if !ok || c.Refresh {
		return unauthorized(t.challenge(r, req, "invalid_token"))
	}
	if !covers(c.Access, need) {
		return unauthorized(t.challenge(r, req, "insufficient_scope"))
	}
	return nil
}

// challenge names what a token for the request has to hold.
func (t *tokens) challenge(r *http.Request, req wire.Request, why string) string {
	text := fmt.Sprintf(`Bearer realm="%s",service="%s"`, origin(r)+tokenPath, r.Host)
	var scopes []string
	for _, sc := range []wire.Scope{req.Scope(), req.MountScope()} {
		// A name outside the grammar could end the quotes.
		if sc.Type != "" && (sc.Type != "repository" || isRepository(sc.Name)) {
			scopes = append(scopes, scopeText(sc))
		}
	}
	if len(scopes) > 0 {
		text += fmt.Sprintf(`,scope="%s"`, strings.Join(scopes, " "))
	}
	if why != "" {
		text += fmt.Sprintf(`,error="%s"`, why)
	}
	return text
}

// seal makes a token: claims and their MAC.
func (t *tokens) seal(c claims) (string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString(raw) + "." + enc.EncodeToString(t.mac(raw)), nil
}

// open reads a token that is ours and has not expired.
func (t *tokens) open(text string) (c claims, ok bool) {
	payload, sum, _ := strings.Cut(text, ".")
	raw, err1 := base64.RawURLEncoding.DecodeString(payload)
	mac, err2 := base64.RawURLEncoding.DecodeString(sum)
	if err1 != nil || err2 != nil || !hmac.Equal(mac, t.mac(raw)) {
		return claims{}, false
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return claims{}, false
	}
	return c, c.Refresh || t.now().Before(c.Expires)
}

func (t *tokens) mac(raw []byte) []byte {
	h := hmac.New(sha256.New, t.key)
	h.Write(raw)
	return h.Sum(nil)
}

// serve answers a request for a token.
func (t *tokens) serve(w http.ResponseWriter, r *http.Request) error {
	var q url.Values
	var user string
	var ok, offline bool
	switch r.Method {
	case http.MethodGet:
		q = r.URL.Query()
		user, ok = t.signIn(r)
		offline = q.Get("offline_token") == "true"
	case http.MethodPost:
		if t.GetOnly {
			return &apiError{status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", message: "tokens are given by GET"}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return &apiError{status: http.StatusBadRequest, code: "UNSUPPORTED", message: err.Error()}
		}
		q = r.PostForm
		user, ok = t.grant(q)
		offline = user != "" && (q.Get("access_type") == "offline" || q.Get("grant_type") == "refresh_token")
	default:
		return &apiError{status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", message: "not a method of this endpoint"}
	}
	if !ok {
		return &apiError{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "wrong user name or password"}
	}
	return t.answer(w, user, offline && user != "", t.allowed(user, parseScopes(q["scope"])))
}

// signIn is who asks by GET; "" is nobody, where that is allowed.
func (t *tokens) signIn(r *http.Request) (user string, ok bool) {
	user, password, given := r.BasicAuth()
	if !given {
		return "", t.Anonymous
	}
	return user, samePassword(t.Users, user, password)
}

// grant is who asks by POST (OAuth 2, RFC 6749 §4.3 and §6).
func (t *tokens) grant(form url.Values) (user string, ok bool) {
	switch form.Get("grant_type") {
	case "password":
		user = form.Get("username")
		return user, samePassword(t.Users, user, form.Get("password"))
	case "refresh_token":
		c, ok := t.open(form.Get("refresh_token"))
		return c.User, ok && c.Refresh
	}
	return "", false
}

// allowed is the part of the scopes that the user may have.
func (t *tokens) allowed(user string, asked []wire.Scope) []wire.Scope {
	granted := []wire.Scope{}
	for _, sc := range asked {
		may := wire.Scope{Type: sc.Type, Name: sc.Name}
		for _, action := range sc.Actions {
			if user == "" && (sc.Type != "repository" || action != "pull") {
				continue // who is not signed in pulls, and nothing else
			}
			if t.allow(user, repositoryOf(sc), action) {
				may.Actions = append(may.Actions, action)
			}
		}
		if len(may.Actions) > 0 {
			granted = append(granted, may)
		}
	}
	return granted
}

func (t *tokens) answer(w http.ResponseWriter, user string, offline bool, granted []wire.Scope) error {
	now := t.now().UTC()
	token, err := t.seal(claims{User: user, Expires: now.Add(t.Expiry), Access: granted})
	if err != nil {
		return err
	}
	reply := struct {
		Token     string    `json:"token"`
		Access    string    `json:"access_token"`
		ExpiresIn int       `json:"expires_in"`
		IssuedAt  time.Time `json:"issued_at"`
		Refresh   string    `json:"refresh_token,omitempty"`
		Scope     string    `json:"scope,omitempty"`
	}{Token: token, Access: token, ExpiresIn: int(t.Expiry / time.Second), IssuedAt: now}
	for i, sc := range granted {
		if i > 0 {
			reply.Scope += " "
		}
		reply.Scope += scopeText(sc)
	}
	if offline {
		if reply.Refresh, err = t.seal(claims{User: user, Refresh: true}); err != nil {
			return err
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, "application/json", reply)
}
