package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// client sends requests to one registry.
type client struct {
	host string   // as users name the registry, such as docker.io
	base *url.URL // scheme and host on the wire: the registry's origin
	opts Options
	auth *auth // the top of the stack of RoundTrippers
	pace *Pace

	secrets   *secrets            // what was sent and is not to be shown
	documents *semaphore.Weighted // bytes of large ones that are being read

	transports []*http.Transport // its bottom
	warm       []*warm           // connections that are opened ahead

	ranging ranging  // of large downloads
	buffers *buffers // theirs

	homes *homes // where blobs are known to be

	mu     sync.Mutex
	warned map[string]bool // warnings that were told
}

// call is one request, to be sent as often as it takes.
type call struct {
	Request  wire.Request // method, URL and scope come from it
	Location *url.URL     // an upload's Location, used instead of Request.URL()
	Header   http.Header  // Content-Type, Accept, Range, Content-Range …

	Body   func() (io.ReadCloser, error) // opens the body anew for each try; nil is none
	Length int64                         // of the body in bytes; -1 is unknown (chunked transfer)
	Expect int64                         // bytes of the answer, where they may be many: large transfers take turns

	Part bool // a range that is read into memory whatever comes of it

	Once bool  // do not retry: the caller goes on itself
	Want []int // statuses that are answers; empty is any 2xx
}

// hubHost is what serves the registry that everybody calls docker.io.
const (
	hubName = "docker.io"
	hubHost = "registry-1.docker.io"
)

// newClient is a client for the registry that users call host.
func newClient(host string, opts Options) (*client, error) {
	opts = opts.withDefaults()
	c := &client{
		host: host, opts: opts, pace: opts.Pace, homes: newHomes(opts.CacheDir, host),
		warned: map[string]bool{}, secrets: newSecrets(opts.Header), documents: newDocuments(),
	}
	if c.pace == nil {
		c.pace = NewPace(PaceOptions{Now: opts.Now})
	}
	c.ranging, c.buffers = defaultRanging(), newBuffers(rangeSize, rangeBuffers)
	c.base = &url.URL{Scheme: "https", Host: host}
	switch {
	case host == hubName:
		c.base.Host = hubHost
	case opts.PlainHTTP != nil && *opts.PlainHTTP, opts.PlainHTTP == nil && c.base.Hostname() == "localhost":
		c.base.Scheme = "http"
	}
	var err error
	if c.auth, err = c.stack(); err != nil {
		return nil, err
	}
	return c, nil
}

