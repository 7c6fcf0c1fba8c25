package remote

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// Settings of connections that nobody needs to set.
const (
	dialTimeout      = 30 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	idlePerHost      = 64
	maxHeaderBytes   = 1 << 20
)

// stack is how requests reach the registry: what is above asks more often,
// what is below knows less: auth, retry, redirect, origin, pace, limit, trace. Token requests take the same way without auth and
// redirect, and may carry a credential to the realm's origin.
func (c *client) stack() (*auth, error) {
	conf, err := c.opts.tlsConfig(c.host)
	if err != nil {
		return nil, err
	}
	wire := func(t *http.Transport) http.RoundTripper {
		c.transports = append(c.transports, t)
		return &viaProxy{proxy: c.proxy, next: &paced{pace: c.pace, next: &limit{
			next: &trace{next: t, out: c.opts.Trace, now: c.opts.Now, secrets: c.secrets}, stall: c.opts.Stall, commit: c.opts.Commit, secrets: c.secrets,
		}}}
	}
	own, other := wire(c.transport(conf, true)), wire(c.transport(conf, false))
	reg := origin{base: c.base, header: c.opts.Header, agent: c.opts.UserAgent, own: own, other: other, secrets: c.secrets}
	realm := reg
	realm.credentials = true
	return newAuth(c, c.retry(&redirect{next: &reg}), c.retry(&realm)), nil
}

// transport is the bottom of the stack. Only the one for the registry's own
// origin has the client certificate.
func (c *client) transport(conf *tls.Config, own bool) *http.Transport {
	conf = conf.Clone()
	certs := conf.Certificates
	conf.Certificates = nil
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if to, ok := c.opts.Resolve[addr]; ok {
			addr = to
		}
		return dialer.DialContext(ctx, network, addr)
	}
	t := &http.Transport{
		Proxy:                  c.proxy,
		DialContext:            dial,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    handshakeTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // digests are of the bytes as they are sent
		OnProxyConnectResponse: refusedByProxy,
	}
	if !own {
		return t
	}
	warmed := func(dial dialFunc) dialFunc {
		w := &warm{dial: dial, addr: address(c.base), extra: c.opts.Connections - 1, now: c.opts.Now}
		c.warm = append(c.warm, w)
		return w.get
	}
	if len(certs) > 0 || c.base.Scheme == "https" && c.opts.Connections > 1 {
		// An https proxy gets its handshake from DialTLSContext, and the
		// registry behind it from TLSClientConfig. Only the latter may see
		// the certificate, unless the dialled address is the registry.
		t.TLSClientConfig.Certificates = certs
		t.DialTLSContext = warmed(c.dialTLS(dial, t.TLSClientConfig))
	}
	if c.base.Scheme == "http" {
		t.DialContext = warmed(dial)
	}
	return t
}

// dialTLS makes TLS connections that show the client certificate to the
// registry's own address only.
func (c *client) dialTLS(dial dialFunc, conf *tls.Config) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conf := conf.Clone()
		if host, _, err := net.SplitHostPort(addr); err == nil {
			conf.ServerName = host
		}
		if addr != address(c.base) {
			conf.Certificates = nil
			conf.NextProtos = []string{"http/1.1"} // a proxy is spoken to in HTTP/1
		} else {
			conf.NextProtos = []string{"h2", "http/1.1"}
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// proxy is the environment's proxy for a request, whose password is a secret too.
func (c *client) proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if u != nil && u.User != nil {
		password, _ := u.User.Password()
		c.secrets.note(basic(Credential{Username: u.User.Username(), Password: password}))
	}
	return u, err
}

// ProxyError is a proxy's refusal to connect, or to take a request on plain http.
type ProxyError struct {
	Proxy  string // its address
	Status int
	text   string
}

func (e *ProxyError) Error() string { return fmt.Sprintf("proxy %s answers %s", e.Proxy, e.text) }

// Unwrap makes it an ErrUnavailable: of the registry nothing is known.
func (e *ProxyError) Unwrap() error { return store.ErrUnavailable }

