package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stet-oci/stet/pkg/store"
)

// Whatever a registry asks for, a wait is never below zero nor beyond what a
// clock can hold, and a date far away or long ago is one too.
func FuzzRetryAfter(f *testing.F) {
	f.Add("7", "", 429)
	f.Add("18446744073709551616", "Thu, 01 Jan 1970 00:00:00 GMT", 503)
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 02 Jan 0001 00:00:00 GMT", 503)
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", 429)
	f.Add("-1", "1", 500)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, after, date string, status int) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}, "Date": {date}}}
		wait := retryAfter(resp, now)
		if wait < 0 || wait > maxRetryAfter {
			t.Fatalf("%q at %q: %v", after, date, wait)
		}
		if wait > 0 && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
			t.Fatalf("a %d waits for %v", status, wait)
		}
	})
}

// Whatever a file of credentials holds: it is ErrConfig, or a login changes its
// own entry and nothing else. What was stored is found again, by its host alone,
// and a logout takes it away without a trace of the secret.
func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"reg.example":{"auth":"eDp5","email":"a"}},"credHelpers":{"a":"b"},"x":[1.50]}`), "reg.example")
	f.Add([]byte(`{"auths":{"https://reg.example/v1/":{"username":"x","password":"y"},"reg.example/a/b":{"identitytoken":"t"}}}`), "reg.example/a")
	f.Add([]byte(`{"auths":null,"Auths":{"a":{}}}`), "index.docker.io")
	f.Add([]byte("\xef\xbb\xbf{}"), "a")
	f.Add([]byte(`{"auths":{"a":{"auth":"="}}} {}`), "a")
	f.Add([]byte(" "), "//")
	f.Add([]byte("{}"), "reg.example/team/v1/v2/")
	f.Add([]byte("{}"), "http://HTTPS://Reg.example")
	f.Fuzz(func(t *testing.T, raw []byte, key string) {
		if key = normalKey(key); !utf8.ValidString(key) {
			return // no reference has such a host
		}
		if _, err := parseConfig(raw, "config.json"); err != nil {
			if !errors.Is(err, store.ErrConfig) {
				t.Fatalf("%v is not ErrConfig", err)
			}
			return
		}
		cred := Credential{Username: "user", Password: "the-new-secret"}
		set, err := changeAuths(raw, func(o object) (object, error) { return o.setEntry(key, cred) })
		if err != nil {
			return // such as an entry that is no object
		}
		if !json.Valid(set) {
			t.Fatalf("%q became %q", raw, set)
		}
		doc, err := parseObject(set)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := parseObject(raw)
		for _, m := range before {
			if !strings.EqualFold(m.key, "auths") && !same(doc.get(m.key), before.get(m.key)) {
				t.Fatalf("%q lost %q: %q", raw, m.key, set)
			}
		}
		cf, err := parseConfig(set, "config.json")
		if err != nil {
			t.Fatalf("%q became unreadable: %v\n%s", raw, err, set)
		}
		host, repo, _ := strings.Cut(key, "/")
		if got := lookUp(cf.AuthConfigs, host, repo); got != cred {
			t.Fatalf("%q: found %+v after the login of %q\n%s", raw, got, key, set)
		}
		gone, err := changeAuths(set, func(o object) (object, error) { return o.withoutEntry(key), nil })
		if err != nil || bytes.Contains(gone, []byte("dXNlcjp0aGUtbmV3LXNlY3JldA")) {
			t.Fatalf("after the logout: %v\n%s", err, gone)
		}
	})
}

// same compares two values without their layout.
func same(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// Whatever the body of a refusal says: each of its errors is one line of valid
// text of bearable length, without what we sent.
func FuzzErrorBody(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"the-secret\n","detail":{"a":[1,null]}}]}`))
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"cut`))
	f.Add([]byte(`{"error":"invalid_grant","error_description":"a\u0000\u202eb","message":7}`))
	f.Add([]byte("<html><title>the-\nsecret</title>"))
	f.Add([]byte("the-the-secretsecret \xff\n"))
	f.Add([]byte(`{"errors":{"code":[]}} {}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "reg.example", Path: "/v2/"}}
		resp := &http.Response{StatusCode: http.StatusForbidden, Request: req, Body: io.NopCloser(bytes.NewReader(body))}
		e := newError(resp, &trip{}, []string{"the-secret"})
		if len(e.Errors) > maxErrors {
			t.Fatalf("%d errors", len(e.Errors))
		}
		for _, info := range e.Errors {
			for _, text := range []string{info.Code, info.Message, info.Detail} {
				switch {
				case !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n"):
					t.Fatalf("%q", text)
				case len(text) > maxErrorText+len("…"):
					t.Fatalf("%d bytes", len(text))
				case strings.Contains(text, "the-secret"):
					t.Fatalf("a secret is in %q", text)
				}
			}
		}
	})
}

// How far an upload is: what is read is a count above one, and is read again.
func FuzzUploadRange(f *testing.F) {
	for _, s := range []string{"0-0", "0-4", "bytes=0-4", "0-9223372036854775807", "0--1", "1-4", "0-4611686018427387903"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseUploadRange(s)
		if !ok {
			return
		}
		if n < 2 {
			t.Fatalf("%q: %d bytes", s, n)
		}
		if again, ok := parseUploadRange(fmt.Sprintf("0-%d", n-1)); !ok || again != n {
			t.Fatalf("%q is %d bytes, and that is read as %d", s, n, again)
		}
	})
}