// withDefaults fills in what the zero value leaves open. Below zero stays:
// it means never.
func (o Options) withDefaults() Options {
	if o.Retries == 0 {
		o.Retries = DefaultRetries
	}
	if o.MaxWait == 0 {
		o.MaxWait = DefaultMaxWait
	}
	if o.Stall == 0 {
		o.Stall = DefaultStall
	}
	if o.Commit == 0 {
		o.Commit = DefaultCommit
	}
	if o.MaxManifest == 0 {
		o.MaxManifest = DefaultMaxManifest
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// do sends the call and gives the answer, whose body the caller closes. A
// status outside call.Want is an *Error; no answer at all is ErrUnavailable.
// Reading the body can fail with ErrUnavailable too, which is worth going on
// from where it broke.
func (c *client) do(ctx context.Context, call call) (*http.Response, error) {
	return c.send(ctx, call, newTrip(call))
}

func (c *client) send(ctx context.Context, call call, t *trip) (*http.Response, error) {
	req, err := c.request(ctx, call, t)
	if err != nil {
		return nil, err
	}
	resp, err := c.auth.RoundTrip(req)
	if err != nil {
		return nil, c.clean(explain(req, err))
	}
	c.warn(resp)
	if slices.Contains(call.Want, resp.StatusCode) || len(call.Want) == 0 && resp.StatusCode/100 == 2 {
		return resp, nil
	}
	return nil, newError(resp, t, c.secrets.with(resp.Request.URL))
}

// request is the HTTP request of a call.
func (c *client) request(ctx context.Context, call call, t *trip) (*http.Request, error) {
	u := call.Location
	if u == nil {
		u = c.base.ResolveReference(call.Request.URL())
	}
	req := (&http.Request{
		Method: call.Request.Method(), URL: u, Host: u.Host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(withTrip(ctx, t))
	for k, v := range call.Header {
		req.Header[http.CanonicalHeaderKey(k)] = slices.Clone(v)
	}
	if call.Body == nil {
		return req, nil
	}
	req.ContentLength = call.Length
	req.GetBody = func() (io.ReadCloser, error) {
		body, err := call.Body()
		if err != nil {
			t.blame(err)
			return nil, err
		}
		if call.Length == 0 {
			return http.NoBody, body.Close()
		}
		return &source{body: body, want: call.Length, trip: t}, nil
	}
	var err error
	req.Body, err = req.GetBody()
	return req, err
}

// explain gives an error of the transport its method, URL and class.
func explain(req *http.Request, err error) error {
	if ctxErr := req.Context().Err(); ctxErr != nil {
		return fmt.Errorf("%s %s: %w", req.Method, redactURL(req.URL), ctxErr)
	}
	var refusal *Error
	if errors.As(err, &refusal) || tripOf(req).blamed() != nil {
		return err // says itself where it comes from
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
		err = http.ErrSchemeMismatch // as net/http's client says it
	}
	switch {
	case errors.Is(err, io.EOF):
		// A reader of the content would take it for the end.
		err = fmt.Errorf("%w: the connection was closed before the answer", store.ErrUnavailable)
	case !classed(err):
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("%s %s: %w", req.Method, redactURL(req.URL), err)
}

// classed says whether err has one of the classes that this package gives.
func classed(err error) bool {
	for _, class := range []error{
		store.ErrUnavailable, store.ErrInvalid, store.ErrTooLarge, store.ErrUnauthorized, store.ErrDenied, store.ErrChanged,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// resolve makes the Location that resp gave absolute. Its query is kept as it
// is (distribution-spec "Pushing blobs": use the Location exactly as given).
// A Location that is absent, no URL, or leads from https to http is ErrInvalid.
func (c *client) resolve(loc string, resp *http.Response) (*url.URL, error) {
	from := c.base
	if resp != nil && resp.Request != nil {
		from = resp.Request.URL
	}
	if loc == "" {
		return nil, fmt.Errorf("%w: %s: the answer has no Location", store.ErrInvalid, redactURL(from))
	}
	u, err := from.Parse(loc)
	if err != nil { // the error quotes the Location, which may hold a signature
		return nil, fmt.Errorf("%w: %s: the answer's Location is no URL", store.ErrInvalid, redactURL(from))
	}
	if err := checkHop(from, u); err != nil {
		return nil, err
	}
	return u, nil
}

// maxWarning bounds the warnings of one answer (distribution-spec "Warnings"),
// maxWarnings how many texts of a registry are told: it could send another with
// each of its answers.
const (
	maxWarning  = 4096
	maxWarnings = 100
)

// warn tells of the warnings in an answer, each text once (distribution-spec
// "Warnings": Warning: 299 - "text").
func (c *client) warn(resp *http.Response) {
	left := maxWarning
	for _, value := range resp.Header.Values("Warning") {
		quoted, ok := strings.CutPrefix(value, "299 - ")
		text, _, valid := cutQuoted(quoted)
		if !ok || !valid || len(text) > left || !sameOrigin(resp.Request.URL, c.base) {
			continue
		}
		left -= len(text)
		text = without(c.secrets.with(resp.Request.URL), text)
		c.mu.Lock()
		told := c.warned[text] || len(c.warned) >= maxWarnings
		if !told {
			c.warned[text] = true
		}
		c.mu.Unlock()
		if !told {
			c.opts.Events.Emit(store.Event{Kind: store.Warning, Name: c.host, Text: text})
		}
	}
}

// sameOrigin says whether two URLs have scheme, host and port in common.
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(address(a), address(b))
}

// address is host:port of a URL, with the port written out.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case strings.EqualFold(u.Scheme, "https"):
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// close ends idle connections. Others end with their answers.
func (c *client) close() {
	for _, w := range c.warm {
		w.close()
	}
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}
