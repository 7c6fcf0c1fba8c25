package remote

import (
	"context"
	"net"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// SettleSoon makes a store wait hardly at all for other writers of a referrers
// list: for tests in which there are none.
func SettleSoon(s store.Store) { s.(*repository).settle = time.Millisecond }

// Dial makes a store reach its registry by dial.
func Dial(s store.Store, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	for _, t := range s.(*repository).client.transports {
		t.DialContext = dial
	}
}
