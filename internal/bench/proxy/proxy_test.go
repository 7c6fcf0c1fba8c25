package proxy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// start puts a proxy in front of a server for the test, and gives its URL.
func start(t *testing.T, opts Options, h http.HandlerFunc) (string, *Proxy, *Log) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	log := &Log{}
	p, err := Start("test", strings.TrimPrefix(server.URL, "http://"), opts, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + p.Addr(), p, log
}

// client has connections of its own, which end with close.
func client() (c *http.Client, close func()) {
	tr := &http.Transport{MaxIdleConnsPerHost: 50, ExpectContinueTimeout: 5 * time.Second}
	return &http.Client{Transport: tr}, tr.CloseIdleConnections
}

func do(t *testing.T, c *http.Client, method, url string, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		return 0, nil, err
	}
	return send(c, req)
}

func send(c *http.Client, req *http.Request) (int, []byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, raw, err
}

// Bodies of every framing pass unchanged, one after the other over one
// connection, and are counted.
func TestBodies(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/flush" { // without a length: chunked
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(raw)
	}
	for _, rate := range []int64{0, 50 << 20} {
		url, p, log := start(t, Options{Rate: rate}, echo)
		c, end := client()
		big := make([]byte, 1<<20)
		_, _ = rand.Read(big)
		for _, body := range [][]byte{nil, []byte("small"), big} {
			for _, path := range []string{"/", "/flush"} {
				for _, expect := range []string{"", "100-continue"} {
					var in io.Reader = bytes.NewReader(body)
					if path == "/flush" {
						in = struct{ io.Reader }{in} // chunked as well
					}
					req, err := http.NewRequestWithContext(t.Context(), "POST", url+path, in)
					if err != nil {
						t.Fatal(err)
					}
					if expect != "" {
						req.Header.Set("Expect", expect)
					}
					status, got, err := send(c, req)
					if err != nil || status != 200 || !bytes.Equal(got, body) {
						t.Fatalf("rate %d: %s of %d bytes, %v: %d, %d bytes, %v", rate, path, len(body), expect, status, len(got), err)
					}
				}
			}
		}
		if status, _, err := do(t, c, "HEAD", url, nil); err != nil || status != 200 {
			t.Errorf("HEAD: %d %v", status, err)
		}
		end()
		if !p.Quiet() {
			t.Fatal("connections stay open")
		}
		rec := log.Take()
		if len(rec.Connections) != 1 || len(rec.Requests) != 13 {
			t.Errorf("%d connections and %d requests, want 1 and 13", len(rec.Connections), len(rec.Requests))
		}
		up, down := rec.Bytes()
		if want := int64(4 << 20); up < want || up > want+8000 || down < want || down > want+8000 {
			t.Errorf("%d bytes up and %d down, want a little more than %d", up, down, want)
		}
	}
}

// An answer that ends with its connection is passed on to its end.
func TestCloseDelimited(t *testing.T) {
	url, p, log := start(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, _ := w.(http.Hijacker).Hijack()
		defer conn.Close()
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")
		_ = buf.Flush()
	})
	c, end := client()
	status, got, err := do(t, c, "GET", url, nil)
	if err != nil || status != 200 || string(got) != "to the end" {
		t.Errorf("%d %q %v", status, got, err)
	}
	end()
	p.Quiet()
	if rec := log.Take(); len(rec.Requests) != 1 || rec.Requests[0].Cut {
		t.Errorf("logged %+v", rec.Requests)
	}
}

// A refusal before the body was read arrives.
func TestEarlyAnswer(t *testing.T) {
	url, _, _ := start(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
	})
	c, end := client()
	defer end()
	status, _, err := do(t, c, "POST", url, bytes.NewReader(make([]byte, 8<<20)))
	if err != nil || status != http.StatusForbidden {
		t.Errorf("%d %v", status, err)
	}
}

// Each request waits for a round trip and each connection for one more; requests
// on different connections wait together.
func TestRoundTrips(t *testing.T) {
	const rtt = 100 * time.Millisecond
	url, p, log := start(t, Options{RTT: rtt}, func(http.ResponseWriter, *http.Request) {})
	c, end := client()
	began := time.Now()
	for range 2 {
		if _, _, err := do(t, c, "GET", url, nil); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 3*rtt {
		t.Errorf("two requests on a new connection took %v", took)
	}
	end()
	p.Quiet()
	if got := log.Take().Trips(); got != 3 {
		t.Errorf("%d round trips in series, want 3", got)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, _, err := do(t, c, "GET", fmt.Sprint(url, "/", i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	end()
	p.Quiet()
	if got := log.Take(); got.Trips() != 2 || len(got.Requests) != 20 {
		t.Errorf("%d round trips of %d requests in parallel, want 2 of 20", got.Trips(), len(got.Requests))
	}
}

// A connection is not faster than its rate.
func TestRate(t *testing.T) {
	body := make([]byte, 1<<20)
	url, _, _ := start(t, Options{Rate: 4 << 20}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	c, end := client()
	defer end()
	began := time.Now()
	if _, got, err := do(t, c, "GET", url, nil); err != nil || len(got) != len(body) {
		t.Fatal(len(got), err)
	}
	if took := time.Since(began); took < 240*time.Millisecond {
		t.Errorf("1 MiB at 4 MiB/s took %v", took)
	}
}
