package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// basicRegistry wants user's password, then answers with h.
func basicRegistry(t *testing.T, secure bool, h http.HandlerFunc) *heard {
	t.Helper()
	return hear(t, secure, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
			return
		}
		h(w, r)
	})
}

// What another origin gets to see after a redirect or through a Location:
// nothing that is the registry's, and no answer to its own challenge.
func TestOtherOriginGetsNothing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, asks := range []bool{false, true} {
			t.Run(fmt.Sprintf("secure=%v,asks=%v", secure, asks), func(t *testing.T) {
				t.Parallel()
				var other *heard
				other = hear(t, secure, func(w http.ResponseWriter, r *http.Request) {
					if asks {
						w.Header().Set("WWW-Authenticate", `Bearer realm="`+other.URL+`/token"`)
						w.WriteHeader(401)
						return
					}
					_, _ = io.WriteString(w, r.URL.RawQuery)
				})
				reg := basicRegistry(t, secure, func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, other.URL+"/blob?sig=a%2Fb+c", http.StatusTemporaryRedirect)
				})
				c, _ := clientOf(t, reg, Options{Credentials: Static(user), Header: http.Header{"X-Mine": {"x"}}})
				location, _ := url.Parse(other.URL + "/upload?sig=a%2Fb+c")
				upload := put("a", "hello")
				upload.Location = location
				for _, call := range []call{get("a"), put("a", "hello"), upload} {
					resp, err := c.do(t.Context(), call)
					if (err != nil) != asks {
						t.Fatal(err)
					}
					if err == nil {
						if raw, _ := io.ReadAll(resp.Body); string(raw) != "sig=a%2Fb+c" {
							t.Errorf("query %q", raw)
						}
						resp.Body.Close()
					}
				}
				for _, r := range other.all() {
					if r.Header.Get("Authorization") != "" || r.Header.Get("X-Mine") != "" || r.Header.Get("Cookie") != "" {
						t.Errorf("%s got %v", r.URL, r.Header)
					}
				}
				if n := len(other.all()); n != 3 {
					t.Errorf("%d requests, want 3", n)
				}
				for i, r := range reg.all() {
					if r.Header.Get("X-Mine") != "x" || i > 0 && r.Header.Get("Authorization") == "" {
						t.Errorf("the registry got %v", r.Header)
					}
				}
			})
		}
	}
}

func TestRedirects(t *testing.T) {
	plain := hear(t, false, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		call   call
		to     string
		status int
		want   error
		max    int // requests
	}{
		"own origin":            {get("a"), "/end", 307, nil, 3},
		"own origin, 301":       {get("a"), "/end", 301, nil, 3},
		"body sent again":       {put("a", "hello"), "/end", 308, nil, 3},
		"PUT is not made a GET": {put("a", "hello"), "/end", 302, store.ErrInvalid, 2},
		"to itself":             {get("a"), "", 307, store.ErrInvalid, maxRedirects + 2},
		"to http":               {get("a"), plain.URL, 307, store.ErrInvalid, 2},
		"to a file":             {get("a"), "file:///etc/passwd", 307, store.ErrInvalid, 2},
		"to garbage":            {get("a"), "http://[::1", 307, store.ErrInvalid, 2},
		"with a user":           {get("a"), "https://u:p@127.0.0.1/", 307, store.ErrInvalid, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := basicRegistry(t, true, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/end" {
					_, _ = io.Copy(w, r.Body)
					return
				}
				to := c.to
				if to == "" {
					to = r.URL.String()
				}
				w.Header().Set("Location", to)
				w.WriteHeader(c.status)
			})
			client, _ := clientOf(t, s, Options{Credentials: Static(user)})
			resp, err := client.do(t.Context(), c.call)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err == nil {
				raw, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if c.call.Body != nil && string(raw) != "hello" {
					t.Errorf("sent %q", raw)
				}
			}
			if n := len(s.all()); n > c.max {
				t.Errorf("%d requests, want %d", n, c.max)
			}
		})
	}
	if len(plain.all()) > 0 {
		t.Error("http was asked")
	}
}

