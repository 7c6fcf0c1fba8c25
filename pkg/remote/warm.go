package remote

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// maxWarm is how long a connection may lie unused until it is first needed:
// servers end those that never ask for anything.
const maxWarm = 10 * time.Second

// warm opens connections before they are needed: the first dial to the registry
// starts some more beside it, and the dials that follow get those. A transfer of
// several blobs then does not wait for a connection a second time.
type warm struct {
	dial  dialFunc
	addr  string // of the registry; other addresses are dialled as ever
	extra int    // connections beside the first
	now   func() time.Time

	mu     sync.Mutex
	began  bool
	closed bool
	coming []chan warmed // not handed out yet, each with room for its one value
}

type warmed struct {
	conn net.Conn
	err  error
	at   time.Time
}

func (w *warm) get(ctx context.Context, network, addr string) (net.Conn, error) {
	if w.extra <= 0 || addr != w.addr {
		return w.dial(ctx, network, addr)
	}
	if w.begin(network) {
		conn, err := w.dial(ctx, network, addr)
		if speaksHTTP2(conn) {
			w.close() // it takes all requests
		}
		return conn, err
	}
	for {
		next := w.next()
		if next == nil {
			return w.dial(ctx, network, addr)
		}
		select {
		case c := <-next:
			switch {
			case c.err != nil:
			case w.now().Sub(c.at) > maxWarm:
				c.conn.Close()
			default:
				return c.conn, nil
			}
		case <-ctx.Done():
			go giveUp(next)
			return nil, context.Cause(ctx)
		}
	}
}

// begin starts the extra dials, and says whether it did: the first time.
func (w *warm) begin(network string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began || w.closed {
		return false
	}
	w.began = true
	for range w.extra {
		came := make(chan warmed, 1)
		w.coming = append(w.coming, came)
		go func() {
			// Whose request it will serve is not known, so it ends with nobody's.
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			conn, err := w.dial(ctx, network, w.addr)
			came <- warmed{conn, err, w.now()}
		}()
	}
	return true
}

// next is a connection that nobody has yet, or nil.
func (w *warm) next() chan warmed {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.coming) == 0 {
		return nil
	}
	c := w.coming[0]
	w.coming = w.coming[1:]
	return c
}

// close ends the connections that nobody needed. Dials go on as without warm.
func (w *warm) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for c := w.next(); c != nil; c = w.next() {
		go giveUp(c)
	}
}

func giveUp(c chan warmed) {
	if w := <-c; w.err == nil {
		w.conn.Close()
	}
}

func speaksHTTP2(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}
