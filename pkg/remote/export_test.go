package remote

import (
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// SettleSoon makes a store wait hardly at all for other writers of a referrers
// list: for tests in which there are none.
func SettleSoon(s store.Store) { s.(*repository).settle = time.Millisecond }
