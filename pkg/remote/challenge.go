package remote

import (
	"slices"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
)

// challenge is one way in which a server asks for credentials (RFC 9110
// section 11.6.1).
type challenge struct {
	scheme string            // in lower case
	params map[string]string // by name in lower case
}

// parseChallenges reads the values of WWW-Authenticate. One value can hold
// several challenges, and both challenges and parameters are separated by
// commas: a word followed by "=" is a parameter, any other begins a challenge.
// What does not follow the grammar ends its value.
func parseChallenges(values []string) []challenge {
	var all []challenge
	for _, s := range values {
		for s = skip(s); s != ""; s = skip(s) {
			word, rest := cutToken(s)
			if word == "" {
				break
			}
			if value, after, ok := cutValue(rest); ok && len(all) > 0 {
				all[len(all)-1].params[strings.ToLower(word)] = value
				s = after
				continue
			}
			all = append(all, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			s = cutToken68(rest)
		}
	}
	return all
}

// skip passes over what may stand between two elements of a list.
func skip(s string) string { return strings.TrimLeft(s, ", \t") }

func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue reads `=value` or `="value"`, with spaces allowed before both.
func cutValue(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", s, false
	}
	s = strings.TrimLeft(s, " \t")
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	// Not only a token: there are servers that send URLs without quotes.
	end := strings.IndexAny(s, ", \t")
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:], true
}

// cutQuoted reads a quoted string (RFC 9110 section 5.6.4).
func cutQuoted(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// cutToken68 passes over the single value that some schemes have instead of
// parameters, as in "Negotiate YII…==".
func cutToken68(s string) string {
	word := strings.TrimLeft(s, " \t")
	rest := strings.TrimLeft(word, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~+/")
	after := strings.TrimLeft(strings.TrimLeft(rest, "="), " \t")
	// "name=" before a comma is such a value, before anything else a parameter.
	if rest != word && (after == "" || after[0] == ',') {
		return after
	}
	return s
}

// scopes is what a token is for: actions by "type:name" (distribution token
// specification, "Requesting a Token").
type scopes map[string][]string

func newScopes(list ...wire.Scope) scopes {
	s := scopes{}
	for _, scope := range list {
		if scope.Type != "" {
			s.add(scope.Type+":"+scope.Name, scope.Actions)
		}
	}
	return s
}

// maxScope bounds a challenge's scope: it goes into the URL of the token server.
const maxScope = 8 << 10

// parseScopes reads a challenge's scope parameter: resource scopes separated
// by spaces. A name may hold colons.
func parseScopes(param string) scopes {
	s := scopes{}
	if len(param) > maxScope {
		return s // what is needed is asked for anyway
	}
	for part := range strings.FieldsSeq(param) {
		if i := strings.LastIndexByte(part, ':'); i > 0 && strings.Contains(part[:i], ":") {
			s.add(part[:i], strings.Split(part[i+1:], ","))
		}
	}
	return s
}

func (s scopes) add(resource string, actions []string) {
	for _, a := range actions {
		if a != "" && !slices.Contains(s[resource], a) {
			s[resource] = append(s[resource], a)
		}
	}
}

// with is the union of both.
func (s scopes) with(other scopes) scopes {
	union := scopes{}
	for _, from := range []scopes{s, other} {
		for resource, actions := range from {
			union.add(resource, actions)
		}
	}
	return union
}

// cover says whether s allows all that need asks for.
func (s scopes) cover(need scopes) bool {
	for resource, actions := range need {
		for _, a := range actions {
			if !slices.Contains(s[resource], a) && !slices.Contains(s[resource], "*") {
				return false
			}
		}
	}
	return true
}

// strings lists the scopes as they are asked for, in one order for one set.
func (s scopes) strings() []string {
	rank := func(a string) int { return slices.Index([]string{"pull", "push", "delete"}, a) }
	var out []string
	for resource, actions := range s {
		actions = slices.Clone(actions)
		slices.SortFunc(actions, func(a, b string) int {
			if ra, rb := rank(a), rank(b); ra != rb && ra >= 0 && rb >= 0 {
				return ra - rb
			}
			return strings.Compare(a, b)
		})
		out = append(out, resource+":"+strings.Join(actions, ","))
	}
	slices.Sort(out)
	return out
}
