// Package interop tests stet against registries that others wrote: CNCF
// Distribution, olareg, go-containerregistry's and cuelabs' in this process,
// and Debian's docker-registry as a process of its own. It has no code beside
// tests, and a go.mod of its own, so that none of them is a dependency of stet.
//
// docker-registry is not a Go module. Where it is not installed its tests skip;
// with CI=true or STET_REQUIRE_REGISTRIES=1 they fail instead.
package interop
