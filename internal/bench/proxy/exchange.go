package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// carrier carries the requests of one connection, one after the other.
type carrier struct {
	proxy    *Proxy
	id       int
	up, down *stream
}

// exchange carries one request and its answer, and says whether the connection
// goes on.
func (c *carrier) exchange() bool {
	req, err := c.up.head()
	if err != nil {
		return false
	}
	start := time.Now()
	method, path := req.request()
	entry := Request{Server: c.proxy.name, Conn: c.id, Method: method, Path: path, Start: start}
	c.up.moved, c.down.moved = 0, 0
	sent := make(chan error, 1)
	time.Sleep(c.proxy.opts.RTT)
	if err := c.up.write(req.raw); err != nil {
		return false
	}
	go func() { sent <- c.up.body(req.length()) }()

	last, err := c.answer(method, &entry)
	entry.End = time.Now()
	keep := err == nil && !last.closes() && !req.closes()
	if !keep {
		c.part()
	}
	if e := <-sent; e != nil {
		keep = false
	}
	if !keep {
		_, _ = io.Copy(io.Discard, c.up.src) // until part's deadline
	}
	entry.Cut = err != nil
	entry.Up, entry.Down = c.up.moved, c.down.moved
	c.proxy.log.add(entry)
	return keep
}

// part ends the connection so that an answer arrives although the client may
// still be sending: closing it at once would reset it.
func (c *carrier) part() {
	c.up.dst.Close()
	_ = c.up.src.SetReadDeadline(time.Now().Add(parting))
	if tcp, ok := c.up.src.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// parting is how long a client may go on sending what nobody wants.
const parting = 500 * time.Millisecond

// answer carries the answer to one request: interim ones, then the last. An
// interim answer costs a round trip of its own, because the client waits for it.
func (c *carrier) answer(method string, entry *Request) (head, error) {
	for {
		resp, err := c.down.head()
		if err != nil {
			return resp, err
		}
		entry.Status = resp.status()
		interim := entry.Status >= 100 && entry.Status < 200
		if interim {
			entry.Interim++
			time.Sleep(c.proxy.opts.RTT)
		}
		if err := c.down.write(resp.raw); err != nil {
			return resp, err
		}
		if interim {
			continue
		}
		n := resp.length()
		switch {
		case method == "HEAD", entry.Status == 204, entry.Status == 304:
			n = 0
		case n == 0 && !resp.has("Content-Length"):
			n = toTheEnd
		}
		return resp, c.down.body(n)
	}
}

// head is the first part of a message, up to and with the empty line.
type head struct {
	raw   []byte
	lines []string
}

// maxHead bounds a head; net/http's servers take as much.
const maxHead = 1 << 20

var errHead = errors.New("the head of a message is too long")

// Lengths of bodies that no Content-Length gives.
const (
	chunked  int64 = -1
	toTheEnd int64 = -2
)

func (h head) request() (method, path string) {
	f := strings.Fields(h.lines[0])
	if len(f) < 2 {
		return h.lines[0], ""
	}
	return f[0], f[1]
}

func (h head) status() int {
	f := strings.Fields(h.lines[0])
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

func (h head) get(name string) string {
	for _, line := range h.lines[1:] {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (h head) has(name string) bool { return h.get(name) != "" }

func (h head) closes() bool { return strings.EqualFold(h.get("Connection"), "close") }

// length is that of the body, 0 where the head names none.
func (h head) length() int64 {
	if strings.EqualFold(h.get("Transfer-Encoding"), "chunked") {
		return chunked
	}
	n, _ := strconv.ParseInt(h.get("Content-Length"), 10, 64)
	return n
}

// stream is one direction of a connection.
type stream struct {
	src, dst net.Conn
	in       *bufio.Reader
	moved    int64
	rate     int64
	due      time.Time // when the next byte may go
}

func newStream(src, dst net.Conn, rate int64) *stream {
	return &stream{src: src, dst: dst, in: bufio.NewReaderSize(src, 16<<10), rate: rate}
}

// head reads the head of the next message.
func (s *stream) head() (h head, err error) {
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		if h.raw = append(h.raw, line...); len(h.raw) > maxHead {
			return h, errHead
		}
		text := string(bytes.TrimRight(line, "\r\n"))
		if text == "" {
			if len(h.lines) > 0 {
				return h, nil
			}
			continue // RFC 9112 §2.2: an empty line before a request is no request
		}
		h.lines = append(h.lines, text)
	}
}

// Write sends bytes, not faster than the rate. Heads count as bytes that moved.
func (s *stream) Write(p []byte) (int, error) {
	if s.rate > 0 {
		s.wait(len(p))
	}
	n, err := s.dst.Write(p)
	s.moved += int64(n)
	return n, err
}

func (s *stream) write(p []byte) error {
	_, err := s.Write(p)
	return err
}

// wait takes the time that n bytes need. What was not used is gone: a
// connection that was idle has no right to a burst.
func (s *stream) wait(n int) {
	if now := time.Now(); s.due.Before(now) {
		s.due = now
	}
	s.due = s.due.Add(time.Duration(float64(n) / float64(s.rate) * float64(time.Second)))
	time.Sleep(time.Until(s.due))
}

// body carries a body of n bytes, or as the constants say.
func (s *stream) body(n int64) error {
	switch n {
	case 0:
		return nil
	case chunked:
		return s.chunks()
	case toTheEnd:
		_, err := io.Copy(s, s.in)
		return err
	}
	if early := min(n, int64(s.in.Buffered())); early > 0 {
		b, err := s.in.Peek(int(early))
		if err == nil {
			err = s.write(b)
		}
		if err != nil {
			return err
		}
		_, _ = s.in.Discard(int(early))
		n -= early
	}
	return s.straight(n)
}

// straight carries n bytes that are not read yet. Without a rate it is the
// kernel that moves them from socket to socket (splice).
func (s *stream) straight(n int64) error {
	if n == 0 {
		return nil
	}
	limited := &io.LimitedReader{R: s.src, N: n}
	var err error
	if s.rate > 0 {
		_, err = io.CopyBuffer(struct{ io.Writer }{s}, limited, make([]byte, paced))
	} else {
		_, err = io.Copy(s.dst, limited)
		s.moved += n - limited.N
	}
	if err == nil && limited.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// paced is how much a connection with a rate sends at a time: small beside what
// it sends in a second, large beside what a wake-up costs.
const paced = 64 << 10

// chunks carries a chunked body (RFC 9112 §7.1) and its trailers.
func (s *stream) chunks() error {
	out := bufio.NewWriterSize(s, paced)
	for {
		line, err := s.line(out)
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(out, s.in, n+2); err != nil {
			return err
		}
		if s.in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	for {
		line, err := s.line(out)
		if err != nil {
			return err
		}
		if line == "" {
			return out.Flush()
		}
	}
}

// line carries one line and gives it without its end.
func (s *stream) line(out io.Writer) (string, error) {
	b, err := s.in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	_, err = out.Write(b)
	return string(bytes.TrimRight(b, "\r\n")), err
}
