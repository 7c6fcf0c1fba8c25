package serve

import (
	"errors"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// Whatever a client asks for, it is a part of the content, or ErrRange.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-4", "bytes=-5", "bytes=3-", "bytes=9-1", "bytes=0-9223372036854775807", "bytes=-0", "bytes=0-1,3-4", "lines=0-1"} {
		f.Add(s, int64(5))
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		part, err := parseRange(field, size)
		if err != nil && !errors.Is(err, store.ErrRange) {
			t.Fatalf("%v is not ErrRange", err)
		}
		if part.from < 0 || part.to < part.from || part.to > size {
			t.Fatalf("%q of %d bytes: %d to %d", field, size, part.from, part.to)
		}
	})
}
