package store

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Scheme says which sort of store a Ref names.
type Scheme string

// The sorts of stores.
const (
	SchemeRegistry Scheme = "registry"
	SchemeLayout   Scheme = "oci-layout"
	SchemeArchive  Scheme = "oci-archive"
)

// Ref names a store and what is meant in it:
//
//	HOST[:PORT]/REPO[:TAG[,TAG…]][@DIGEST]   a repository of a registry
//	oci:DIR[:TAG[,TAG…]][@DIGEST]            an OCI image layout in a directory
//	tar:FILE[:TAG[,TAG…]][@DIGEST]           an OCI image layout in a tar archive
//
// A digest decides over a tag beside it; several tags with a digest contradict
// each other. Repository and tag follow the distribution-spec ("Pulling
// manifests"); in layouts a tag is any value of org.opencontainers.image.ref.name.
type Ref struct {
	Scheme Scheme
	Host   string // registry: host[:port]
	Repo   string // registry: repository name
	Path   string // layout, archive: a path of the file system
	Tags   []string
	Digest digest.Digest
}

// RefError says which reference is wrong, and how. It is ErrBadReference.
type RefError struct {
	Ref, Reason string
}

func (e *RefError) Error() string { return fmt.Sprintf("invalid reference %q: %s", e.Ref, e.Reason) }

// Unwrap makes the error an ErrBadReference.
func (e *RefError) Unwrap() error { return ErrBadReference }

var tagGrammar = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// ParseRef reads a reference in any of the three forms of Ref.
func ParseRef(s string) (Ref, error) {
	if path, ok := strings.CutPrefix(s, "oci:"); ok {
		return parsePath(s, SchemeLayout, path)
	}
	if path, ok := strings.CutPrefix(s, "tar:"); ok {
		return parsePath(s, SchemeArchive, path)
	}
	ref, err := parseRegistry(s)
	if name, _, _, bad := splitRef(s, s, layoutTag); err != nil && bad == nil && strings.HasSuffix(name, ".tar") {
		err = &RefError{s, "a tar is named with tar: before it, as in tar:" + s}
	}
	return ref, err
}

// ParsePath reads PATH[:TAG[,TAG…]][@DIGEST] as a layout or archive, which is
// how ORAS's --oci-layout spells it.
func ParsePath(s string, scheme Scheme) (Ref, error) { return parsePath(s, scheme, s) }

// ParseHost checks HOST[:PORT] alone, as login and repo ls take it.
func ParseHost(s string) (string, error) {
	ref, err := parseRegistry(s + "/x")
	if err != nil || ref.Host != s {
		return "", &RefError{s, "not a registry host, such as reg.example.com or localhost:5000"}
	}
	return s, nil
}

func parseRegistry(s string) (Ref, error) {
	name, tags, dgst, err := splitRef(s, s, tagGrammar.MatchString)
	if err != nil {
		return Ref{}, err
	}
	if scheme, rest, found := strings.Cut(s, "://"); found {
		return Ref{}, &RefError{s, fmt.Sprintf("a scheme such as %s:// does not belong here; write %s", scheme, strings.TrimLeft(rest, "/"))}
	}
	host, repo, found := strings.Cut(name, "/")
	if !found && dgst == "" && isHost(s) {
		return Ref{}, &RefError{s, "the repository is missing, as in " + s + "/app"}
	}
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return Ref{}, &RefError{s, "it must begin with a registry host, as in reg.example.com/" + name + "; a layout in a directory is oci:" + s}
	}
	if strings.ToLower(repo) != repo {
		return Ref{}, &RefError{s, "a repository name is lower case"}
	}
	named, err := reference.Parse(name)
	if err != nil {
		return Ref{}, &RefError{s, fmt.Sprintf("%q is not HOST[:PORT]/REPOSITORY", name)}
	}
	if n, ok := named.(reference.Named); !ok || reference.Domain(n) != host || reference.Path(n) != repo {
		return Ref{}, &RefError{s, fmt.Sprintf("%q is not HOST[:PORT]/REPOSITORY", name)}
	}
	if _, port, ok := cutPort(host); ok {
		if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
			return Ref{}, &RefError{s, fmt.Sprintf("%s is not a port", port)}
		}
	}
	return Ref{Scheme: SchemeRegistry, Host: host, Repo: repo, Tags: tags, Digest: dgst}, nil
}

