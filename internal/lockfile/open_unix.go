//go:build !windows

package lockfile

import "syscall"

// What opens a file that has to be one: a link is not followed, and a pipe that has come
// in between is not waited for.
const (
	NoFollow = syscall.O_NOFOLLOW
	NoWait   = syscall.O_NONBLOCK
)
