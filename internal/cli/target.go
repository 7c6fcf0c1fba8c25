package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// targetFlags say which store an argument means and how to reach it.
type targetFlags struct {
	remoteFlags
	layout           bool
	layoutPath       string
	distributionSpec string
	chunkSize        string
	noCache          bool
	sends            bool // the command sends blobs
	progress         *progressFlags
	blobsAlone       bool // the command puts blobs that belong to no manifest

	actions   []string // what the command does to the repository, for the token
	mountFrom []string // repositories of the same registry that it may mount from

	connections int // opened to a registry at once; 0 is one
}

// several connections are opened at once by commands that move several blobs.
const several = 4

// What commands do to a repository: a token is asked for once, with all of it.
var (
	toPush   = []string{"pull", "push"}
	toDelete = []string{"pull", "delete"}
)

// register adds the flags, and completes the arguments that they are about;
// withSpec adds --distribution-spec, for commands that read or write referrers.
func (t *targetFlags) register(a *app, cmd *cobra.Command, progress *progressFlags, withSpec bool) {
	fs, p := cmd.Flags(), t.prefix
	t.progress = progress
	a.completeArgs(cmd, t)
	t.remoteFlags.register(fs)
	progress.patience.register(cmd)
	fs.BoolVar(&t.layout, p+"oci-layout", false, "the reference is DIR[:TAG|@DIGEST], an OCI image layout, or a tar with one")
	fs.StringVar(&t.layoutPath, p+"oci-layout-path", "", "`DIR` or tar of the OCI image layout; the reference is then a whole name in it")
	cmd.MarkFlagsMutuallyExclusive(p+"oci-layout", p+"oci-layout-path")
	if withSpec {
		fs.StringVar(&t.distributionSpec, p+"distribution-spec", "", "keep referrers in this `WAY` and no other: v1.1-referrers-api or v1.1-referrers-tag")
		complete(cmd, p+"distribution-spec", string(remote.ReferrersAPI), string(remote.ReferrersTag))
	}
}

// registerChunks adds --chunk-size and --no-cache, for commands that send blobs.
func (t *targetFlags) registerChunks(cmd *cobra.Command) {
	t.sends = true
	cmd.Flags().BoolVar(&t.noCache, "no-cache", false, "do not go on with uploads that broke off, nor remember where blobs are")
	cmd.Flags().StringVar(&t.chunkSize, "chunk-size", "", "send blobs in chunks of this `SIZE`, such as 16MiB, and in no other way")
}

// pushes says that dst will be written to with what src has, which a registry can
// mount where both are on it.
func (t *targetFlags) pushes(src, dst store.Ref) {
	t.actions = toPush
	if src.Scheme == store.SchemeRegistry && src.Host == dst.Host && src.Repo != dst.Repo {
		t.mountFrom = []string{src.Repo}
	}
}

// parse reads an argument as the flags say: ORAS's layout flags become the Ref
// that oci:DIR would be.
func (t *targetFlags) parse(arg string) (store.Ref, error) {
	switch {
	case t.layoutPath != "":
		return store.Ref{Scheme: layoutScheme(t.layoutPath), Path: t.layoutPath, Tags: []string{arg}}, nil
	case t.layout:
		ref, err := store.ParsePath(arg, store.SchemeLayout)
		if err == nil {
			ref.Scheme = layoutScheme(ref.Path)
		}
		return ref, err
	}
	return store.ParseRef(arg)
}

// layoutScheme is what ORAS's layout flags mean by a path: a tar where a file is
// there, else a directory.
func layoutScheme(path string) store.Scheme {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return store.SchemeArchive
	}
	return store.SchemeLayout
}

// isDirectory is an error where a file is named as the directory of a layout.
func isDirectory(ref store.Ref, typed string) error {
	if ref.Scheme != store.SchemeLayout || layoutScheme(ref.Path) == store.SchemeLayout {
		return nil
	}
	tar := ref
	tar.Scheme = store.SchemeArchive
	return &store.RefError{Ref: typed, Reason: ref.Path + " is a file; a tar is named " + tar.String()}
}

// named is parse for a command that reads what arg names: a tag or digest has
// to be there. verb is for the error.
func (t *targetFlags) named(verb, arg string) (store.Ref, error) {
	ref, err := t.parse(arg)
	if err == nil {
		err = require(ref)
	}
	return ref, cannot(verb, ref, err)
}

// open opens the store of ref. It is the one place where stores are stacked.
// What is read is proven: manifests here, blobs by what takes them (PutBlob of
// every store, artifact.Unpack, store.ReadBlob), so that they are hashed once.
func (a *app) open(ref store.Ref, t *targetFlags, sink store.Sink) (store.Store, error) {
	if ref.Scheme != store.SchemeRegistry && len(t.headers) > 0 {
		return nil, fmt.Errorf("%w: --%sheader is for registries", store.ErrUsage, t.prefix)
	}
	if err := isDirectory(ref, ref.String()); err != nil {
		return nil, err
	}
	var s store.Store
	var err error
	switch ref.Scheme {
	case store.SchemeLayout:
		s, err = local.OpenLayout(ref.Path, local.LayoutOptions{})
	case store.SchemeRegistry:
		s, err = a.openRemote(ref, t, sink)
	case store.SchemeArchive:
		s, err = local.OpenArchive(ref.Path, local.LayoutOptions{KeepBlobs: t.blobsAlone})
	}
	if err != nil {
		return nil, err
	}
	return store.VerifyManifests(s), nil
}