func TestResolveLocation(t *testing.T) {
	c := &client{base: &url.URL{Scheme: "https", Host: "reg.example"}}
	resp := &http.Response{Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "reg.example", Path: "/v2/a/blobs/uploads/"}}}
	for loc, want := range map[string]string{
		"/v2/a/blobs/uploads/x?_state=a%2Fb+c=": "https://reg.example/v2/a/blobs/uploads/x?_state=a%2Fb+c=",
		"x":                                     "https://reg.example/v2/a/blobs/uploads/x",
		"https://other.example/u?b=2&a=1":       "https://other.example/u?b=2&a=1",
		"//other.example/u":                     "https://other.example/u",
		"":                                      "",
		"http://reg.example/u":                  "",
		"ftp://reg.example/u":                   "",
		"https://":                              "",
		"https://reg.example/%zz":               "",
		"\x00":                                  "",
	} {
		got, err := c.resolve(loc, resp)
		if want == "" {
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%q: %v, %v; want ErrInvalid", loc, got, err)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", loc, got, err, want)
		}
	}
}

func TestWhereARegistryIs(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		host  string
		plain *bool
		want  string
	}{
		{"reg.example", nil, "https://reg.example"},
		{"localhost:5000", nil, "http://localhost:5000"},
		{"localhost:5000", &no, "https://localhost:5000"},
		{"127.0.0.1:5000", nil, "https://127.0.0.1:5000"},
		{"localhost.example", nil, "https://localhost.example"},
		{"reg.example", &yes, "http://reg.example"},
		{"docker.io", nil, "https://registry-1.docker.io"},
		{"docker.io", &yes, "https://registry-1.docker.io"},
	} {
		got, err := newClient(c.host, Options{PlainHTTP: c.plain})
		if err != nil || got.base.String() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.host, got.base, err, c.want)
		}
	}
}

func TestUnknownCA(t *testing.T) {
	t.Parallel()
	s := hear(t, true, func(http.ResponseWriter, *http.Request) {})
	empty := caFile(t, hear(t, true, func(http.ResponseWriter, *http.Request) {}))
	_ = os.WriteFile(empty, selfSigned(t, "other").cert, 0o600)
	c, waits := clientOf(t, s, Options{CAFile: empty, Credentials: Static(user)})
	err := fails(t, c, get("a"))
	var unknown *tls.CertificateVerificationError
	if !errors.Is(err, store.ErrUnavailable) || !errors.As(err, &unknown) || len(s.all()) != 0 || len(*waits) != 0 {
		t.Errorf("%v after %d requests, %d tries again", err, len(s.all()), len(*waits))
	}
	insecure, _ := clientOf(t, s, Options{CAFile: empty, Insecure: true})
	must(t, insecure, get("a"))
}

func TestHTTPServerForHTTPS(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(http.ResponseWriter, *http.Request) {})
	no := false
	c, err := newClient(s.Listener.Addr().String(), Options{PlainHTTP: &no})
	if err != nil {
		t.Fatal(err)
	}
	if err := fails(t, c, get("a")); !errors.Is(err, http.ErrSchemeMismatch) || !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

type keyPair struct{ cert, key []byte }

// selfSigned is a certificate that may be a client's.
func selfSigned(t *testing.T, name string) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}
}

