package cli

import (
	"fmt"
	"strconv"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

// unpackLimits bound what a packed directory may become on the disk: its author
// decides how far a few bytes unpack.
type unpackLimits struct {
	size    string
	entries int
}

func (l *unpackLimits) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&l.size, "max-unpacked", "", fmt.Sprintf("unpack no directory of more than this `SIZE`, such as 10GiB; 0 is no limit (default %s)", units.BytesSize(float64(artifact.DefaultMaxUnpacked))))
	fs.IntVar(&l.entries, "max-entries", artifact.DefaultMaxEntries, "unpack no directory of more than `N` files and directories; 0 is no limit")
}

// apply fills them into the options of Unpack, where below 0 is no limit.
func (l *unpackLimits) apply(o *artifact.UnpackOptions) error {
	if l.entries < 0 {
		return fmt.Errorf("%w: --max-entries %d is below 0", store.ErrUsage, l.entries)
	}
	if o.MaxEntries = l.entries; l.entries == 0 {
		o.MaxEntries = -1
	}
	if l.size == "" {
		return nil
	}
	n, err := units.RAMInBytes(l.size)
	if err != nil || n < 0 {
		return fmt.Errorf("%w: --max-unpacked %s is no size such as 10GiB", store.ErrUsage, strconv.Quote(l.size))
	}
	if o.MaxUnpacked = n; n == 0 {
		o.MaxUnpacked = -1
	}
	return nil
}
