// Package remote opens repositories of OCI registries as stores: it speaks the
// distribution-spec over HTTP.
//
// Its upper half (remote.go, manifest.go, upload.go, download.go, list.go,
// referrers.go) turns the methods of store.Store into requests of
// internal/wire. Its lower half sends them, through a stack of
// http.RoundTrippers in which each layer knows one thing:
//
//	auth      signs in: one request learns how, and a 401 is answered once
//	retry     sends again what another try may help
//	redirect  follows redirects that keep the request as it is
//	origin    gives credentials, custom headers and the client certificate to
//	          the registry's own scheme, host and port, and to nobody else
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
