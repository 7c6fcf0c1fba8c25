package remote

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/internal/wire"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for name, c := range map[string]struct {
		in   []string
		want []challenge
	}{
		"basic":         {[]string{`Basic realm="x"`}, []challenge{{"basic", params{"realm": "x"}}}},
		"bare":          {[]string{`Basic`}, []challenge{{"basic", params{}}}},
		"bearer":        {[]string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`}, []challenge{{"bearer", params{"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"}}}},
		"any case":      {[]string{`BEARER Realm="x"`}, []challenge{{"bearer", params{"realm": "x"}}}},
		"spaces":        {[]string{`Bearer  realm = "x" ,  service = s `}, []challenge{{"bearer", params{"realm": "x", "service": "s"}}}},
		"quoted pair":   {[]string{`Basic realm="a \"b\" \\c, d"`}, []challenge{{"basic", params{"realm": `a "b" \c, d`}}}},
		"URL unquoted":  {[]string{`Bearer realm=https://a/t?x=y,service=s`}, []challenge{{"bearer", params{"realm": "https://a/t?x=y", "service": "s"}}}},
		"several":       {[]string{`Negotiate, Basic realm="x", Bearer realm="y",service="z"`}, []challenge{{"negotiate", params{}}, {"basic", params{"realm": "x"}}, {"bearer", params{"realm": "y", "service": "z"}}}},
		"several lines": {[]string{`Bearer realm="y"`, `Basic realm="x"`}, []challenge{{"bearer", params{"realm": "y"}}, {"basic", params{"realm": "x"}}}},
		"token68":       {[]string{`Negotiate YII/abc==, Basic realm="x"`}, []challenge{{"negotiate", params{}}, {"basic", params{"realm": "x"}}}},
		"empty items":   {[]string{`,, Basic realm="x",,`}, []challenge{{"basic", params{"realm": "x"}}}},
		"open quote":    {[]string{`Basic realm="x`}, []challenge{{"basic", params{}}, {"realm", params{}}}},
		"garbage":       {[]string{`"`, "\x00", "="}, nil},
		"nothing":       {nil, nil},
	} {
		if diff := cmp.Diff(c.want, parseChallenges(c.in), cmp.AllowUnexported(challenge{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Whatever a server sends: it ends, schemes are tokens in lower case, and what
// was read can be written and read again.
func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{`Bearer realm="a",service=b, Basic`, `Negotiate a==, x y`, `Basic realm="\`, `a b=c d=e`, `a =`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges([]string{s}) {
			if word, rest := cutToken(c.scheme); word == "" || rest != "" {
				t.Fatalf("%q: scheme %q", s, c.scheme)
			}
			for k, v := range c.params {
				again := parseChallenges([]string{c.scheme + " " + k + "=" + quoted(v)})
				if len(again) != 1 || again[0].params[k] != v {
					t.Fatalf("%q: %s=%q reads as %v", s, k, v, again)
				}
			}
		}
	})
}

func quoted(s string) string {
	out := `"`
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			out += `\`
		}
		out += s[i : i+1]
	}
	return out + `"`
}

func TestScopes(t *testing.T) {
	push := newScopes(wire.Request{Kind: wire.ManifestPut, Repo: "a"}.Scope())
	pull := newScopes(wire.Request{Kind: wire.ManifestGet, Repo: "a"}.Scope())
	catalog := newScopes(wire.Request{Kind: wire.Catalog}.Scope())
	for name, c := range map[string]struct {
		s    scopes
		want []string
	}{
		"ping":    {newScopes(wire.Request{Kind: wire.Ping}.Scope()), nil},
		"push":    {push, []string{"repository:a:pull,push"}},
		"union":   {parseScopes("repository:a:push repository:a:pull,x").with(newScopes(wire.Scope{Type: "repository", Name: "a", Actions: []string{"delete"}})), []string{"repository:a:pull,push,delete,x"}},
		"colons":  {parseScopes("repository:h:5000/a:pull"), []string{"repository:h:5000/a:pull"}},
		"catalog": {catalog, []string{"registry:catalog:*"}},
		"garbage": {parseScopes("x a:b ::: "), []string{"::"}},
	} {
		if name == "garbage" {
			delete(c.s, ":") // ":::" names nothing
			c.want = nil
		}
		if diff := cmp.Diff(c.want, c.s.strings()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !push.cover(pull) || pull.cover(push) || !push.cover(scopes{}) || (scopes{}).cover(pull) {
		t.Error("cover")
	}
}
