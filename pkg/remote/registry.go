package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// OpenRegistry gives all repositories of a host. They share connections,
// tokens and what is learnt of the host's pace.
func OpenRegistry(host string, opts Options) (store.Registry, error) {
	c, err := newClient(host, opts)
	if err != nil {
		return nil, err
	}
	return &registry{c}, nil
}

type registry struct{ client *client }

func (g *registry) Close() error { return nil }

// Repository gives the store of a repository.
func (g *registry) Repository(_ context.Context, name string) (store.Store, error) {
	ref, err := store.ParseRef(g.client.host + "/" + name)
	if err != nil {
		return nil, err
	}
	if ref.Repo != name {
		return nil, &store.RefError{Ref: name, Reason: "not the name of a repository"}
	}
	return newRepository(g.client, name), nil
}

// Repositories lists the catalog, which is no part of the distribution-spec:
// many registries have none (ErrUnsupported), or show it to administrators only.
func (g *registry) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		list := nameList{
			client: g.client, after: after,
			req:    wire.Request{Kind: wire.Catalog, N: wire.NoLimit, Last: after},
			decode: decodeRepositories,
		}
		err := list.run(ctx, func(name string) bool { return yield(name, nil) })
		if e := statusOf(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented); e != nil {
			// Not wrapped: the 404 is the reason, and not the class of this error.
			err = fmt.Errorf("%w: %s has no catalog of repositories: %s", store.ErrUnsupported, g.client.host, e)
		}
		if err != nil {
			yield("", err)
		}
	}
}

func decodeRepositories(raw []byte) ([]string, error) {
	var page struct {
		Repositories names `json:"repositories"`
	}
	err := json.Unmarshal(raw, &page)
	return page.Repositories, err
}
