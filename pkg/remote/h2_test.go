package remote

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stet-oci/stet/internal/wire"
)

// Where HTTP/2 is offered, all goroutines share one connection, and bodies that
// are larger than its windows pass in both directions.
func TestOneConnectionForAll(t *testing.T) {
	t.Parallel()
	const size = 6 << 20
	var conns atomic.Int32
	s := &heard{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		_, _ = io.Copy(w, r.Body) // as it comes: both directions at once
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c, _ := clientOf(t, s, Options{})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			want := "small"
			if i%3 == 0 {
				want = strings.Repeat(string(rune('a'+i)), size)
			}
			resp, err := c.do(t.Context(), put("a", want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
				t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(want))
			}
		})
	}
	wg.Wait()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	for _, r := range s.all() {
		if r.ProtoMajor != 2 {
			t.Errorf("%s came by %s", r.URL.Path, r.Proto)
		}
	}
}

// frame is a frame of HTTP/2 (RFC 9113 section 4.1).
func frame(kind byte, stream uint32, payload ...uint32) []byte {
	b := []byte{0, 0, byte(4 * len(payload)), kind, 0}
	b = binary.BigEndian.AppendUint32(b, stream)
	for _, p := range payload {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	return b
}

// The frames and error codes of HTTP/2 that end a stream or a connection.
const (
	frameHeaders, frameReset, frameSettings, frameGoAway = 1, 3, 4, 7
	codeNone, codeInternal, codeRefused, codeCalm        = 0, 2, 7, 11
)

// brokenHTTP2 reads the beginning of a connection up to its first request, and
// answers that with frames.
func brokenHTTP2(conn *tls.Conn, frames []byte) {
	defer conn.Close()
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	_, _ = conn.Write(frame(frameSettings, 0))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, size); err != nil {
			return
		}
		if head[3] == frameHeaders {
			break
		}
	}
	_, _ = conn.Write(frames)
	_ = conn.CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

// A connection that is given up and a stream that is reset are tried again,
// with the whole body; where all of them are, it is an error of its class.
func TestBrokenHTTP2IsTriedAgain(t *testing.T) {
	for name, frames := range map[string][]byte{
		"closed":                  nil,
		"GOAWAY, nothing done":    frame(frameGoAway, 0, 0, codeNone),
		"GOAWAY, in the middle":   frame(frameGoAway, 0, 1, codeNone),
		"GOAWAY, an error":        frame(frameGoAway, 0, 1, codeInternal),
		"GOAWAY, calm down":       frame(frameGoAway, 0, 0, codeCalm),
		"stream refused":          frame(frameReset, 1, codeRefused),
		"stream broken":           frame(frameReset, 1, codeInternal),
		"stream to be done again": bytes.Join([][]byte{frame(frameReset, 1, codeRefused), frame(frameGoAway, 0, 0, codeNone)}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var broken atomic.Int32
			s := &heard{}
			s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			}))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
				"h2": func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
					broken.Add(1)
					brokenHTTP2(conn, frames)
				},
			}
			// The first two connections speak HTTP/2, the others HTTP/1.
			var conns atomic.Int32
			s.TLS = &tls.Config{}
			s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				conf := s.TLS.Clone()
				conf.GetConfigForClient = nil
				conf.NextProtos = []string{"http/1.1"}
				if conns.Add(1) <= 2 {
					conf.NextProtos = []string{"h2"}
				}
				return conf, nil
			}
			s.StartTLS()
			t.Cleanup(s.Close)
			c, _ := clientOf(t, s, Options{})
			body := strings.Repeat("hello", 100_000)
			if got := must(t, c, put("a", body)); got != body {
				t.Errorf("%d bytes came, want %d", len(got), len(body))
			}
			if broken.Load() != 2 {
				t.Errorf("%d connections broke, want 2", broken.Load())
			}
			must(t, c, call{Request: wire.Request{Kind: wire.Ping}})
		})
	}
}
