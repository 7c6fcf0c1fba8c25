package local

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the file for who opened it, without waiting. The lock ends
// when the file is closed or the process dies. Windows locks keep others from
// reading, and the file becomes a blob while it is locked, so it covers one
// byte far behind the content.
func tryLock(f *os.File) (bool, error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	}
	return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}