// isHost tells HOST[:PORT], which people write for all that a registry has, from
// a repository without a host, such as alpine:3 or app:2024.
func isHost(s string) bool {
	name, port, _ := cutPort(s)
	if _, err := ParseHost(s); err != nil {
		return false
	}
	return name == "localhost" || strings.Contains(name, ".") || len(port) > len("2024")
}

func parsePath(whole string, scheme Scheme, s string) (Ref, error) {
	if scheme, isURL := strings.CutSuffix(whole, ":"+s); isURL && strings.HasPrefix(s, "//") {
		// Helm and Flux spell a repository of a registry so; nothing may be written
		// into the root directory for it.
		rest := strings.TrimLeft(s, "/")
		return Ref{}, &RefError{whole, fmt.Sprintf("%s:// is no scheme: write %s for a repository of a registry, %s:/%s for a path", scheme, rest, scheme, rest)}
	}
	path, tags, dgst, err := splitRef(whole, s, layoutTag)
	if err != nil {
		return Ref{}, err
	}
	if path == "" {
		return Ref{}, &RefError{whole, "the path is missing"}
	}
	return Ref{Scheme: scheme, Path: path, Tags: tags, Digest: dgst}, nil
}

// layoutTag tells a ref name from the rest of a path: oci:a:b/c and oci:C:\dir
// are paths without a tag. Ref names with slashes are given by WithTags.
func layoutTag(s string) bool { return s != "" && !strings.ContainsAny(s, `/\`) }

// splitRef takes the digest and the tags off the end of s; whole is for errors.
func splitRef(whole, s string, isTag func(string) bool) (name string, tags []string, dgst digest.Digest, err error) {
	name, after, hasDigest := cutLast(s, "@")
	if strings.ContainsAny(after, `/\`) {
		name, hasDigest = s, false // the @ belongs to a path
	}
	if hasDigest {
		dgst = digest.Digest(after)
		if err := dgst.Validate(); err != nil {
			return "", nil, "", &RefError{whole, fmt.Sprintf("%q is not a digest: %v", after, err)}
		}
	}
	base, list, hasTag := cutLast(name, ":")
	if !hasTag || strings.ContainsAny(list, `/\`) {
		return name, nil, dgst, nil // the colon belongs to a port or a path
	}
	tags = strings.Split(list, ",")
	for i, t := range tags {
		if !isTag(t) {
			return "", nil, "", &RefError{whole, fmt.Sprintf("%q is not a tag", t)}
		}
		if slices.Contains(tags[:i], t) {
			return "", nil, "", &RefError{whole, fmt.Sprintf("the tag %q stands twice", t)}
		}
	}
	if hasDigest && len(tags) > 1 {
		return "", nil, "", &RefError{whole, "several tags and a digest contradict each other"}
	}
	return base, tags, dgst, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func cutPort(host string) (name, port string, ok bool) {
	if strings.HasSuffix(host, "]") {
		return host, "", false
	}
	return cutLast(host, ":")
}

// IsDigest tells a digest from a tag: tags have no colon.
func IsDigest(ref string) bool {
	return strings.Contains(ref, ":") && digest.Digest(ref).Validate() == nil
}

// Name is the store without tag or digest, in the form that ParseRef reads.
func (r Ref) Name() string {
	switch r.Scheme {
	case SchemeLayout:
		return "oci:" + r.Path
	case SchemeArchive:
		return "tar:" + r.Path
	}
	return r.Host + "/" + r.Repo
}

// Display is the store without tag or digest as people are shown it beside
// "[registry]" or "[oci-layout]": a path stands without its prefix.
func (r Ref) Display() string {
	if r.Scheme == SchemeRegistry {
		return r.Name()
	}
	return r.Path
}

// Reference is what to ask the store for: the digest, else the first tag, else "".
func (r Ref) Reference() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	if len(r.Tags) > 0 {
		return r.Tags[0]
	}
	return ""
}

// String is the reference in the form that ParseRef reads.
func (r Ref) String() string { return r.Name() + r.suffix() }

func (r Ref) suffix() string {
	s := ""
	if len(r.Tags) > 0 {
		s = ":" + strings.Join(r.Tags, ",")
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// WithTags is the same store with these tags and no digest.
func (r Ref) WithTags(tags ...string) Ref {
	r.Tags, r.Digest = tags, ""
	return r
}

// WithDigest is the same store with this digest and no tag.
func (r Ref) WithDigest(d digest.Digest) Ref {
	r.Tags, r.Digest = nil, d
	return r
}
