package remote

import (
	"context"
	"io"
	"sync"
)

// stretch is the body of one PATCH: what is next of some content. The transport
// reads and closes it in a goroutine of its own; the content stays open.
type stretch struct {
	in     *hashing
	left   int64 // below 0 is all there is
	closed chan struct{}
	once   sync.Once
}

func newStretch(in *hashing, n int64) *stretch {
	return &stretch{in: in, left: n, closed: make(chan struct{})}
}

func (b *stretch) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && b.left < int64(len(p)) {
		p = p[:b.left]
	}
	n, err := b.in.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}

func (b *stretch) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// closeAfter closes the content when the transport is done with the body.
func (b *stretch) closeAfter() {
	<-b.closed
	b.in.Close()
}

// wait waits until the transport is done with the body: it may still be
// reading when the answer is there (http.RoundTripper).
func (b *stretch) wait(ctx context.Context) error {
	select {
	case <-b.closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
