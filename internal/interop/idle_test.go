package interop

import (
	"os"
	"testing"
)

// needsIdle skips a test whose faults last for fixed times, so that a machine
// which is busy with something else makes it fail: `make faults` runs those.
func needsIdle(t *testing.T) {
	t.Helper()
	if os.Getenv("STET_FAULTS") == "" {
		t.Skip("it needs a machine that does nothing else: make faults")
	}
}
