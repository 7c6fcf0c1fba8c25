package remote

import (
	"context"
	"fmt"
	"mime"
	"net/http"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Identity is what a login came to.
type Identity struct {
	// Credential is what to store: the refresh token in place of the password
	// where the token server gave one.
	Credential
	// Verified is false where the registry let everybody in, so that nothing
	// is known of the password.
	Verified bool
}

// Login verifies a credential with a registry: GET /v2/ answers 200 with it
// (distribution-spec "Determining Support"). A wrong password is
// ErrUnauthorized. It stores nothing.
func Login(ctx context.Context, host string, cred Credential, opts Options) (Identity, error) {
	opts.Credentials = Static(cred)
	c, err := newClient(host, opts)
	if err != nil {
		return Identity{}, err
	}
	defer c.close()
	c.auth.offline = cred.Username != "" && cred.IdentityToken == ""
	resp, err := c.do(ctx, call{Request: wire.Request{Kind: wire.Ping}, Want: []int{http.StatusOK}})
	if err != nil {
		return Identity{}, err
	}
	drain(resp)
	c.auth.mu.Lock()
	defer c.auth.mu.Unlock()
	id := Identity{Credential: cred, Verified: c.auth.way != nil}
	if !id.Verified && isPage(resp) {
		// A web server that answers everything: no place for a password.
		return Identity{}, fmt.Errorf("%w: GET %s: a web page, where a registry answers with JSON", store.ErrInvalid, redactURL(resp.Request.URL))
	}
	if c.auth.refresh != "" {
		id.Password, id.IdentityToken = "", c.auth.refresh
	}
	return id, nil
}

func isPage(resp *http.Response) bool {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && t == "text/html"
}
