package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
)

// authorize says whether the request is allowed. Without Basic and Bearer
// everything is.
func (s *Server) authorize(r *http.Request, req wire.Request) error {
	switch {
	case s.tokens != nil:
		return s.tokens.authorize(r, req)
	case s.opts.Basic != nil:
		return s.authorizeBasic(r, req.Scope())
	}
	return nil
}

func (s *Server) authorizeBasic(r *http.Request, need wire.Scope) error {
	user, password, ok := r.BasicAuth()
	if !ok || !samePassword(s.opts.Basic, user, password) {
		return unauthorized(`Basic realm="stet", charset="UTF-8"`)
	}
	for _, action := range need.Actions {
		if !s.opts.Allow(user, repositoryOf(need), action) {
			return denied(fmt.Sprintf("%s may not %s %s", user, action, need.Name))
		}
	}
	return nil
}

// mayRead says whether the request's credentials allow to pull from another
// repository, which a mount does.
func (s *Server) mayRead(r *http.Request, repo string) bool {
	return s.authorize(r, wire.Request{Kind: wire.BlobGet, Repo: repo}) == nil
}

// repositoryOf is a scope's repository; the catalog has none.
func repositoryOf(sc wire.Scope) string {
	if sc.Type == "repository" {
		return sc.Name
	}
	return ""
}

// samePassword compares in a time that tells neither how much of the password
// is right nor whether the user exists.
func samePassword(users map[string]string, user, password string) bool {
	want, known := users[user]
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && known
}

func unauthorized(challenge string) error {
	return &apiError{
		status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "authentication required",
		header: http.Header{"Www-Authenticate": {challenge}},
	}
}

func denied(message string) error {
	return &apiError{status: http.StatusForbidden, code: "DENIED", message: message}
}

// scopeText is a scope as it stands in a challenge.
func scopeText(sc wire.Scope) string {
	return sc.Type + ":" + sc.Name + ":" + strings.Join(sc.Actions, ",")
}

// parseScopes reads scopes as a client asks for them: several parameters, or
// several in one, apart by spaces. What is no scope is skipped: it grants nothing.
func parseScopes(params []string) []wire.Scope {
	var all []wire.Scope
	for _, text := range strings.Fields(strings.Join(params, " ")) {
		kind, rest, ok1 := strings.Cut(text, ":")
		i := strings.LastIndex(rest, ":")
		if !ok1 || i < 0 {
			continue
		}
		all = append(all, wire.Scope{Type: kind, Name: rest[:i], Actions: strings.Split(rest[i+1:], ",")})
	}
	return all
}

// covers says whether what was granted is enough.
func covers(granted []wire.Scope, need wire.Scope) bool {
	for _, action := range need.Actions {
		if !slices.ContainsFunc(granted, func(g wire.Scope) bool {
			return g.Type == need.Type && g.Name == need.Name && (slices.Contains(g.Actions, action) || slices.Contains(g.Actions, "*"))
		}) {
			return false
		}
	}
	return true
}
