package remote

import (
	"context"
	"net"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// SettleSoon makes a store wait hardly at all for other writers of a referrers
// list, and take any time for its own work: for tests in which there are none.
func SettleSoon(s store.Store) {
	r := s.(*repository)
	r.settle, r.fresh = time.Millisecond, time.Hour
}

// Dial makes a store reach its registry by dial, also ahead of need.
func Dial(s store.Store, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	for _, w := range s.(*repository).client.warm {
		w.dial = dial
	}
}
