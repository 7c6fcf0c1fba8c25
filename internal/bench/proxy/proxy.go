// Package proxy is the network between clients and registries in a benchmark:
// an HTTP/1.1 proxy on loopback that makes every request cost a round trip and
// every new connection one more, caps the bandwidth of each connection, and
// writes down what passed.
//
// It never holds requests up for each other and keeps no body: what has no cap
// is moved by the kernel. It reads just enough of HTTP to know where a request
// ends; what it forwards is byte for byte what it was given.
package proxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Options are the properties of the network.
type Options struct {
	// RTT is waited for each request and, before it, once for each connection.
	RTT time.Duration
	// Rate is the most that one connection moves in each direction, in bytes
	// per second; 0 is no limit.
	Rate int64
}

// Proxy is one listening proxy in front of one server.
type Proxy struct {
	name    string
	backend string
	opts    Options
	log     *Log

	listener net.Listener
	mu       sync.Mutex
	open     map[net.Conn]bool
	closed   bool
	running  sync.WaitGroup
}

// Start listens on a free port of loopback and sends what comes to backend,
// host:port. name stands in the log, which several proxies may share.
func Start(name, backend string, opts Options, log *Log) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{name: name, backend: backend, opts: opts, log: log, listener: l, open: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the address of the proxy, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and all of its connections, and waits for them.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Quiet waits until no connection is open, so that all requests of a client that
// has ended are in the log. It gives up after a while and says so.
func (p *Proxy) Quiet() bool {
	for end := time.Now().Add(settling); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		n := len(p.open)
		p.mu.Unlock()
		if n == 0 {
			return true
		}
	}
	return false
}

// settling is how long Quiet waits.
const settling = 5 * time.Second

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		opened := time.Now()
		if p.keep(c) {
			p.running.Go(func() { p.serve(c, opened) })
		}
	}
}

// keep remembers an open connection, or closes it where the proxy is closed.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// serve carries one connection. The server's side is opened at once: it is on
// this machine and costs nothing.
func (p *Proxy) serve(client net.Conn, opened time.Time) {
	defer p.drop(client)
	id := p.log.connected(p.name, opened, opened.Add(p.opts.RTT))
	server, err := net.Dial("tcp", p.backend)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	time.Sleep(p.opts.RTT - time.Since(opened))
	c := &carrier{proxy: p, id: id, up: newStream(client, server, p.opts.Rate), down: newStream(server, client, p.opts.Rate)}
	for c.exchange() {
	}
}
