package serve

import (
	"time"
)

// Options say how a registry is served. The zero value is an open registry
// that follows the distribution-spec in everything.
type Options struct {
	// Quirks are the limits of real registries to imitate.
	Quirks Quirks

	// BlobsAt is scheme and host that the quirk RedirectBlobs leads to, such as
	// the URL of another listener of this Server; "" is the host that was asked.
	BlobsAt string

	// Basic asks for a user name and password, by user name. Bearer asks for
	// a token, and wins where both are set. nil asks for nothing.
	Basic  map[string]string
	Bearer *Bearer
	// Allow says what a user may do; the action is pull, push or delete, or
	// "*" on the catalog, whose repository is "". nil allows everything to
	// whoever is signed in.
	Allow func(user, repository, action string) bool

	// UploadIdle is how long an upload may wait for its next request before
	// it is dropped; 0 is DefaultUploadIdle.
	UploadIdle time.Duration
	// MaxUploads bounds the uploads that are open at once; 0 is DefaultMaxUploads.
	MaxUploads int

	// OnRequest hears of each request before its answer leaves, so that who
	// has the answer can rely on it. It is called by several goroutines at once.
	OnRequest func(method, uri string, status int)
	// OnError hears of what a store failed with, where the answer is a 5xx
	// that does not say more.
	OnError func(method, uri string, err error)

	// Now is the clock of tokens; nil is time.Now.
	Now func() time.Time
}

// The defaults of Options and Quirks.
const (
	DefaultUploadIdle        = time.Hour
	DefaultMaxUploads        = 1000
	DefaultTokenExpiry       = 5 * time.Minute
	DefaultMaxManifest int64 = 4 << 20 // distribution-spec "Pushing manifests": at least 4 megabytes
)

// Sizes that nobody needs to set.
const (
	maxPage      = 10000   // names in an answer; a client reads documents of 4 MiB
	maxPageBytes = 2 << 20 // bytes of descriptors in a page of referrers, for the same reason
	copyBuffer   = 128 << 10
	maxForm      = 64 << 10 // body of a request for a token
)

func (o Options) withDefaults() Options {
	if o.UploadIdle == 0 {
		o.UploadIdle = DefaultUploadIdle
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = DefaultMaxUploads
	}
	if o.Quirks.MaxManifest == 0 {
		o.Quirks.MaxManifest = DefaultMaxManifest
	}
	if o.Allow == nil {
		o.Allow = func(string, string, string) bool { return true }
	}
	if o.OnRequest == nil {
		o.OnRequest = func(string, string, int) {}
	}
	if o.OnError == nil {
		o.OnError = func(string, string, error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
