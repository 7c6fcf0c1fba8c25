//go:build !windows

package local

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the whole file for who opened it, without waiting. The lock
// belongs to the open file and not to the process, so that two handles in one
// process see each other's. It ends when the file is closed or the process
// dies, so that kill -9 leaves no stale lock.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	}
	return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
}
