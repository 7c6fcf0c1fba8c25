package remote

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// echoing is a repository of a registry that signs in by Basic, and answers with the
// password.
func echoing(t *testing.T, opts Options, answer func(w http.ResponseWriter, secret string)) store.Store {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, password, _ := r.BasicAuth()
		answer(w, password)
	}))
	t.Cleanup(srv.Close)
	plain := true
	opts.PlainHTTP, opts.Retries = &plain, -1
	st, err := Open(store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "app"}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// No error that is made of a header shows what was sent.
func TestErrorsOfHeadersHoldNoSecret(t *testing.T) {
	for _, password := range []string{"Sesame-1234", `Sesame"\1234`, "Sesame/12 34"} {
		for name, answer := range map[string]struct {
			header, around string
			body           string
		}{
			"bare type":        {"Content-Type", "%s", `{"mediaType":"a/b","tags":1}`},
			"type":             {"Content-Type", "text/x; y=%s", `{"mediaType":"a/b","tags":1}`},
			"link":             {"Link", "<http://h/%s%%zz>; rel=next", `{"tags":["a"]}`},
			"link, other host": {"Link", "<http://%s/v2/>; rel=next", `{"tags":["a"]}`},
		} {
			for _, as := range []func(string) string{strings.Clone, strings.ToLower, strings.ToUpper} {
				st := echoing(t, Options{Credentials: Static(Credential{Username: "alice", Password: password})}, func(w http.ResponseWriter, secret string) {
					w.Header().Set(answer.header, fmt.Sprintf(answer.around, as(secret)))
					_, _ = io.WriteString(w, answer.body)
				})
				_, errs := store.Collect(st.Tags(t.Context(), ""))
				_, err := st.Manifest(t.Context(), "v1")
				for _, err := range []error{errs, err} {
					if err == nil || strings.Contains(strings.ToLower(err.Error()), "sesame") {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		}
	}
}

// The log takes out what is secret before it cuts and quotes.
func TestTraceTakesOutBeforeItCuts(t *testing.T) {
	for name, password := range map[string]string{
		"long":          strings.Repeat("Sesame", 200),
		"quotes":        `open"Ses\ame`,
		"another case":  "SESAME-STREET",
		"not in ASCII":  "Sésame-øpen",
		"over the edge": strings.Repeat("x", 20) + "Sesame",
	} {
		var log lines
		st := echoing(t, Options{Trace: &log, Credentials: Static(Credential{Username: "alice", Password: password})}, func(w http.ResponseWriter, secret string) {
			if name == "another case" {
				secret = strings.ToLower(secret)
			}
			w.Header().Set("Docker-Content-Digest", strings.Repeat(".", 480)+secret)
			w.Header().Set("Oci-Tag", secret+" after")
		})
		_, _ = st.Resolve(t.Context(), "v1")
		got := strings.ToLower(log.String())
		for _, part := range []string{"same", "xxxx", `ses\`, "ame"} {
			if strings.Contains(strings.ReplaceAll(got, "name", ""), part) {
				t.Errorf("%s: %q in\n%s", name, part, log.String())
			}
		}
		if !strings.Contains(got, "redacted after") {
			t.Errorf("%s: what is no secret is not shown in\n%s", name, log.String())
		}
	}
}
