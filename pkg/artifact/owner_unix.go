//go:build unix

package artifact

import (
	"io/fs"
	"os"
	"syscall"
)

// isOurs says whether nobody else has a hold on a file that was there before:
// it is this user's, and has no other name. Another account that owned it, or
// knew it by another name, could change it after it was proven.
func isOurs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1 && isMine(info)
}

// isMine says whether a file is this user's. It may have other names: who only reads
// it does no harm to them, and packed directories have hard links.
func isMine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
