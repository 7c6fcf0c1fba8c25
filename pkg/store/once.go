package store

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// onceKept is how much of content that can be read only once is kept, so that
// it can be read again as long as there is no more: a store may first look
// whether content is small.
const onceKept = 4 << 20

// onceChunk is how much is read at a time.
const onceChunk = 256 << 10

// ReadOnce gives the Open of a Blob over content that can be read only once,
// such as standard input. While there is little of it, it can be opened again;
// after that, opening it where nothing is kept is ErrOnce. A read ends with its
// context, although the one of from cannot: it then goes on for who reads next.
func ReadOnce(from io.Reader) func(ctx context.Context, offset int64) (io.ReadCloser, error) {
	o := &once{from: from, chunks: make(chan onceRead, 1)}
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if err := o.reach(ctx, offset); err != nil {
			return nil, err
		}
		return &onceReader{ctx: ctx, once: o, at: offset}, nil
	}
}

// once is what was read until now. The lock is held while it waits for more.
type once struct {
	from   io.Reader
	chunks chan onceRead

	mu      sync.Mutex
	kept    []byte // the last of what was read
	start   int64  // the offset of kept
	err     error  // with which from ended
	reading bool   // a read is under way, perhaps for somebody who is gone
}

type onceRead struct {
	raw []byte
	err error
}

// end is how much was read.
func (o *once) end() int64 { return o.start + int64(len(o.kept)) }

// reach reads until offset is within what was read.
func (o *once) reach(ctx context.Context, offset int64) error {
	for {
		switch {
		case offset < 0:
			return ErrRange
		case offset < o.start:
			return fmt.Errorf("%w: %d bytes of it were read already", ErrOnce, o.end())
		case offset <= o.end():
			return nil
		case o.err != nil:
			return ErrRange
		}
		if err := o.more(ctx); err != nil {
			return err
		}
	}
}

// more reads the next chunk, for a reader that has come to the end.
func (o *once) more(ctx context.Context) error {
	if !o.reading {
		o.reading = true
		go func() {
			buf := make([]byte, onceChunk)
			n, err := o.from.Read(buf)
			o.chunks <- onceRead{buf[:n], err}
		}()
	}
	select {
	case c := <-o.chunks:
		o.reading, o.err = false, c.err
		if o.end()+int64(len(c.raw)) > onceKept {
			o.start, o.kept = o.end(), nil
		}
		o.kept = append(o.kept, c.raw...)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type onceReader struct {
	*once
	ctx context.Context
	at  int64
}

func (r *onceReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at == r.end() {
		if r.err != nil {
			return 0, r.err
		}
		if err := r.more(r.ctx); err != nil {
			return 0, err
		}
	}
	if err := r.reach(r.ctx, r.at); err != nil {
		return 0, err // another reader went on
	}
	n := copy(p, r.kept[r.at-r.start:])
	r.at += int64(n)
	return n, nil
}

// Close ends nothing: what is read from belongs to somebody else.
func (r *onceReader) Close() error { return nil }
