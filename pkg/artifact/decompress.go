package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/stet-oci/stet/pkg/store"
)

// Decompress writes to w what r holds: gzip and zstd decompressed, anything
// else as it is. It stops with ErrTooLarge after DefaultMaxUnpacked bytes; what
// is no whole gzip or zstd is ErrInvalid.
func Decompress(w io.Writer, r io.Reader) error {
	plain, err := newDecompressor(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	limited := &limitedReader{ctx: context.Background(), r: plain, left: DefaultMaxUnpacked, limit: DefaultMaxUnpacked}
	// struct{ io.Reader } hides WriteTo, which would go round the limit.
	_, err = io.CopyBuffer(w, struct{ io.Reader }{limited}, make([]byte, copyBuffer))
	if err != nil && !errors.Is(err, store.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return err
}
