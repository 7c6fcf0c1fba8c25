package remote

import "context"

// Credential is what a registry or its token server takes. The zero value is anonymous.
type Credential struct {
	Username, Password string
	IdentityToken      string // OAuth2 refresh token, given to the token server
	RegistryToken      string // bearer token, given to the registry as it is
}

// Credentials finds the credential for a repository of a registry.
type Credentials interface {
	// Get gives the credential for host as the user names it, and repo; the
	// zero Credential where there is none.
	Get(ctx context.Context, host, repo string) (Credential, error)
}

// Static gives the same credential to every registry: for a client of one.
func Static(c Credential) Credentials { return static(c) }

type static Credential

func (s static) Get(context.Context, string, string) (Credential, error) { return Credential(s), nil }
