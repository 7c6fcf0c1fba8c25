package store

import "context"

// ReadOnlyRegistry wraps a registry so that all its repositories are ReadOnly.
func ReadOnlyRegistry(r Registry) Registry { return readOnlyRegistry{r} }

type readOnlyRegistry struct{ Registry }

func (r readOnlyRegistry) Repository(ctx context.Context, name string) (Store, error) {
	s, err := r.Registry.Repository(ctx, name)
	if err != nil {
		return nil, err
	}
	return ReadOnly(s), nil
}
