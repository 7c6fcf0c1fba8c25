//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// checkOwner wants that a file belongs to who made it.
func checkOwner(t *testing.T, info fs.FileInfo) {
	t.Helper()
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
		t.Errorf("%s belongs to %d", info.Name(), st.Uid)
	}
}
