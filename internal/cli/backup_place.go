package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// backupPlace is where a backup lies: one repository, or a registry of them.
type backupPlace struct {
	one     store.Store    // nil where there are many
	many    store.Registry // nil where there is one
	archive bool
}

// openBackup opens a backup to be written. What is there decides its form; else
// it is made for many repositories, or for one.
func openBackup(ctx context.Context, path string, many bool, opts local.LayoutOptions) (*backupPlace, error) {
	found, err := local.Look(ctx, path)
	if err != nil {
		return nil, err
	}
	p := &backupPlace{archive: local.IsArchive(path)}
	switch {
	case found == local.FoundLayout && many:
		return nil, fmt.Errorf("%w: %s is the backup of one repository; several need a path of their own", store.ErrExists, path)
	case many, found == local.FoundLayouts:
		p.many, err = local.OpenRegistry(path, opts)
	case p.archive:
		p.one, err = local.OpenArchive(path, opts)
	default:
		p.one, err = local.OpenLayout(path, opts)
	}
	return p, err
}

// name is the name of a repository in the backup; "" where there is but one.
func (p *backupPlace) name(name string) string {
	if p.many == nil {
		return ""
	}
	return name
}

// repository gives the store for a repository.
func (p *backupPlace) repository(ctx context.Context, name string) (kept graph.Kept, err error) {
	if p.many == nil {
		return graph.Kept{Store: store.VerifyManifests(p.one)}, nil
	}
	s, err := p.many.Repository(ctx, name)
	if err != nil {
		return kept, err
	}
	return graph.Kept{Name: name, Store: store.VerifyManifests(s)}, nil
}

// all are the repositories that are there.
func (p *backupPlace) all(ctx context.Context) (all []graph.Kept, err error) {
	if p.many == nil {
		return nil, nil
	}
	for name, err := range p.many.Repositories(ctx, "") {
		if err != nil {
			return nil, err
		}
		kept, err := p.repository(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, kept)
	}
	return all, nil
}

func (p *backupPlace) close() error {
	if p.many != nil {
		return p.many.Close()
	}
	return p.one.Close()
}

// noBackup is the error about a path where no backup can be, or is. A file that
// is no tar is most likely another one than was meant.
func noBackup(what string, err error) error {
	f := &failure{what: what, err: err}
	if errors.Is(err, store.ErrInvalid) {
		f.do = "name the directory or tar of a backup; what is at the path stays as it is"
	}
	return f
}

// badArgs is the error about the arguments of backup and restore. A host alone is
// what --all takes.
func badArgs(what string, args []string, err error) error {
	f := &failure{what: what + " " + strings.Join(args, ", "), err: err}
	var bad *store.RefError
	if errors.As(err, &bad) {
		if _, notHost := store.ParseHost(bad.Ref); notHost == nil {
			f.do = "name a repository, or add --all for every one of " + bad.Ref
		}
	}
	return f
}

// nameIn is the name of a repository in a backup of several.
func nameIn(ref store.Ref) string {
	if ref.Scheme == store.SchemeRegistry {
		return ref.Repo
	}
	return local.RepositoryName(strings.TrimSuffix(filepath.Base(ref.Path), ".tar"))
}

// repositoryOf is a repository as people are shown it: "host/repository", or a path.
func repositoryOf(ref store.Ref) string {
	if ref.Scheme != store.SchemeRegistry && ref.Repo != "" {
		return ref.Path + "/" + ref.Repo
	}
	return ref.Display()
}

// sourceOf is what a backup says that it is the backup of: the same for the same
// repository, wherever the program runs.
func sourceOf(ref store.Ref) (string, error) {
	if ref.Scheme == store.SchemeRegistry {
		return ref.Host + "/" + ref.Repo, nil
	}
	whole, err := filepath.Abs(ref.Path)
	if ref.Repo != "" {
		whole = filepath.Join(whole, filepath.FromSlash(ref.Repo))
	}
	return string(ref.Scheme) + ":" + filepath.ToSlash(whole), err
}

// sourcesOf is that by the names in the backup.
func sourcesOf(from []origin, many bool) (map[string]string, error) {
	sources := map[string]string{}
	for _, f := range from {
		source, err := sourceOf(f.ref)
		if err != nil {
			return nil, err
		}
		sources[f.name] = source
		if !many {
			sources[""] = source
		}
	}
	return sources, nil
}

// parseNamespace reads REGISTRY[/NAMESPACE], or a registry on this machine.
func parseNamespace(arg string) (base store.Ref, namespace string, err error) {
	if strings.HasPrefix(arg, "oci:") || strings.HasPrefix(arg, "tar:") {
		base, err = store.ParseRef(arg)
		if err == nil && base.Reference() != "" {
			err = &store.RefError{Ref: arg, Reason: "with --all there are no tags"}
		}
		return base, "", err
	}
	host, namespace, _ := strings.Cut(arg, "/")
	if _, err := store.ParseHost(host); err != nil {
		return base, "", err
	}
	if namespace != "" {
		ref, err := store.ParseRef(arg)
		if err == nil && ref.Reference() != "" {
			err = &store.RefError{Ref: arg, Reason: "with --all there are no tags"}
		}
		if err != nil {
			return base, "", err
		}
	}
	return store.Ref{Scheme: store.SchemeRegistry, Host: host}, namespace, nil
}

// hosts are registries that are used for many repositories, each opened once.
type hosts struct {
	app   *app
	flags *targetFlags
	sink  store.Sink
	open  map[string]store.Registry
}

func (h *hosts) registry(ref store.Ref) (store.Registry, error) {
	key := string(ref.Scheme) + " " + ref.Host + ref.Path
	if reg := h.open[key]; reg != nil {
		return reg, nil
	}
	reg, err := h.app.openRegistry(ref, h.flags, h.sink)
	if err == nil {
		h.open[key] = reg
	}
	return reg, err
}

// repository opens the store of ref, which may be one in a registry on this machine.
func (h *hosts) repository(ctx context.Context, ref store.Ref) (store.Store, error) {
	if ref.Repo == "" {
		return h.app.open(ref, h.flags, h.sink)
	}
	reg, err := h.registry(ref)
	if err != nil {
		return nil, err
	}
	s, err := reg.Repository(ctx, ref.Repo)
	if err != nil {
		return nil, err
	}
	return store.VerifyManifests(s), nil
}

func (h *hosts) close() (err error) {
	for _, key := range slices.Sorted(maps.Keys(h.open)) {
		err = errors.Join(err, h.open[key].Close())
	}
	h.open = nil
	return err
}
