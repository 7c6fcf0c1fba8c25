package interop

import (
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
)

// stage is a kind of request, as far as faults tell them apart.
type stage string

// The stages.
const (
	atToken       stage = "token"
	atHead        stage = "HEAD"
	atList        stage = "tags"
	atManifestGet stage = "manifest GET"
	atBlobGet     stage = "blob GET"
	atRange       stage = "range GET" // of a blob
	atBytes       stage = "any blob GET"
	atPostBody    stage = "POST+body"
	atPost        stage = "POST"
	atPatch       stage = "PATCH"
	atPut         stage = "PUT"       // of the big blob, or all of them
	atSmallPut    stage = "small PUT" // of the others
	atClosingPut  stage = "PUT, empty"
	atManifestPut stage = "manifest PUT"
	atOther       stage = "other"
)

// point is where in an exchange a fault strikes: a part of the body, which is
// the answer's of a GET and else the request's, or one of the constants.
type point float64

// The points that are not only a part.
const (
	asked     point = -1 // the registry never hears of the request
	firstByte point = 0
	half      point = 0.5
	late      point = 0.9
	lastByte  point = 1 // all but one byte have passed
	answered  point = 2 // the registry did it, and no byte of the answer arrives
	whole     point = 3 // all of it, which is what lies are about
)

func (p point) String() string {
	switch p {
	case asked:
		return "asked"
	case firstByte:
		return "first byte"
	case lastByte:
		return "last byte"
	case answered:
		return "answered"
	case whole:
		return "whole"
	}
	return fmt.Sprintf("%.0f %%", float64(p)*100)
}

// of is how many of n bytes pass.
func (p point) of(n int64) int64 { return min(max(1, int64(float64(p)*float64(n))), n-1) }

// kind is what a fault does.
type kind string

// The kinds. A number with words is a status.
const (
	cut        kind = "cut"   // FIN
	reset      kind = "reset" // RST
	stall      kind = "stall" // no further byte
	slow       kind = "slow"  // slowRate for one connection
	expired    kind = "401 expired"
	status500  kind = "500"
	status503  kind = "503"
	later      kind = "429 seconds"
	laterDate  kind = "429 date"
	muchLater  kind = "429 an hour"
	wrongRange kind = "wrong Content-Range"
	wholeFor   kind = "200 for a range"
	otherPart  kind = "another range"            // and its header says so
	otherBytes kind = "another range, unlabeled" // its header is that of the one that was asked for
)

// slowRate is the bytes a second of slow: a blob of the matrix takes several
// stall-timeouts.
const slowRate = 4 << 20

// firstRate is that of the first range where a rate is set. By it stet measures
// what a connection brings, also where the machine is so busy that all of the
// range is there before stet looks.
const firstRate = 2 << 20

// retryIn is what 429 asks to wait.
const retryIn = time.Second

// forever is how often a fault strikes that does not go away.
const forever = math.MaxInt

// fault strikes the first requests of a stage.
type fault struct {
	at    stage
	when  point
	what  kind
	times int
	after int // of the stage, so many requests pass before
}

// faultProxy stands between stet and a registry. It speaks HTTP, so that it
// knows what passes, and ends connections like a broken network does.
type faultProxy struct {
	host, upstream   string
	big              digest.Digest // faults at blobs strike this one alone, where it is set
	guarded          bool          // requests need a token, which the proxy gives out
	rate             int64         // bytes a second of each answer; 0 is all there is
	transport        *http.Transport
	closed, released chan struct{}
	struck           chan struct{} // one value for each fault, as far as somebody listens

	up, down atomic.Int64 // bytes of blobs, without heads
	lost     atomic.Int64 // exchanges that ended early, and by no fault
	hold     atomic.Int64 // so many of them pass in a direction, then none; 0 is no end

	mu         sync.Mutex
	faults     []*fault
	random     func(stage) *fault // makes one where none of faults is due, or nil; once set, it is asked for each request
	generation int                // of tokens
	hits       int
	seen       []stage // each once
	early      []string
	log        []string
	quiet      map[string]time.Time // what was asked for with Retry-After, by request
	hasty      []string             // requests that came before
}

type connKey struct{}

