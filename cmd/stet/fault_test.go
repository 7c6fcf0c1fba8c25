package main

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// fault is a registry that is out of order: a proxy that damages what passes,
// or a server that is no registry at all.
type fault struct {
	kind    string
	file    string // of "touch"
	proxy   *httputil.ReverseProxy
	once    sync.Once
	stalled chan struct{} // closed when a transfer stands still
}

// large is a blob that stands still; smaller ones pass.
const large = 1 << 16

// late is after how much a transfer stands still with stall-late.
const late = 12 << 20

// faults are the ways to be out of order.
var faults = map[string]string{
	"hang-up":       "closes every connection at once",
	"html":          "answers everything with 200 and a page",
	"blob-other":    "a blob has other bytes of the same length",
	"blob-short":    "a blob lacks its last byte",
	"blob-long":     "a blob has a byte more",
	"blob-cut":      "the connection breaks in the middle of a blob; the rest can be had",
	"manifest-flip": "a manifest has another byte",
	"stall":         "a large blob stands still in the middle, in either direction",
	"stall-late":    "a large upload stands still after 12 MiB, once",
	"touch":         "FILE grows by a byte at the first request",
}

// startFault is the command
//
//	fault NAME KIND [UPSTREAM [FILE]]
func startFault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || faults[args[1]] == "" {
		ts.Fatalf("usage: fault NAME KIND [UPSTREAM [FILE]], with a KIND of %v", faults)
	}
	f := &fault{kind: args[1], stalled: make(chan struct{})}
	if len(args) > 2 {
		f.proxy = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[2]})
		f.proxy.ModifyResponse = f.damage
		f.proxy.FlushInterval = -1
		f.proxy.ErrorLog = log.New(io.Discard, "", 0)
		f.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	}
	if len(args) > 3 {
		f.file = ts.MkAbs(args[3])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	r := &registry{stalled: f.stalled}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.note(req.Method, req.RequestURI, 0)
		f.ServeHTTP(w, req)
	})}
	ts.Defer(func() { server.Close() })
	if f.kind == "hang-up" {
		go hangUp(listener)
	} else {
		go server.Serve(listener)
	}
	publish(ts, args[0], listener, r)
}

func hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func (f *fault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case f.kind == "html":
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><title>Welcome</title>")
		return
	case f.kind == "touch":
		f.once.Do(func() { grow(f.file) })
	case f.kind == "stall" && r.ContentLength > large && r.Method != http.MethodGet:
		io.CopyN(io.Discard, r.Body, 1<<10)
		f.stall(r)
		return
	case f.kind == "stall-late" && r.ContentLength > late && r.Method == http.MethodPatch && !f.wasStalled():
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, late), standing{f, r}))
	}
	f.proxy.ServeHTTP(w, r)
}

func grow(file string) {
	out, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		out.WriteString("x")
		out.Close()
	}
}

// stall stands still until the client is gone.
func (f *fault) stall(r *http.Request) {
	f.once.Do(func() { close(f.stalled) })
	<-r.Context().Done()
}

func (f *fault) wasStalled() bool {
	select {
	case <-f.stalled:
		return true
	default:
		return false
	}
}

// damage changes what upstream answered.
func (f *fault) damage(res *http.Response) error {
	what, _, _ := strings.Cut(f.kind, "-")
	blob := strings.Contains(res.Request.URL.Path, "/blobs/sha256:")
	manifest := strings.Contains(res.Request.URL.Path, "/manifests/")
	if res.Request.Method != http.MethodGet || !(blob && (what == "blob" || what == "stall") || manifest && what == "manifest") {
		return nil
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil || len(raw) == 0 {
		return err
	}
	switch f.kind {
	case "blob-other":
		raw[len(raw)-1] ^= 1
	case "manifest-flip":
		raw = bytes.Replace(raw, []byte(`"schemaVersion":2`), []byte(`"schemaVersion":3`), 1)
	case "blob-short":
		raw = raw[:len(raw)-1]
	case "blob-long":
		raw = append(raw, 'x')
	case "blob-cut":
		if res.StatusCode == http.StatusOK {
			res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), broken{}))
			return nil
		}
	case "stall":
		if len(raw) < large {
			break
		}
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), standing{f, res.Request}))
		return nil
	}
	res.Body = io.NopCloser(bytes.NewReader(raw))
	res.ContentLength = int64(len(raw))
	res.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}

// broken ends a body with an error, which breaks the connection.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// standing is a body that does not go on.
type standing struct {
	f *fault
	r *http.Request
}

func (s standing) Read([]byte) (int, error) {
	s.f.stall(s.r)
	return 0, io.ErrUnexpectedEOF
}
