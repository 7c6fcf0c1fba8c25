package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stet-oci/stet/internal/lockfile"
	"github.com/stet-oci/stet/pkg/store"
)

// The names that stet adds to a layout. image-layout.md knows only oci-layout,
// index.json and blobs/, and tools pass over everything else, dot files first
// of all. The lock file stays where it is: to remove a file that others wait
// for would let two of them in.
const (
	workDir  = ".stet"
	lockFile = workDir + "/lock"
)

// DefaultLockWait is how long a change waits for other processes that write
// the same layout.
const DefaultLockWait = 30 * time.Second

// lockPoll is how often a held lock is tried again: a change of index.json
// takes a few milliseconds.
const lockPoll = 5 * time.Millisecond

// lock keeps other goroutines and processes from index.json until unlock is
// called. It is ErrLocked when they do not let go in time.
func (l *layout) lock(ctx context.Context, root *os.Root) (unlock func(), err error) {
	return l.lockUntil(ctx, root, nil)
}

// lockUntil is lock that gives up, with no unlock and no error, when done closes
// while another goroutine holds the lock.
func (l *layout) lockUntil(ctx context.Context, root *os.Root, done <-chan struct{}) (unlock func(), err error) {
	bound, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	select {
	case l.busy <- struct{}{}:
	case <-done:
		return nil, nil
	case <-bound.Done():
		return nil, l.notLocked(ctx)
	}
	defer func() {
		if err != nil {
			<-l.busy
		}
	}()
	select {
	case <-done: // just before the lock was free
		<-l.busy
		return nil, nil
	default:
	}
	lock, err := lockfile.There(filepath.Join(l.dir, filepath.FromSlash(lockFile)))
	if err != nil {
		return nil, err
	}
	made, err := makeLock(root)
	if err != nil {
		return nil, err
	}
	switch ok, err := lock.TryLockContext(bound, lockPoll); {
	case bound.Err() != nil && !ok:
		return nil, l.notLocked(ctx)
	case err != nil:
		return nil, err
	}
	// It was opened by its path, which may lead elsewhere by now.
	if taken, err := lock.Stat(); err != nil || !os.SameFile(made, taken) {
		return nil, errors.Join(fmt.Errorf("%w: %s is not a file of the layout", store.ErrInvalid, lock.Path()), err, lock.Close())
	}
	return func() {
		_ = lock.Close()
		<-l.busy
	}, nil
}

func (l *layout) notLocked(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: another process did not let go of %s within %v",
		store.ErrLocked, filepath.Join(l.dir, filepath.FromSlash(lockFile)), l.wait)
}

// makeLock makes the lock file where it is not there, inside the layout, and gives what
// is there.
func makeLock(root *os.Root) (fs.FileInfo, error) {
	f, err := inWorkDir(root, func() (*os.File, error) {
		return root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR|lockfile.NoWait, 0o666)
	})
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return info, errors.Join(err, f.Close())
}
