package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tunnel makes a proxy of a handler: CONNECT leads to one address, whatever the
// name is.
func tunnel(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		_, _ = io.WriteString(down, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() { _, _ = io.Copy(up, buf) }()
		_, _ = io.Copy(down, up)
	}
}

// clientCertificate writes a certificate and its key to files.
func (d *desk) clientCertificate() (cert, key string) {
	d.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		d.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.write("client.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		d.write("client.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})))
}

// asking is a server behind TLS that asks for a client certificate, and counts
// the connections on which one came.
func asking(t *testing.T, handler http.HandlerFunc) (host, ca string, given *atomic.Int32) {
	t.Helper()
	given = &atomic.Int32{}
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
		given.Add(int32(len(raw)))
		return nil
	}}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String(), certificateFile(t, s), given
}

// Case 48: client certificate and a redirect or proxy: only the registry's
// origin gets it.
func TestCase48ClientCertificate(t *testing.T) {
	t.Parallel()
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		s := shelved()
		cdn, _, atCDN := asking(t, s.ServeHTTP)
		registry, ca, atRegistry := asking(t, func(w http.ResponseWriter, r *http.Request) {
			if isBlob(r) {
				http.Redirect(w, r, "https://"+cdn+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			s.ServeHTTP(w, r)
		})
		d := newDesk(t)
		cert, key := d.clientCertificate()
		d.stet(quick("pull", "-o", "out", "--ca-file", ca, "--cert-file", cert, "--key-file", key, registry+"/app:v1")...).ok()
		if atRegistry.Load() == 0 || atCDN.Load() != 0 {
			t.Errorf("the registry got it %d times, the redirect's target %d times", atRegistry.Load(), atCDN.Load())
		}
		if d.read("out/data.bin") != content {
			t.Error("other content")
		}
	})
	t.Run("token realm", func(t *testing.T) {
		t.Parallel()
		realm, _, atRealm := asking(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"t"}`) })
		s := shelved()
		registry, ca, _ := asking(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer t" {
				w.Header().Set("Www-Authenticate", `Bearer realm="https://`+realm+`/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			s.ServeHTTP(w, r)
		})
		d := newDesk(t)
		cert, key := d.clientCertificate()
		d.stet(quick("pull", "-o", "out", "--ca-file", ca, "--cert-file", cert, "--key-file", key, registry+"/app:v1")...).ok()
		if atRealm.Load() != 0 {
			t.Error("the token server got the certificate")
		}
	})
	t.Run("proxy", func(t *testing.T) {
		t.Parallel()
		// The certificate of net/http/httptest is for example.com as well.
		registry, ca, atRegistry := asking(t, shelved().ServeHTTP)
		proxy, _, atProxy := asking(t, tunnel(registry))
		d := newDesk(t)
		cert, key := d.clientCertificate()
		d.Env = append(d.Env, "HTTPS_PROXY=https://"+proxy)
		o := d.stet(quick("pull", "-o", "out", "--ca-file", ca, "--cert-file", cert, "--key-file", key, "example.com:8443/app:v1")...)
		if atProxy.Load() != 0 {
			t.Errorf("%s\nthe proxy got the certificate", o)
		}
		if o.Code == 0 && atRegistry.Load() == 0 {
			t.Errorf("%s\nthe registry did not get it", o)
		}
	})
}

// Case 90: proxy in between: 407, CONNECT refused: exit ≠ 0, proxy named, no
// registry credentials to it.
func TestCase90Proxy(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"407":      status(http.StatusProxyAuthRequired, "Proxy-Authenticate", `Basic realm="proxy"`),
		"403":      status(http.StatusForbidden),
		"401":      status(http.StatusUnauthorized, "Www-Authenticate", `Basic realm="registry"`),
		"502":      status(http.StatusBadGateway),
		"302":      status(http.StatusFound, "Location", "http://localhost:1/"),
		"hangs up": drop(true),
		"page":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>sign in to the network</html>") },
		"repeats what it got": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			user, word, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
			fmt.Fprintf(conn, "HTTP/1.1 403 %s %s %s\r\n\r\n", user, word, r.Header.Get("Proxy-Authorization"))
		},
		"page on 403": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, strings.Repeat("<html>", 1<<18))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := newHostile(t, answer)
			d := newDesk(t)
			d.config(`{"auths":{"registry.example":{"auth":"`+strings.TrimPrefix(basicOf, "Basic ")+`"}}}`, 0o600)
			d.Env = append(d.Env, "HTTPS_PROXY=http://proxyuser:proxyword@"+proxy.Host)
			for _, args := range [][]string{{"pull", "registry.example/app:v1"}, {"resolve", "-H", "X-Mine: " + password, "--debug", "registry.example/app:v1"}} {
				// What answers as no TLS server does is taken for one on plain http: 2.
				o := d.stet(quick(args...)...).fails(2, 4, 6, 7, 8).never("proxyword", "cHJveHl1c2VyOnByb3h5d29yZA==", password, basicOf)
				if name != "page" {
					o.says(proxy.Host) // its 200 opens a tunnel, and what fails is TLS
				}
				if len(o.Stderr) > 8<<10 {
					t.Errorf("%d bytes on stderr", len(o.Stderr))
				}
			}
			for _, r := range proxy.heard("", "") {
				if r.Header.Get("Authorization") != "" || r.Header.Get("X-Mine") != "" || strings.Contains(r.String(), password) {
					t.Errorf("%s had %v", r, r.Header)
				}
			}
			proxy.atMost(8)
		})
	}
	// A request on plain http is sent to the proxy as it is, and so is what it answers.
	t.Run("407 to plain http", func(t *testing.T) {
		t.Parallel()
		proxy := newHostile(t, status(http.StatusProxyAuthRequired, "Proxy-Authenticate", `Basic realm="proxy"`))
		d := newDesk(t)
		d.Env = append(d.Env, "HTTP_PROXY=http://proxyuser:proxyword@"+proxy.Host)
		for _, args := range [][]string{{"pull", "--plain-http", "registry.example/app:v1"}, {"probe", "--plain-http", "registry.example/app"}} {
			d.stet(quick(args...)...).fails(8).says("proxy "+proxy.Host+" answers 407", "do:  write user and password of the proxy into HTTP_PROXY").never("proxyword")
		}
		proxy.atMost(2)
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		d := newDesk(t)
		d.Env = append(d.Env, "HTTPS_PROXY=http://"+l.Addr().String())
		d.stet(quick("resolve", "registry.example/app:v1")...).fails(8).says(l.Addr().String())
	})
	// A loopback registry needs none.
	t.Run("not for localhost", func(t *testing.T) {
		t.Parallel()
		proxy := newHostile(t, status(407))
		h := newHostile(t, shelved().ServeHTTP)
		d := newDesk(t)
		d.Env = append(d.Env, "HTTPS_PROXY="+proxy.URL, "HTTP_PROXY="+proxy.URL)
		d.stet(quick("pull", h.Name()+"/app:v1")...).ok()
		proxy.atMost(0)
	})
}
