package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// cutBlob is a registry that breaks the first n answers with a blob half-way.
// What it does with a Range, the shelf or then decides.
func cutBlob(n int, reset bool, then http.Handler) http.HandlerFunc {
	return first(n, isBlob, func(w http.ResponseWriter, r *http.Request) {
		cutAt(w, content, len(content)/2, reset)
	}, then)
}

// withoutRange takes the Range away, as a registry does that knows none.
func withoutRange(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	}
}

// Case 54: break in the middle of a blob (RST, FIN, without Range, three times):
// success.
func TestCase54BreakInABlob(t *testing.T) {
	t.Parallel()
	thrice := func(next http.Handler) http.HandlerFunc {
		var n atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) {
			var from int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); isBlob(r) && n.Add(1) <= 3 && (err == nil || from == 0) {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
				if from > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
					w.WriteHeader(http.StatusPartialContent)
				}
				io.WriteString(w, content[from:from+len(content)/4])
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		ranges  bool
	}{
		"RST":                        {cutBlob(1, true, shelved()), true},
		"FIN":                        {cutBlob(1, false, shelved()), true},
		"without Range":              {cutBlob(1, false, withoutRange(shelved())), false},
		"three times":                {thrice(shelved()), true},
		"three times from the start": {cutBlob(3, false, withoutRange(shelved())), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, c.handler)
			d := newDesk(t)
			d.stet(hurried("pull", h.Name()+"/app:v1")...).ok()
			d.whole()
			asked := h.heard("GET", "/v2/app/blobs/")
			if last := asked[len(asked)-1]; c.ranges && !strings.HasPrefix(last.Header.Get("Range"), "bytes=") {
				t.Errorf("started over: %v", asked)
			}
			if c.ranges && h.gave() > int64(len(content))*3/2 {
				t.Errorf("%d bytes for %d", h.gave(), len(content))
			}
		})
	}
	// The same for a copy and for blob fetch.
	h := newHostile(t, cutBlob(1, true, cutBlob(1, true, shelved())))
	d := newDesk(t)
	d.stet(hurried("cp", h.Name()+"/app:v1", "oci:lay:v1")...).ok()
	d.stet("pull", "oci:lay:v1", "-o", "out").ok()
	if d.read("out/data.bin") != content {
		t.Error("the copy is not whole")
	}
}

// Case 55: wrong part for a Range: never wrong bytes with exit 0.
func TestCase55WrongPartForARange(t *testing.T) {
	t.Parallel()
	part := func(contentRange, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", octetsType)
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, body)
		}
	}
	size, half := len(content), len(content)/2
	exact := fmt.Sprintf("bytes %d-%d/%d", half, size-1, size)
	for name, answer := range map[string]http.HandlerFunc{
		"from the start":            part(fmt.Sprintf("bytes 0-%d/%d", size-1, size), content),
		"one byte late":             part(fmt.Sprintf("bytes %d-%d/%d", half+1, size-1, size), content[half+1:]),
		"right header, first half":  part(exact, content[:half]),
		"right header, other bytes": part(exact, flipped(content[half:])),
		"right header, too few":     part(exact, content[half:size-1]),
		"right header, too many":    part(exact, content[half:]+"more"),
		"no header":                 part("", content[half:]),
		"other total":               part(fmt.Sprintf("bytes %d-%d/%d", half, size-1, size+1), content[half:]),
		"huge":                      part("bytes 0-9223372036854775807/9223372036854775808", content),
		"garbage":                   part("bytes half-rest/all", content[half:]),
		"200 with the rest alone":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, content[half:]) },
		"416":                       status(http.StatusRequestedRangeNotSatisfiable, "Content-Range", fmt.Sprintf("bytes */%d", half)),
		"404":                       status(http.StatusNotFound),
		"multipart": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, "--x\r\nContent-Range: "+exact+"\r\n\r\n"+content[half:]+"\r\n--x--\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ranged := func(r *http.Request) bool { return isBlob(r) && r.Header.Get("Range") != "" }
			h := newHostile(t, cutBlob(1, false, first(always, ranged, answer, shelved())))
			d := newDesk(t)
			o := d.stet(hurried("pull", h.Name()+"/app:v1")...)
			if got := d.read("data.bin"); got != "" && got != content || (o.Code == 0) != (got == content) {
				t.Errorf("%s\nleft %d bytes", o, len(got))
			}
			if o.Code != 0 {
				o.fails(5, 6, 7, 8)
			}
			h.atMost(20)
			// What it left is proven by the next pull, which meets an honest registry.
			good := newHostile(t, shelved().ServeHTTP)
			d.stet("pull", good.Name()+"/app:v1").ok()
			d.whole()
		})
	}
}

