package interop

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

// TestStore holds pkg/remote to the suite of all stores over each registry.
// Each test has a repository of its own, and a registry where that matters.
func TestStore(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host := reg.start(t)
		var n atomic.Int64
		storetest.RunWith(t, func(t *testing.T) store.Store {
			host := host
			if reg.oneHome {
				host = reg.start(t)
			}
			ref := store.Ref{Scheme: store.SchemeRegistry, Host: host, Repo: fmt.Sprintf("suite/r%03d", n.Add(1))}
			s, err := remote.Open(ref, remote.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, reg.limits)
	})
}
