package remote

import (
	"io"
	"net/http"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// Options say how to talk to a registry. The zero value is anonymous https
// with the defaults named below.
type Options struct {
	// PlainHTTP: nil chooses http for localhost and https elsewhere.
	PlainHTTP *bool
	// Insecure takes any TLS certificate.
	Insecure bool
	// CAFile holds PEM certificates that are trusted beside the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate; both or none.
	CertFile, KeyFile string
	// CertDirs are certs.d directories: the first that has a directory named
	// after the registry, host[:port], gives its X.crt as CAs and X.cert with
	// X.key as client certificate. CAFile and CertFile come before them.
	CertDirs []string
	// Resolve sends connections for "host:port" to "address:port".
	Resolve map[string]string
	// Header is sent with every request to the registry's own origin, and nowhere else.
	Header http.Header
	// UserAgent names the program.
	UserAgent string

	// Credentials finds user names and passwords; nil is anonymous.
	Credentials Credentials

	// Actions are what will be done to the repository, of pull, push and delete,
	// and MountFrom the repositories of the registry that blobs may be mounted
	// from: the first token is asked for with all of it. Nothing is to ask for
	// what each request needs.
	Actions   []string
	MountFrom []string

	// Referrers pins the way in which referrers are kept.
	Referrers ReferrersMode

	// Connections is how many are opened to the registry at once when the first
	// is: who is about to send or fetch several blobs saves a round trip. 0 is one.
	Connections int
	// Pace decides when requests are sent. Clients that share one are bounded
	// together; nil is one of its own, which adapts.
	Pace *Pace
	// Retries is how often a request is sent again, and MaxWait how long all
	// waiting without progress may take; 0 is DefaultRetries, DefaultMaxWait,
	// below 0 is never.
	Retries int
	MaxWait time.Duration
	// Stall is how long a connection may be silent; 0 is DefaultStall, below 0
	// is for ever.
	Stall time.Duration
	// Commit is how long a registry may be silent once it has all of what it
	// has to store, if that is longer than Stall; 0 is DefaultCommit, below 0 is
	// for ever.
	Commit time.Duration
	// ChunkSize sends blobs of more bytes in chunks of this many, and in no
	// other way; 0 sends one request, and chunks only where that is too large.
	ChunkSize int64
	// MaxManifest bounds a manifest, index, page of referrers or token in bytes; 0 is DefaultMaxManifest.
	MaxManifest int64

	// CacheDir is a directory for what makes later uploads cheaper: uploads that
	// broke off, and which repositories have which blobs. What is in it may be lost
	// or wrong. "" is none.
	CacheDir string

	// Events hears of fallbacks, retries and warnings.
	Events store.Sink
	// Trace gets a log of all requests and answers without secrets; nil for none.
	Trace io.Writer
	// Collect is called now and then while a large blob is read in ranges, by who
	// reads it; nil is not. It is for programs that want little memory, and run the
	// garbage collector there: to that the buffers of a client are memory in use,
	// beside which it lets as much garbage gather before it runs by itself.
	Collect func()
	// Now is the clock of token and retry times; nil is time.Now.
	Now func() time.Time
}

// The defaults of Options.
const (
	DefaultRetries           = 5
	DefaultMaxWait           = 5 * time.Minute
	DefaultStall             = 60 * time.Second
	DefaultCommit            = 10 * time.Minute // a registry hashes and moves the whole blob before it answers
	DefaultMaxManifest int64 = 4 << 20          // distribution-spec "Pushing manifests": registries SHOULD take 4 MiB
)

// ReferrersMode is how referrers are listed and recorded.
type ReferrersMode string

// The modes. Auto takes the API where the registry has it.
const (
	ReferrersAuto ReferrersMode = ""
	ReferrersAPI  ReferrersMode = "v1.1-referrers-api"
	ReferrersTag  ReferrersMode = "v1.1-referrers-tag"
)

// Timeouts and sizes that nobody needs to set.
const (
	smallBlob = 1 << 20 // up to here a blob is sent from memory, without asking whether it is there
)
