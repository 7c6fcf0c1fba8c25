package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// exchange is one request and its answer.
type exchange struct {
	proxy    *faultProxy
	w        http.ResponseWriter
	r        *http.Request
	at       stage
	fault    *fault
	status   int
	up, down atomic.Int64
}

func (x *exchange) due(at point) bool { return x.fault != nil && x.fault.when == at }

// inBody says whether a fault strikes within the body: the answer's or the request's.
func (x *exchange) inBody(answer bool) bool {
	return x.fault != nil && x.fault.when >= 0 && x.fault.when <= 1 && answer == (x.r.Method == http.MethodGet)
}

func (x *exchange) note() {
	p, what := x.proxy, ""
	if x.fault != nil {
		what = fmt.Sprintf("  <- %s at %s", x.fault.what, x.fault.when)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf("%s %s %s: %d, up %d, down %d%s", x.r.Method, x.r.URL.Path, x.r.Header.Get("Range"), x.status, x.up.Load(), x.down.Load(), what))
}

// checkManifest asks the registry itself for all blobs of a manifest that is on
// its way: none may be missing, whatever happens to the manifest.
func (x *exchange) checkManifest() {
	raw, err := io.ReadAll(x.r.Body)
	if err != nil {
		return // the client broke off; what it has sent is nothing
	}
	x.r.Body = io.NopCloser(bytes.NewReader(raw))
	var m struct {
		Config *struct{ Digest digest.Digest }
		Layers []struct{ Digest digest.Digest }
	}
	_ = json.Unmarshal(raw, &m)
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	repo, _, _ := strings.Cut(strings.TrimPrefix(x.r.URL.Path, "/v2/"), "/manifests/")
	for _, l := range m.Layers {
		if has := x.proxy.has(repo, l.Digest); has != http.StatusText(http.StatusOK) {
			x.proxy.mu.Lock()
			x.proxy.early = append(x.proxy.early, fmt.Sprint(l.Digest, ": ", has))
			x.proxy.mu.Unlock()
		}
	}
}

// has asks the registry whether it has a blob, and gives the answer in words.
// Debian's registry may answer 500 while another writes the same blob.
func (p *faultProxy) has(repo string, d digest.Digest) (answer string) {
	for range 5 {
		resp, err := http.Head("http://" + p.upstream + "/v2/" + repo + "/blobs/" + d.String())
		if err != nil {
			answer = err.Error()
			continue
		}
		resp.Body.Close()
		if answer = http.StatusText(resp.StatusCode); resp.StatusCode < http.StatusInternalServerError {
			break
		}
		time.Sleep(settle)
	}
	return answer
}

// token gives out a token as token services do.
func (x *exchange) token() {
	if x.due(answered) {
		x.happen()
		return
	}
	bearer := x.proxy.bearer()
	body := fmt.Sprintf(`{"token":%q,"expires_in":300}`, strings.TrimPrefix(bearer, "Bearer "))
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.answer(&http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Header: http.Header{"Content-Type": {"application/json"}}})
}

// forward carries the request to the registry and its answer back.
func (x *exchange) forward() {
	out := x.r.Clone(x.r.Context()) // with the Host that the client wrote: Locations lead back here
	out.URL = &url.URL{Scheme: "http", Host: x.proxy.upstream, Path: x.r.URL.Path, RawPath: x.r.URL.RawPath, RawQuery: x.r.URL.RawQuery}
	out.RequestURI = ""
	out.Header.Del("Authorization")
	x.lieAsking(out)
	if out.ContentLength != 0 {
		body := &passing{x: x, src: x.r.Body, n: &x.up, end: -1}
		if x.ofBlob() {
			body.total = &x.proxy.up
		}
		if x.inBody(false) {
			body.end = x.fault.when.of(max(out.ContentLength, 2))
		}
		out.Body = body
	}
	resp, err := x.proxy.transport.RoundTrip(out)
	if x.inBody(false) && errors.Is(err, errStruck) {
		x.happen()
		return
	}
	if err != nil { // the client is gone, or the registry
		x.proxy.lost.Add(1)
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	if x.due(answered) {
		_, _ = io.Copy(io.Discard, resp.Body)
		x.happen()
		return
	}
	x.lieAnswering(resp)
	x.answer(resp)
}

// answer carries an answer to the client.
func (x *exchange) answer(resp *http.Response) {
	x.status = resp.StatusCode
	maps.Copy(x.w.Header(), resp.Header)
	body := &passing{x: x, src: resp.Body, n: &x.down, end: -1, rate: x.proxy.rate}
	if x.ofBlob() && resp.StatusCode/100 == 2 {
		body.total = &x.proxy.down
	}
	if x.proxy.rate > 0 && strings.HasPrefix(x.r.Header.Get("Range"), "bytes=0-") {
		body.rate = firstRate
	}
	if x.inBody(true) && resp.StatusCode/100 == 2 {
		body.end = x.fault.when.of(max(resp.ContentLength, 2))
	}
	if resp.Uncompressed || resp.ContentLength >= 0 && x.r.Method != http.MethodHead {
		x.w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	x.w.WriteHeader(resp.StatusCode)
	_, err := io.Copy(x.w, body)
	switch {
	case errors.Is(err, errStruck):
		_ = http.NewResponseController(x.w).Flush()
		x.drain()
		x.happen()
	case err != nil:
		x.proxy.lost.Add(1)
		panic(http.ErrAbortHandler)
	}
}

var errStruck = errors.New("the fault strikes here")

func (x *exchange) ofBlob() bool { return strings.Contains(x.r.URL.Path, "/blobs/") }

// passing counts a body and ends it where the fault strikes.
type passing struct {
	x     *exchange
	src   io.ReadCloser
	n     *atomic.Int64
	total *atomic.Int64 // nil where it is no blob's
	end   int64         // -1 is none
	rate  int64         // bytes a second; 0 is all there is
	due   time.Time     // by the rate
}

func (b *passing) Read(p []byte) (int, error) {
	switch {
	case b.end >= 0 && b.x.fault.what == slow:
		b.rate = slowRate
	case b.end >= 0 && b.n.Load() >= b.end:
		return 0, errStruck
	case b.end >= 0:
		p = p[:min(int64(len(p)), b.end-b.n.Load())]
	}
	if hold := b.x.proxy.hold.Load(); b.total != nil && hold > 0 && b.total.Load() >= hold {
		b.x.tell()
		select {
		case <-b.x.proxy.released:
		case <-b.x.proxy.closed:
		}
	}
	n, err := b.src.Read(p)
	b.n.Add(int64(n))
	if b.total != nil {
		b.total.Add(int64(n))
	}
	if b.rate > 0 {
		if b.due.IsZero() {
			b.due = time.Now()
		}
		b.due = b.due.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
		time.Sleep(time.Until(b.due))
	}
	return n, err
}

func (b *passing) Close() error { return b.src.Close() }
