package remote

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// nextLink gives the target of the link with rel=next in a Link header (RFC
// 8288). It also takes what registries write beside the grammar: targets
// without <>, rel without quotes.
func nextLink(values []string) (string, bool) {
	for _, rest := range values {
		for rest != "" {
			var l link
			l, rest = cutLink(rest)
			if l.next && l.target != "" {
				return l.target, true
			}
		}
	}
	return "", false
}

type link struct {
	target string
	next   bool
}

// cutLink reads the first link-value of s, up to its comma.
func cutLink(s string) (l link, rest string) {
	s = strings.TrimLeft(s, " \t,")
	if bracketed, ok := strings.CutPrefix(s, "<"); ok {
		l.target, s, ok = strings.Cut(bracketed, ">")
		if !ok {
			return link{}, ""
		}
	} else {
		// Without <> a comma or semicolon may not be in the target.
		i := strings.IndexAny(s, ";,")
		if i < 0 {
			i = len(s)
		}
		l.target, s = s[:i], s[i:]
	}
	l.target = strings.TrimSpace(l.target)
	for {
		s = strings.TrimLeft(s, " \t")
		param, ok := strings.CutPrefix(s, ";")
		if !ok {
			break
		}
		var name, value string
		name, value, s = cutParam(param)
		if strings.EqualFold(name, "rel") {
			l.next = l.next || hasWord(value, "next")
		}
	}
	// What is left before the comma follows no grammar; it is passed over.
	_, rest, _ = strings.Cut(s, ",")
	return l, rest
}

// cutParam reads name=value or name="value"; s goes on at the next ";" or ",".
func cutParam(s string) (name, value, rest string) {
	i := strings.IndexAny(s, "=;,")
	if i < 0 {
		return strings.TrimSpace(s), "", ""
	}
	name = strings.TrimSpace(s[:i])
	if s[i] != '=' {
		return name, "", s[i:]
	}
	s = strings.TrimLeft(s[i+1:], " \t")
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		value, rest, _ = strings.Cut(quoted, `"`)
		return name, value, rest
	}
	if i = strings.IndexAny(s, ";,"); i < 0 {
		i = len(s)
	}
	return name, strings.TrimSpace(s[:i]), s[i:]
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// nextPage gives the URL of the next page, nil at the last. It must be on the
// registry's own host, because a list that leads elsewhere would make the
// client ask any address for the registry. The scheme is always the
// registry's own: behind a proxy that ends TLS some write http.
func (c *client) nextPage(resp *http.Response) (*url.URL, error) {
	target, ok := nextLink(resp.Header.Values("Link"))
	if !ok {
		return nil, nil
	}
	u, err := resp.Request.URL.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%w: the list goes on at %q, which is no URL", store.ErrInvalid, target)
	}
	if !strings.EqualFold(u.Host, c.base.Host) || u.Opaque != "" {
		host := "REDACTED" // also where only a part of what was sent would be the host
		if shown, err := url.Parse(without(c.secrets.list(), target)); err == nil {
			host = shown.Host
		}
		return nil, fmt.Errorf("%w: the list goes on at another host, %q; it is not followed there", store.ErrInvalid, host)
	}
	u.Scheme, u.User = c.base.Scheme, nil
	return u, nil
}
