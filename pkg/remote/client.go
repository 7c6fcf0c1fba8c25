package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// client sends requests to one registry.
type client struct {
	host string   // as the user names the registry, such as docker.io
	base *url.URL // scheme and host on the wire: the registry's origin
	opts Options
	rt   http.RoundTripper
}

// call is one request, to be sent as often as it takes.
type call struct {
	Request  wire.Request // method, URL and scope come from it
	Location *url.URL     // an upload's Location, used instead of Request.URL()
	Header   http.Header  // Content-Type, Accept, Range, Content-Range …

	Body   func() (io.ReadCloser, error) // opens the body anew for each try; nil is none
	Length int64                         // of the body in bytes; -1 is unknown (chunked transfer)

	Once bool  // do not retry: the caller goes on itself
	Want []int // statuses that are answers; empty is any 2xx
}

// newClient is a client for the registry that users call host.
func newClient(host string, opts Options) (*client, error) {
	return &client{host: host, base: &url.URL{Scheme: "http", Host: host}, opts: opts, rt: http.DefaultTransport}, nil
}

// do sends the call and gives the answer, whose body the caller closes. A
// status outside call.Want is an *Error.
func (c *client) do(ctx context.Context, call call) (*http.Response, error) {
	u := call.Location
	if u == nil {
		u = c.base.ResolveReference(call.Request.URL())
	}
	req, err := http.NewRequestWithContext(ctx, call.Request.Method(), u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range call.Header {
		req.Header[k] = v
	}
	if call.Body != nil {
		req.GetBody, req.ContentLength = call.Body, call.Length
		if req.Body, err = call.Body(); err != nil {
			return nil, err
		}
	}
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if slices.Contains(call.Want, resp.StatusCode) || len(call.Want) == 0 && resp.StatusCode/100 == 2 {
		return resp, nil
	}
	return nil, newError(resp)
}

// resolve makes the Location that resp gave absolute. Its query is kept as it
// is (distribution-spec "Pushing blobs": use the Location exactly as given).
func (c *client) resolve(loc string, resp *http.Response) (*url.URL, error) {
	if loc == "" {
		return nil, fmt.Errorf("%w: no Location in the answer", store.ErrInvalid)
	}
	u, err := resp.Request.URL.Parse(loc)
	if err != nil {
		return nil, fmt.Errorf("%w: Location: %w", store.ErrInvalid, err)
	}
	return u, nil
}

// readLimited reads all of r, or is ErrTooLarge when that is over limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: over %d bytes", store.ErrTooLarge, limit)
	}
	return buf.Bytes(), nil
}
