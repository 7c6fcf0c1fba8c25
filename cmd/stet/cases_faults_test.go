package main

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Faults that cases script before a registry.

// first lets fault answer the first n requests that match; all else goes to next.
func first(n int, match func(*http.Request) bool, fault http.HandlerFunc, next http.Handler) http.HandlerFunc {
	var seen atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if match(r) && int(seen.Add(1)) <= n {
			fault(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// always is a number for first that no test reaches.
const always = 1 << 30

// on matches a method and a part of the path.
func on(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.Contains(r.URL.Path, part)
	}
}

// anyRequest matches all.
func anyRequest(*http.Request) bool { return true }

// status answers with a code, and headers given as name and value.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		refuse(w, code, "CASE")
	}
}

// drop ends the connection without an answer: RST, or FIN.
func drop(reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// cut answers with a body of the length of raw that breaks after n bytes.
func cutAt(w http.ResponseWriter, raw string, n int, reset bool) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
		strconv.Itoa(len(raw)) + "\r\n\r\n" + raw[:n])
	_ = buf.Flush()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// stall does nothing until the client is gone. That of a request whose body was
// not read is never known to be gone, so the test's end is one too.
func stall(t *testing.T) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
	}
}

// recorder takes every upload and manifest as it comes, and keeps what it got:
// nothing is refused, so that what the program lets through can be seen.
type recorder struct {
	mu        sync.Mutex
	blobs     map[string]string // content by the digest that it was given
	manifests map[string]string // by tag or digest
	kinds     []string          // media types that were put
	location  func(id string) string
	bodies    map[string]string // of open uploads, by id
	ids       int
	queries   []string // of the PUTs that closed an upload
}

func newRecorder() *recorder {
	return &recorder{
		blobs: map[string]string{}, manifests: map[string]string{}, bodies: map[string]string{},
		location: func(id string) string { return "/v2/app/blobs/uploads/" + id },
	}
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return // what was cut was never received
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ref, _ := strings.Cut(r.URL.Path, "/manifests/")
	_, id, _ := strings.Cut(r.URL.Path, "/blobs/uploads/")
	switch {
	case r.URL.Path == "/v2/":
	case r.Method == http.MethodPost:
		c.ids++
		w.Header().Set("Location", c.location(strconv.Itoa(c.ids)))
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPatch:
		c.bodies[id] += string(raw)
		w.Header().Set("Location", r.URL.RequestURI())
		w.Header().Set("Range", "0-"+strconv.Itoa(len(c.bodies[id])-1))
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && ref != "":
		c.kinds = append(c.kinds, r.Header.Get("Content-Type"))
		c.manifests[ref], c.manifests[digest.FromBytes(raw).String()] = string(raw), string(raw)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(raw).String())
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		c.queries = append(c.queries, r.URL.RawQuery)
		c.blobs[r.URL.Query().Get("digest")] = c.bodies[id] + string(raw)
		w.WriteHeader(http.StatusCreated)
	case reads(r) && c.blobs[strings.TrimPrefix(r.URL.Path, "/v2/app/blobs/")] != "":
		_, _ = io.WriteString(w, c.blobs[strings.TrimPrefix(r.URL.Path, "/v2/app/blobs/")])
	case reads(r) && c.manifests[ref] != "":
		w.Header().Set("Content-Type", imageType)
		_, _ = io.WriteString(w, c.manifests[ref])
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		refuse(w, http.StatusNotFound, "NOT_FOUND")
	}
}

// honest says whether each blob has the content that its digest says.
func (c *recorder) honest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, raw := range c.blobs {
		if digest.FromString(raw).String() != d {
			return false
		}
	}
	return true
}

// has says whether something was put under a tag or digest.
func (c *recorder) has(ref string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.manifests[ref] != ""
}

// certificateFile writes the certificate of a server to a file for --ca-file.
func certificateFile(t *testing.T, s *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