// within opens the store of ref for do, and closes it: some stores are written
// only then.
func (a *app) within(ref store.Ref, t *targetFlags, sink store.Sink, do func(store.Store) error) (err error) {
	s, err := a.open(ref, t, sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s)
}

// openRegistry opens all repositories of a host, or of a directory or tar in
// which each repository is a layout.
func (a *app) openRegistry(ref store.Ref, t *targetFlags, sink store.Sink) (store.Registry, error) {
	if err := isDirectory(ref, ref.String()); err != nil {
		return nil, err
	}
	switch ref.Scheme {
	case store.SchemeLayout:
		return local.OpenLayouts(ref.Path, local.LayoutOptions{})
	case store.SchemeArchive:
		return local.OpenArchives(ref.Path, local.LayoutOptions{})
	}
	opts, err := t.remoteOptions(a, sink)
	if err != nil {
		return nil, err
	}
	return remote.OpenRegistry(ref.Host, opts)
}

func (a *app) openRemote(ref store.Ref, t *targetFlags, sink store.Sink) (store.Store, error) {
	opts, err := t.remoteOptions(a, sink)
	if err != nil {
		return nil, err
	}
	return remote.Open(ref, opts)
}

func (t *targetFlags) remoteOptions(a *app, sink store.Sink) (remote.Options, error) {
	opts, err := t.options(a)
	if err != nil {
		return opts, err
	}
	switch mode := remote.ReferrersMode(t.distributionSpec); mode {
	case remote.ReferrersAuto, remote.ReferrersAPI, remote.ReferrersTag:
		opts.Referrers = mode
	default:
		return opts, fmt.Errorf("%w: --%sdistribution-spec is %s or %s", store.ErrUsage, t.prefix, remote.ReferrersAPI, remote.ReferrersTag)
	}
	if t.chunkSize != "" {
		if opts.ChunkSize, err = units.RAMInBytes(t.chunkSize); err != nil || opts.ChunkSize <= 0 {
			return opts, fmt.Errorf("%w: --chunk-size %q is not a size such as 16MiB", store.ErrUsage, t.chunkSize)
		}
	}
	if err := t.progress.patience.apply(a, &opts); err != nil {
		return opts, err
	}
	opts.Actions, opts.MountFrom, opts.Connections = t.actions, t.mountFrom, t.connections
	if t.sends && !t.noCache {
		opts.CacheDir = a.cacheDir()
	}
	opts.Events = sink
	if t.progress.debug {
		opts.Trace = a.streams.Err
	}
	return opts, nil
}

// credentialFiles are where credentials lie: the files given, else the one that
// $REGISTRY_AUTH_FILE names, else docker's and then Podman's.
func (a *app) credentialFiles(given []string) (*remote.Files, error) {
	paths := given
	if len(paths) == 0 {
		if f := a.getenv("REGISTRY_AUTH_FILE"); f != "" {
			paths = []string{f}
		} else {
			paths = append(paths, a.dockerConfig())
			paths = append(paths, a.podmanAuth()...)
		}
	}
	return remote.LoadFiles(remote.FilesOptions{Paths: paths, AuthConfig: a.getenv("DOCKER_AUTH_CONFIG")})
}

func (a *app) home() string {
	if h := a.getenv("HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return string(filepath.Separator) // as docker does where nobody has a home
	}
	return h
}

func (a *app) dockerConfig() string {
	if dir := a.getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	return filepath.Join(a.home(), ".docker", "config.json")
}

// podmanAuth are the files of containers-auth.json(5) that are only read.
func (a *app) podmanAuth() []string {
	var paths []string
	if runtime.GOOS == "linux" {
		if dir := a.getenv("XDG_RUNTIME_DIR"); dir != "" {
			paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
		} else {
			paths = append(paths, fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid()))
		}
	}
	config := a.getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(a.home(), ".config")
	}
	return append(paths, filepath.Join(config, "containers", "auth.json"))
}

// certDirs are the directories that hold certificates per registry host, as
// docker and containers-certs.d(5) have them.
func (a *app) certDirs() []string {
	if runtime.GOOS == "windows" {
		return nil
	}
	config := a.getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(a.home(), ".config")
	}
	return []string{filepath.Join(config, "containers", "certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"}
}

// require is ErrBadReference unless ref names a manifest.
func require(ref store.Ref) error {
	if ref.Reference() == "" {
		return &store.RefError{Ref: ref.String(), Reason: "a tag or digest is missing"}
	}
	if len(ref.Tags) > 1 {
		return &store.RefError{Ref: ref.String(), Reason: "only one tag can be read"}
	}
	return nil
}
