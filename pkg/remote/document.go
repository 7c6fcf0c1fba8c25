package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"

	"github.com/stet-oci/stet/pkg/store"
)

// Documents are read at the same time, as many as requests are; a hostile
// registry makes each as large as one may be. Up to smallDocument bytes nobody
// waits; what is larger takes its share of manyDocuments bytes first.
const (
	smallDocument       = 64 << 10
	manyDocuments int64 = 8 << 20
	// unknownDocument is the share of what says no length, which for a list of tags
	// could be as long as all: they would be read one by one.
	unknownDocument int64 = 4 << 20
)

func newDocuments() *semaphore.Weighted { return semaphore.NewWeighted(manyDocuments) }

// document sends the call as do does, and shows the answer with its body to use.
// It is ErrTooLarge where that is over limit bytes. The body is read as a part of
// each try: nothing is lost by asking again for what broke off.
func (c *client) document(ctx context.Context, call call, limit int64, use func(*http.Response, []byte)) error {
	t := newTrip(call)
	t.read = func(resp *http.Response) error { return c.readDocument(resp, limit, use) }
	_, err := c.send(ctx, call, t)
	t.read = nil // the connection keeps its last request, and so the trip, for as long as it is open
	return err
}

// readDocument reads the body of an answer. Its share of the memory is given back
// after use: what is refused there is gone by then, and not one of as many that
// wait for a processor as requests are.
func (c *client) readDocument(resp *http.Response, limit int64, use func(*http.Response, []byte)) error {
	if resp.ContentLength > limit {
		return tooLarge(limit)
	}
	room := resp.ContentLength
	if room < 0 {
		room = min(limit, unknownDocument)
	}
	if room > smallDocument {
		ctx := resp.Request.Context()
		share := min(room, manyDocuments)
		if err := c.documents.Acquire(ctx, share); err != nil {
			return err
		}
		defer c.documents.Release(share)
	}
	if resp.ContentLength < 0 {
		raw, err := readLimited(resp.Body, limit)
		if err == nil {
			use(resp, raw)
		}
		return err
	}
	buf := bytes.NewBuffer(make([]byte, 0, room+bytes.MinRead)) // else it grows, and leaves as much again behind
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, room)); err != nil {
		return err
	}
	use(resp, buf.Bytes())
	return nil
}

// readLimited reads all of r, or is ErrTooLarge where that is over limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, tooLarge(limit)
	}
	return raw, nil
}

func tooLarge(limit int64) error { return fmt.Errorf("%w: over %d bytes", store.ErrTooLarge, limit) }