// newFaultProxy starts a proxy before upstream ("localhost:PORT") that ends
// with the test.
func newFaultProxy(t *testing.T, upstream string, faults ...*fault) *faultProxy {
	t.Helper()
	p := &faultProxy{
		upstream: upstream, faults: faults, closed: make(chan struct{}), released: make(chan struct{}), struck: make(chan struct{}, 1),
		quiet:     map[string]time.Time{},
		transport: &http.Transport{DisableCompression: true},
	}
	// Small buffers: what the proxy has counted has arrived, and a slow side is
	// felt at the other.
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			for _, which := range []int{syscall.SO_RCVBUF, syscall.SO_SNDBUF} {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, which, 128<<10)
			}
		})
	}}
	l, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p.host = net.JoinHostPort("localhost", port)
	srv := &http.Server{
		Handler: p, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		close(p.closed)
		_ = srv.Close()
		p.transport.CloseIdleConnections()
	})
	return p
}

// set changes a proxy that runs already; requests that come later see it.
func (p *faultProxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// stageOf tells what a request is, and whether faults at blobs strike it.
func (p *faultProxy) stageOf(r *http.Request) (stage, bool) {
	if r.URL.Path == "/token" {
		return atToken, true
	}
	req, err := wire.Parse(r.Method, r.URL)
	if err != nil {
		return atOther, true
	}
	hit := p.big == "" || req.Digest == p.big
	switch req.Kind {
	case wire.ManifestHead, wire.BlobHead:
		return atHead, true
	case wire.TagList:
		return atList, true
	case wire.ManifestGet:
		return atManifestGet, true
	case wire.ManifestPut:
		return atManifestPut, true
	case wire.BlobGet:
		if r.Header.Get("Range") != "" {
			return atRange, hit
		}
		return atBlobGet, hit
	case wire.UploadStart, wire.UploadMount, wire.UploadSingle:
		if r.ContentLength > 0 {
			return atPostBody, true
		}
		return atPost, true
	case wire.UploadChunk:
		return atPatch, true
	case wire.UploadFinish:
		switch {
		case r.ContentLength == 0:
			return atClosingPut, true
		case !hit:
			return atSmallPut, true
		}
		return atPut, true
	}
	return atOther, true
}

// strike takes the fault that is due at a stage.
func (p *faultProxy) strike(at stage, hit bool) *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if hit && !slices.Contains(p.seen, at) {
		p.seen = append(p.seen, at)
	}
	for _, f := range p.faults {
		here := f.at == at || f.at == atBytes && (at == atBlobGet || at == atRange)
		if !here || !hit || f.times == 0 {
			continue
		}
		if f.after > 0 {
			f.after--
			continue
		}
		f.times--
		p.hits++
		return f
	}
	if p.random != nil {
		return p.random(at)
	}
	return nil
}

// request names a request so that another try has the same name. Of an upload
// it is the digest, because the session may be another.
func (x *exchange) request() string {
	if strings.Contains(x.r.URL.Path, "/blobs/uploads/") {
		q := x.r.URL.Query()
		return fmt.Sprint(x.at, " ", q.Get("digest"), q.Get("mount"))
	}
	return x.r.Method + " " + x.r.URL.Path
}

// listenFor notes a request that comes before it should.
func (x *exchange) listenFor() {
	p := x.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet[x.request()].After(time.Now()) {
		p.hasty = append(p.hasty, x.request())
	}
}

// record is what a proxy saw.
type record struct {
	hits         int
	seen         []stage
	early, hasty []string
	log          string
	moved, lost  int64
}

// record may be called while exchanges are under way: those that stall are.
func (p *faultProxy) record() record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return record{
		hits: p.hits, seen: slices.Clone(p.seen), early: slices.Clone(p.early), hasty: slices.Clone(p.hasty),
		log: strings.Join(p.log, "\n"), moved: p.up.Load() + p.down.Load(), lost: p.lost.Load(),
	}
}

// release ends the hold; once.
func (p *faultProxy) release() {
	p.hold.Store(0)
	close(p.released)
}

// calm ends all faults and counts anew.
func (p *faultProxy) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.log = nil, nil
	p.up.Store(0)
	p.down.Store(0)
}

func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.set(func() {}) // what was set before is seen from here on
	at, hit := p.stageOf(r)
	x := &exchange{proxy: p, w: w, r: r, at: at, fault: p.strike(at, hit)}
	defer x.note()
	x.listenFor()
	if at == atManifestPut {
		x.checkManifest()
	}
	if x.due(asked) {
		x.happen()
		return
	}
	if at == atToken {
		x.token()
		return
	}
	if p.guarded && r.Header.Get("Authorization") != p.bearer() {
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, p.host))
		x.status = http.StatusUnauthorized
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	x.forward()
}

func (p *faultProxy) bearer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("Bearer token-%d", p.generation)
}
