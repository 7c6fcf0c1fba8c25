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

// document sends the call as do does, and gives the answer with its body, which
// is ErrTooLarge where that is over limit bytes. It is read as a part of each
// try: nothing is lost by asking again for what broke off.
func (c *client) document(ctx context.Context, call call, limit int64) (resp *http.Response, raw []byte, err error) {
	t := newTrip(call)
	t.read = func(resp *http.Response) (err error) {
		raw, err = c.readDocument(resp, limit)
		return err
	}
	if resp, err = c.send(ctx, call, t); err != nil {
		return nil, nil, err
	}
	return resp, raw, nil
}

// readDocument reads the body of an answer.
func (c *client) readDocument(resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	room := resp.ContentLength
	if room < 0 {
		room = min(limit, unknownDocument)
	}
	if room > smallDocument {
		ctx := resp.Request.Context()
		share := min(room, manyDocuments)
		if err := c.documents.Acquire(ctx, share); err != nil {
			return nil, err
		}
		defer c.documents.Release(share)
	}
	if resp.ContentLength < 0 {
		return readLimited(resp.Body, limit)
	}
	buf := bytes.NewBuffer(make([]byte, 0, room+bytes.MinRead)) // else it grows, and leaves as much again behind
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, room)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
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