// asksForCertificate is a TLS server that tells with each answer how many
// client certificates it was shown.
func asksForCertificate(t *testing.T, h http.HandlerFunc) *heard {
	t.Helper()
	s := &heard{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		h(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestClientCertificateIsForTheRegistry(t *testing.T) {
	other := asksForCertificate(t, func(http.ResponseWriter, *http.Request) {})
	reg := asksForCertificate(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	pair := selfSigned(t, "me")
	dir := t.TempDir()
	host := filepath.Join(dir, reg.Listener.Addr().String())
	if err := os.Mkdir(host, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(host, "ca.crt"), readFile(t, caFile(t, reg)))
	writeFile(t, filepath.Join(host, "me.cert"), string(pair.cert))
	writeFile(t, filepath.Join(host, "me.key"), string(pair.key))
	for name, opts := range map[string]Options{
		"files":   {CertFile: filepath.Join(host, "me.cert"), KeyFile: filepath.Join(host, "me.key")},
		"certs.d": {CertDirs: []string{filepath.Join(dir, "none"), dir}},
	} {
		c, _ := clientOf(t, reg, opts)
		must(t, c, get("a"))
		if got := reg.all(); len(got[len(got)-1].TLS.PeerCertificates) != 1 || got[len(got)-1].ProtoMajor != 2 {
			t.Errorf("%s: the registry got no certificate, or no HTTP/2", name)
		}
		if got := other.all(); len(got[len(got)-1].TLS.PeerCertificates) != 0 {
			t.Errorf("%s: another origin got the certificate", name)
		}
	}
}

func TestCertificateOptions(t *testing.T) {
	dir := t.TempDir()
	host := filepath.Join(dir, "reg.example")
	if err := os.Mkdir(host, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(host, "lonely.key"), "")
	other := filepath.Join(dir, "other", "reg.example")
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(other, "lonely.cert"), "")
	writeFile(t, filepath.Join(dir, "empty.pem"), "nothing")
	for name, opts := range map[string]Options{
		"certificate without key": {CertFile: "x"},
		"key without certificate": {KeyFile: "x"},
		"no such CA":              {CAFile: filepath.Join(dir, "none")},
		"CA without certificate":  {CAFile: filepath.Join(dir, "empty.pem")},
		"key in certs.d":          {CertDirs: []string{dir}},
		"certificate in certs.d":  {CertDirs: []string{filepath.Dir(other)}},
	} {
		if _, err := newClient("reg.example", opts); !errors.Is(err, store.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An https proxy sees neither the certificate nor the credentials of the
// registry behind it, and its refusal names it.
func TestProxy(t *testing.T) {
	reg := asksForCertificate(t, func(http.ResponseWriter, *http.Request) {})
	refuse := false
	proxy := asksForCertificate(t, func(w http.ResponseWriter, r *http.Request) {
		if refuse {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnel(w, r.Host)
	})
	pair := selfSigned(t, "me")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "c"), string(pair.cert))
	writeFile(t, filepath.Join(dir, "k"), string(pair.key))
	to, _ := url.Parse(proxy.URL)
	behind := func() (*client, *[]time.Duration) {
		c, waits := clientOf(t, reg, Options{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k"), Credentials: Static(user)})
		for _, tr := range c.transports {
			tr.Proxy = http.ProxyURL(to)
		}
		return c, waits
	}
	c, _ := behind()
	must(t, c, get("a"))
	if n := len(reg.all()[0].TLS.PeerCertificates); n != 1 {
		t.Errorf("the registry got %d certificates", n)
	}
	refuse = true
	c, waits := behind()
	err := fails(t, c, get("a"))
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), to.Host) || len(*waits) > 0 {
		t.Errorf("%v; want the proxy named and no further try", err)
	}
	for _, r := range proxy.all() {
		if len(r.TLS.PeerCertificates) > 0 || r.Header.Get("Authorization") != "" {
			t.Error("the proxy got what is the registry's")
		}
	}
}

// tunnel connects the client to addr.
func tunnel(w http.ResponseWriter, addr string) {
	to, err := net.Dial("tcp", addr)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		to.Close()
		return
	}
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
	from.Close()
}

func TestResolveOption(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	plain := true
	c, err := newClient("reg.example", Options{PlainHTTP: &plain, Resolve: map[string]string{"reg.example:80": s.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if got := must(t, c, get("a")); got != "reg.example" {
		t.Errorf("asked for %q", got)
	}
}

func TestWarningsAreToldOnce(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Warning"] = []string{`299 - "old \"thing\""`, `199 - "not this"`, `299 - "` + strings.Repeat("x", maxWarning) + `"`}
	})
	var told []string
	c, _ := clientOf(t, s, Options{Events: func(e store.Event) { told = append(told, string(e.Kind)+" "+e.Text) }})
	must(t, c, get("a"))
	must(t, c, call{Request: wire.Request{Kind: wire.Ping}})
	if len(told) != 1 || told[0] != `warning old "thing"` {
		t.Errorf("%q", told)
	}
}
