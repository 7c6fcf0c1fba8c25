package remote

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// signature is what a redirect or an upload's Location is signed with.
const signature = "a1B2c3/D4e5+F6g7=h8"

// leading is a client of a registry that leads on to target, signed, and what it tells.
func leading(t *testing.T, target string) (*client, *lines, *[]store.Event) {
	t.Helper()
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target+"/x?sig="+url.QueryEscape(signature), http.StatusTemporaryRedirect)
	})
	var log lines
	var events []store.Event
	c, _ := clientOf(t, s, Options{Trace: &log, Retries: 1, Events: func(e store.Event) { events = append(events, e) }})
	return c, &log, &events
}

// showsSignature says whether s shows the signature, in any of its spellings.
func showsSignature(s string) bool {
	for _, form := range forms(signature) {
		if strings.Contains(s, form) {
			return true
		}
	}
	return strings.Contains(s, "a1B2c3")
}

// Who was asked with a signed URL and repeats the signature, in an error, a header or
// what is no HTTP, puts it nowhere where it is shown.
func TestWhatALeadRepeatsIsNotShown(t *testing.T) {
	t.Parallel()
	raw := func(answer func(sig string) string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 4096)
				n, _ := conn.Read(buf)
				_, sig, _ := strings.Cut(string(buf[:n]), "sig=")
				sig, _, _ = strings.Cut(sig, " ")
				_, _ = io.WriteString(conn, answer(sig))
				conn.Close()
			}
		}()
		return "http://" + l.Addr().String()
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, target := range map[string]string{
		"nobody there": closed.URL,
		"no HTTP":      raw(func(sig string) string { return sig + " is what you said\r\n\r\n" }),
		"no header":    raw(func(sig string) string { return "HTTP/1.1 200 OK\r\n" + sig + "\r\n\r\n" }),
		"no status":    raw(func(sig string) string { plain, _ := url.QueryUnescape(sig); return "HTTP/1.1 " + plain + "\r\n\r\n" }),
		"an error": hear(t, false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Warning", `299 - "`+r.FormValue("sig")+`"`)
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(map[string]any{"message": r.FormValue("sig"), "details": r.URL.String()})
		}).URL,
	} {
		c, log, events := leading(t, target)
		err := fails(t, c, get("a"))
		asked := probing(t, c)
		for where, text := range map[string]string{"error": err.Error(), "log": log.String(), "events": fmt.Sprint(*events), "probe": asked} {
			if showsSignature(text) {
				t.Errorf("%s: the %s shows it: %s", name, where, text)
			}
		}
	}
}

// probing is what a probe would show of one answer.
func probing(t *testing.T, c *client) string {
	t.Helper()
	got, err := c.ask(t.Context(), call{Request: wire.Request{Kind: wire.ManifestGet, Repo: "a", Ref: "v1"}}, 100)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(got.evidence("Warning", ""))
}

// A connection that ends in the midst of a body may have last words of its own.
func TestWhatBreaksABodyIsNotShown(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "https", Host: "h", RawQuery: "sig=" + url.QueryEscape(signature)}
	s := newSecrets(http.Header{"X-Key": {"my-api-key"}})
	next := tripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(dying{fmt.Errorf("GOAWAY, debug=%q", "my-api-key "+signature)})}, nil
	})
	l := &limit{next: next, stall: -1, commit: -1, secrets: s}
	resp, err := l.RoundTrip((&http.Request{Method: "GET", URL: u}).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.ReadAll(resp.Body); err == nil || showsSignature(err.Error()) || strings.Contains(err.Error(), "api-key") {
		t.Errorf("%v", err)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type dying struct{ err error }

func (b dying) Read([]byte) (int, error) { return 0, b.err }

// A probe's report holds no password that headers, errors and hosts repeat, and no
// signature of where the registry leads.
func TestProbeReportHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const password = "Sesame-1234"
	var blob atomic.Value // that one POST stored
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Header.Get("Authorization") == "" {
			h.Set("WWW-Authenticate", `Basic realm="https://h/`+password+`?sig=`+url.QueryEscape(signature)+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		for _, name := range []string{"Warning", "Content-Type", "Range", "Oci-Chunk-Min-Length", "Oci-Tag", "Oci-Subject", "Via"} {
			h.Set(name, "x/"+password)
		}
		h.Set("Link", `</v2/app/tags/list?last=v1&next_page=`+url.QueryEscape(signature)+`>; rel="next"`)
		h.Set("Location", "ftp://h/x?sig="+url.QueryEscape(signature))
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			_, _ = io.WriteString(w, `{"name":"app","tags":["v1"]}`)
		case strings.Contains(r.URL.Path, "/referrers/"):
			_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
		case r.Method == http.MethodPost && r.FormValue("digest") != "":
			blob.Store(r.FormValue("digest"))
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodHead && !strings.HasSuffix(r.URL.Path, fmt.Sprint(blob.Load())):
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, `{"mediaType":"a/b"}`) // which is not its Content-Type
		}
	}))
	t.Cleanup(srv.Close)
	plain := true
	ref := store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "app"}
	opts := Options{PlainHTTP: &plain, Retries: -1, Credentials: Static(Credential{Username: "alice", Password: password})}
	report, err := Probe(t.Context(), ref, opts, ProbeOptions{Write: true})
	if text := fmt.Sprintf("%+v %v", report, err); showsSignature(text) || strings.Contains(strings.ToLower(text), "sesame") || !strings.Contains(text, "REDACTED") {
		t.Error(text)
	}
	if link := report.Support[store.AbilityTagPaging].Evidence.Header; link != `Link: </v2/app/tags/list?last=v1&next_page=REDACTED>; rel="next"` {
		t.Error(link)
	}
	if at := report.Support[store.AbilityChunked].Evidence.Header; at != "Location: ftp://h/x?sig=REDACTED" {
		t.Error(at)
	}
}
