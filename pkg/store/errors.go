package store

import "errors"

// The sentinels. Every error that leaves a store is one of these in the sense
// of errors.Is, or has no class. internal/cli/explain.go gives each an exit
// code and a remedy.
var (
	// ErrBadReference: a reference that does not follow the grammar of Ref.
	ErrBadReference = errors.New("invalid reference")
	// ErrUsage: a request that contradicts itself or cannot be meant.
	ErrUsage = errors.New("invalid request")
	// ErrNotFound: no such manifest, blob, tag or repository.
	ErrNotFound = errors.New("not found")
	// ErrExists: something is in the way that must not be overwritten.
	ErrExists = errors.New("already exists")
	// ErrUnauthorized: not signed in, or the credentials are not accepted.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrDenied: signed in, or anonymous, and not allowed.
	ErrDenied = errors.New("denied")
	// ErrUnsupported: the store cannot do this at all.
	ErrUnsupported = errors.New("unsupported")
	// ErrKind: the store does not take this kind of manifest. Another kind
	// would be another digest, so nobody but the user may choose it.
	ErrKind = errors.New("the manifest kind is not taken")
	// ErrRefused: the store understood and will not take it.
	ErrRefused = errors.New("refused")
	// ErrMismatch: content is not what its digest or size says.
	ErrMismatch = errors.New("content does not match its digest")
	// ErrInvalid: a document from outside breaks its specification.
	ErrInvalid = errors.New("invalid document")
	// ErrPath: a title or an entry of a tar names a path outside of the
	// directory that it belongs to.
	ErrPath = errors.New("a path leads out of the directory")
	// ErrTooLarge: content is over a limit.
	ErrTooLarge = errors.New("too large")
	// ErrUnavailable: no answer, or one that is worth trying again later.
	ErrUnavailable = errors.New("unavailable")
	// ErrRange: an offset that is not within the content.
	ErrRange = errors.New("range not satisfiable")
	// ErrOnce: content that can be read only once would have to be read again.
	ErrOnce = errors.New("it can be read only once")
	// ErrConfig: a file of the user's own settings cannot be understood.
	ErrConfig = errors.New("invalid settings")
	// ErrLocked: another process holds the store and does not let go.
	ErrLocked = errors.New("locked")
	// ErrMoved: somebody else has changed what a tag names meanwhile.
	ErrMoved = errors.New("moved by somebody else")
	// ErrChanged: content changed while it was being read.
	ErrChanged = errors.New("changed while it was read")
)