// Case 58: HEAD 405; no digest header; parameters; chunked: success.
func TestCase58OddButRight(t *testing.T) {
	t.Parallel()
	heads := func(r *http.Request) bool { return r.Method == http.MethodHead }
	changed := func(change func(h http.Header)) http.HandlerFunc {
		s := shelved()
		return func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(&changedAnswer{ResponseWriter: w, change: change}, r)
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"HEAD 405":         first(always, heads, status(http.StatusMethodNotAllowed), shelved()),
		"no digest header": changed(func(h http.Header) { h.Del("Docker-Content-Digest") }),
		"parameters": changed(func(h http.Header) {
			h.Set("Content-Type", strings.Replace(h.Get("Content-Type"), imageType, imageType+`; charset="utf-8"`, 1))
		}),
		"chunked": changed(func(h http.Header) {
			if h.Get("Content-Range") == "" {
				h.Del("Content-Length")
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, handler)
			d := newDesk(t)
			d.stet(quick("resolve", h.Name()+"/app:v1")...).ok().says("sha256:")
			d.stet(quick("pull", h.Name()+"/app:v1")...).ok()
			d.whole()
			d.stet(quick("manifest", "fetch", h.Name()+"/app:v1")...).ok()
			d.stet(quick("cp", h.Name()+"/app:v1", "oci:lay:v1")...).ok()
			d.stet("verify", "oci:lay:v1").ok()
		})
	}
}

// changedAnswer changes the headers of an answer at the last moment.
type changedAnswer struct {
	http.ResponseWriter
	change func(http.Header)
	done   bool
}

func (a *changedAnswer) WriteHeader(code int) {
	if !a.done {
		a.done = true
		a.change(a.Header())
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *changedAnswer) Write(p []byte) (int, error) {
	if !a.done {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	if a.Header().Get("Content-Length") == "" {
		_ = http.NewResponseController(a.ResponseWriter).Flush()
	}
	return n, err
}

func (a *changedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// newHTTP2 is a registry that speaks HTTP/2. Its connections can be broken on
// their own level.
func newHTTP2(t *testing.T, handler http.HandlerFunc) (host, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), certificateFile(t, s)
}

// Case 67: HTTP/2 GOAWAY; stream reset: success.
func TestCase67HTTP2(t *testing.T) {
	t.Parallel()
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		io.WriteString(w, content[:len(content)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // RST_STREAM with INTERNAL_ERROR
	}
	leave := func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close") // GOAWAY after this answer
			next.ServeHTTP(w, r)
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"stream reset before an answer": first(2, isManifest, abort, first(1, isBlob, abort, shelved())),
		"stream reset in a blob":        first(1, isBlob, half, shelved()),
		"GOAWAY after each answer":      leave(shelved()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var old atomic.Int32
			host, ca := newHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					old.Add(1)
				}
				handler(w, r)
			})
			d := newDesk(t)
			d.stet(hurried("pull", "--ca-file", ca, host+"/app:v1")...).ok()
			d.whole()
			if old.Load() > 0 {
				t.Error("not by HTTP/2")
			}
		})
	}
	t.Run("GOAWAY at once", func(t *testing.T) {
		t.Parallel()
		host, ca := goingAway(t, 2, shelved())
		d := newDesk(t)
		d.stet(hurried("pull", "--ca-file", ca, host+"/app:v1")...).ok()
		d.whole()
	})
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		registry := newRegistry(t)
		host, ca := newHTTP2(t, first(1, on("PUT", "/manifests/"), abort, first(2, on("POST", "/uploads/"), abort, leave(registry))))
		d := newDesk(t)
		d.write("data.bin", content)
		d.stet(hurried("push", "--ca-file", ca, host+"/app:v1", "data.bin")...).ok()
		d.stet("pull", "--ca-file", ca, "-o", "out", host+"/app:v1").ok()
	})
}

// goingAway is a registry whose first n connections are HTTP/2, and are answered
// with GOAWAY and an error for all of the connection, whatever is asked. The
// others are HTTP/1: Go's server cannot be told to say no more than that.
func goingAway(t *testing.T, n int32, next http.Handler) (host, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(next)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
			defer conn.Close()
			const calmDown = 0xb
			_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})                                // SETTINGS
			_, _ = conn.Read(make([]byte, 1<<12))                                               // the first of what is asked
			_, _ = conn.Write([]byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, calmDown}) // GOAWAY
			_ = conn.CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		},
	}
	var conns atomic.Int32
	s.TLS = &tls.Config{}
	s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.TLS.Clone()
		c.GetConfigForClient, c.NextProtos = nil, []string{"http/1.1"}
		if conns.Add(1) <= n {
			c.NextProtos = []string{"h2"}
		}
		return c, nil
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), certificateFile(t, s)
}
