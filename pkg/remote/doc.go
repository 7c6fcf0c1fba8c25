// Package remote opens repositories of OCI registries as stores: it speaks the
// distribution-spec over HTTP.
//
// Its upper half turns the methods of store.Store into requests of internal/wire:
// remote.go, manifest.go, list.go, tags.go, referrers.go and delete.go; probe*.go
// find out what a registry can do. Blobs come down by download.go, in ranges by
// ranges.go. They go up by upload.go, and there
//
//	ask.go      decides whether a small blob is asked for or sent at once
//	mount.go    has the registry link what another of its repositories has
//	stream.go   takes content whose digest is learnt by sending it
//	patch.go    sends a large blob by PATCH, and goes on with it where it broke off
//	chunks.go   chooses between one request and several
//	journal.go  notes uploads under way for the process that comes after
//	hashing.go  hashes what is sent, so that the hash can go on as well
//	homes.go    knows which repositories have which blobs
//	claims.go   looks after what the registry says that it mounted
//
// Its lower half sends the requests, through a stack of http.RoundTrippers in
// which each layer knows one thing:
//
//	auth      signs in: one request learns how, and a 401 is answered once
//	retry     sends again what another try may help
//	redirect  follows redirects that keep the request as it is
//	origin    gives credentials, custom headers and the client certificate to
//	          the registry's own scheme, host and port, and to nobody else
//	pace      holds requests back: so many at once, so many a second
//	limit     ends a connection that is silent for too long; longer while a blob is stored
//	trace     writes the log of requests, without secrets
//	net/http  sends
//
// A token server is asked through the same stack without auth and redirect.
// What leaves the package as an error wraps a sentinel of pkg/store; a refusal
// is an *Error with the registry's own codes.
//
// The package is no HTTP client for other purposes, renders nothing, and reads
// no environment but what net/http reads for proxies: paths of credential
// files, certificates and the cache come in as options.
package remote