// viaProxy knows a proxy's own answers on plain http, where they come in place of the
// registry's: only a proxy asks who uses it (RFC 9110 section 15.5.8).
type viaProxy struct {
	next  http.RoundTripper
	proxy func(*http.Request) (*url.URL, error)
}

func (v *viaProxy) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := v.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusProxyAuthRequired || req.URL.Scheme != "http" {
		return resp, err
	}
	proxy, err := v.proxy(req)
	if err != nil || proxy == nil {
		return resp, nil
	}
	drain(resp)
	return nil, &ProxyError{Proxy: proxy.Host, Status: resp.StatusCode, text: resp.Status}
}

func refusedByProxy(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Proxy: proxy.Host, Status: resp.StatusCode, text: resp.Status}
}

// origin is the one place where the rule of origins is kept: a credential, a
// custom header and the client certificate go to scheme, host and port of the
// registry and nowhere else.
type origin struct {
	base        *url.URL
	header      http.Header // of the user, for the registry
	agent       string
	own, other  http.RoundTripper
	secrets     *secrets
	credentials bool // token requests bring the credential that belongs to their realm
}

func (o *origin) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkHop(o.base, req.URL); err != nil {
		return nil, err
	}
	o.secrets.note(req.Header.Get("Authorization"))
	out := req.Clone(req.Context())
	out.Header.Set("User-Agent", o.agent)
	// Go would announce gzip where compression is on; a digest is of the
	// plain bytes, and some proxies compress unasked.
	out.Header.Set("Accept-Encoding", "identity")
	if sameOrigin(req.URL, o.base) {
		for k, v := range o.header {
			out.Header[http.CanonicalHeaderKey(k)] = v
		}
		return o.own.RoundTrip(out)
	}
	if !o.credentials {
		out.Header.Del("Authorization")
	}
	return o.other.RoundTrip(out)
}

// maxRedirects is how many hops a request may take.
const maxRedirects = 10

// redirect follows redirects (distribution-spec "Redirects"). net/http's client
// is not used for it, because it compares names of hosts without their ports.
type redirect struct{ next http.RoundTripper }

func (r *redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	hop := req
	for range maxRedirects + 1 {
		resp, err := r.next.RoundTrip(hop)
		if err != nil || !follow(hop, resp) {
			return resp, err
		}
		to, err := hop.URL.Parse(resp.Header.Get("Location"))
		drain(resp)
		if err != nil {
			return nil, fmt.Errorf("%w: redirected to what is no URL", store.ErrInvalid)
		}
		if err := checkHop(hop.URL, to); err != nil {
			return nil, err
		}
		// Each hop starts from the first request, whose headers are whole;
		// origin takes away what the hop may not see.
		if hop, err = rewound(req); err != nil {
			return nil, err
		}
		hop.URL, hop.Host = to, to.Host
	}
	return nil, fmt.Errorf("%w: more than %d redirects", store.ErrInvalid, maxRedirects)
}

// follow says whether an answer is a redirect that keeps the request as it is.
// Others would turn a PUT into a GET, whose success means nothing.
func follow(req *http.Request, resp *http.Response) bool {
	if resp.Header.Get("Location") == "" {
		return false
	}
	switch resp.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return req.Method == http.MethodGet || req.Method == http.MethodHead
	}
	return false
}

// checkHop refuses to be led off HTTP, or from https to http.
func checkHop(from, to *url.URL) error {
	switch {
	case to.Scheme == "https" || to.Scheme == "http" && from.Scheme == "http":
	case to.Scheme == "http":
		return fmt.Errorf("%w: %s leads from https to http", store.ErrInvalid, redactURL(from))
	default:
		return fmt.Errorf("%w: %s leads to a URL that is not http", store.ErrInvalid, redactURL(from))
	}
	if to.Host == "" || to.User != nil {
		return fmt.Errorf("%w: %s leads to a URL without a host or with a user", store.ErrInvalid, redactURL(from))
	}
	return nil
}
