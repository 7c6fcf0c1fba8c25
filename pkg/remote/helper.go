package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	helpers "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"

	"github.com/stet-oci/stet/pkg/store"
)

// tokenUser is the user name under which a helper keeps an identity token.
const tokenUser = "<token>"

// helper is a program docker-credential-NAME. docker's own way to run one
// knows no end, so this package runs it.
type helper struct {
	name    string
	timeout time.Duration
}

// get gives what the helper has for a server, the zero Credential for nothing.
func (h helper) get(ctx context.Context, server string) (Credential, error) {
	var got *credentials.Credentials
	err := h.run(ctx, func(p helpers.ProgramFunc) (err error) {
		got, err = helpers.Get(p, server)
		return err
	})
	switch {
	case credentials.IsErrCredentialsNotFound(err):
		return Credential{}, nil
	case err != nil:
		return Credential{}, h.failed("get", err)
	case got.Username == tokenUser:
		return Credential{IdentityToken: got.Secret}, nil
	}
	return Credential{Username: got.Username, Password: got.Secret}, nil
}

func (h helper) store(ctx context.Context, server string, c Credential) error {
	creds := &credentials.Credentials{ServerURL: server, Username: c.Username, Secret: c.Password}
	if c.IdentityToken != "" {
		creds.Username, creds.Secret = tokenUser, c.IdentityToken
	}
	err := h.run(ctx, func(p helpers.ProgramFunc) error { return helpers.Store(p, creds) })
	if err != nil {
		return h.failed("store", err)
	}
	return nil
}

func (h helper) erase(ctx context.Context, server string) error {
	err := h.run(ctx, func(p helpers.ProgramFunc) error { return helpers.Erase(p, server) })
	if err != nil && !credentials.IsErrCredentialsNotFound(err) {
		return h.failed("erase", err)
	}
	return nil
}

func (h helper) failed(action string, err error) error {
	return fmt.Errorf("%w: credential helper docker-credential-%s %s: %w", store.ErrUnauthorized, h.name, action, err)
}

// run calls f with the program, for as long as the helper may take. What the
// helper printed is its own text, and not quoted where it took too long.
func (h helper) run(ctx context.Context, f func(helpers.ProgramFunc) error) error {
	within, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	err := f(func(args ...string) helpers.Program {
		cmd := exec.CommandContext(within, "docker-credential-"+h.name, args...)
		cmd.WaitDelay = time.Second // a child of the helper may hold its output open
		return program{cmd}
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(within.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", h.timeout)
	}
	return err
}

// program is helpers.Program over exec. What a helper says on stderr is
// dropped: it reports on stdout.
type program struct{ cmd *exec.Cmd }

func (p program) Input(in io.Reader) { p.cmd.Stdin = in }

// maxHelper bounds what a helper may print, maxHelperWords what is quoted of it
// where it fails.
const (
	maxHelper      = 1 << 20
	maxHelperWords = 500
)

func (p program) Output() ([]byte, error) {
	out := &capped{}
	p.cmd.Stdout = out
	err := p.cmd.Run()
	switch {
	case out.over:
		return nil, fmt.Errorf("%w: over %d bytes of output", store.ErrTooLarge, maxHelper)
	case err != nil:
		return out.buf.Bytes()[:min(out.buf.Len(), maxHelperWords)], err
	}
	return out.buf.Bytes(), nil
}

// capped takes no more than maxHelper bytes. It has no ReadFrom, which would
// take them all.
type capped struct {
	buf  bytes.Buffer
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.buf.Len()+len(p) > maxHelper {
		c.over = true
		return 0, io.ErrShortWrite
	}
	return c.buf.Write(p)
}
