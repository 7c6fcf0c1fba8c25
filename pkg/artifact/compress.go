package artifact

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/stet-oci/stet/pkg/store"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is how the tar of a directory is compressed.
type Compression string

// The ways to compress.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"

	// DefaultCompression is what every OCI and ORAS client unpacks.
	DefaultCompression = Gzip
)

// The parameters that the compressed bytes depend on. Changing one, or the
// version of the compressor, changes the digest of every directory: the golden
// digests of the tests hold them.
const (
	gzipLevel  = 6
	gzipBlock  = 256 << 10 // each block is compressed alone, with the end of the one before as dictionary
	gzipAhead  = 16        // blocks in work at most; the bytes do not depend on it, memory does
	zstdLevel  = zstd.SpeedDefault
	zstdWindow = 2 << 20

	maxZstdWindow = 128 << 20 // what is read: zstd's own limit for --long=27
)

// ParseCompression reads a value of --compress. It is ErrUsage for other words.
func ParseCompression(s string) (Compression, error) {
	switch c := Compression(s); c {
	case Gzip, Zstd, None:
		return c, nil
	}
	return "", fmt.Errorf("%w: compression %q: it is one of gzip, zstd, none", store.ErrUsage, s)
}

// MediaType is the media type of a tar compressed so (image-spec layer.md).
func (c Compression) MediaType() string {
	switch c {
	case Zstd:
		return ocispec.MediaTypeImageLayerZstd
	case None:
		return ocispec.MediaTypeImageLayer
	}
	return ocispec.MediaTypeImageLayerGzip
}

// compressionOf settles compression and media type of a directory; either
// may be "". A suffix of the type that says something else is ErrUsage.
func compressionOf(c Compression, mediaType string) (Compression, string, error) {
	var said Compression
	switch {
	case strings.HasSuffix(mediaType, "+gzip"):
		said = Gzip
	case strings.HasSuffix(mediaType, "+zstd"):
		said = Zstd
	}
	switch {
	case c == "" && said != "":
		c = said
	case c == "":
		c = DefaultCompression
	case said != "" && said != c:
		return "", "", fmt.Errorf("%w: media type %s contradicts the compression %s", store.ErrUsage, mediaType, c)
	}
	return c, orElse(mediaType, c.MediaType()), nil
}

// newCompressor writes to w the same bytes for the same data, whatever the
// number of cores and the sizes of the writes.
func newCompressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case None:
		return nopCloser{w}, nil
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstdLevel), zstd.WithWindowSize(zstdWindow),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	}
	z, err := pgzip.NewWriterLevel(w, gzipLevel)
	if err != nil {
		return nil, err
	}
	// The header has no name and the system "unknown" by pgzip's defaults, and
	// no time by this: Go's zero time is not that of RFC 1952 section 2.3.1.
	z.ModTime = time.Unix(0, 0)
	return z, z.SetConcurrency(gzipBlock, min(runtime.GOMAXPROCS(0), gzipAhead))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// newDecompressor reads what r holds: gzip, zstd or plain, told by its first
// bytes, because media types are often wrong about it.
func newDecompressor(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && len(magic) == 0 && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", store.ErrInvalid, err)
		}
		return z, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", store.ErrInvalid, err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}
