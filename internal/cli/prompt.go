package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// Questions go to stderr: stdout is the result. Ctrl-C ends them at once.

// confirm asks a yes-or-no question. Without anybody to answer it is an error:
// a script must say --force.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprintf(a.streams.Err, "%s [y/N] ", question)
	answer, err := a.readLine(ctx, bufio.NewReader(a.streams.In))
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(a.streams.Err)
		return false, fmt.Errorf("%w: nobody answered; give --force to do it without asking", store.ErrUsage)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, err
	}
	return false, err
}

// ask asks for a user name and a secret.
func (a *app) ask(ctx context.Context, user string) (c remote.Credential, err error) {
	in := bufio.NewReader(a.streams.In)
	c.Username = user
	if user == "" {
		fmt.Fprint(a.streams.Err, "Username (empty for a token): ")
		if c.Username, err = a.readLine(ctx, in); err != nil {
			fmt.Fprintln(a.streams.Err) // the question has no line of its own otherwise
			return c, nobody(err)
		}
	}
	prompt := "Password: "
	if c.Username == "" {
		prompt = "Token: "
	}
	fmt.Fprint(a.streams.Err, prompt)
	secret, err := a.readHidden(ctx, in)
	fmt.Fprintln(a.streams.Err)
	if err == nil && secret == "" {
		err = fmt.Errorf("%w: the answer is empty; give -u and --password-stdin", store.ErrUsage)
	}
	if c.Username == "" {
		c.IdentityToken = secret
	} else {
		c.Password = secret
	}
	return c, nobody(err)
}

// nobody says what the end of standard input means for a question.
func nobody(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: standard input ended before the answer; give -u and --password-stdin", store.ErrUsage)
	}
	return err
}

// readHidden reads a line without showing it where stdin is a terminal.
func (a *app) readHidden(ctx context.Context, in *bufio.Reader) (string, error) {
	f, ok := a.streams.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return a.readLine(ctx, in)
	}
	fd := int(f.Fd())
	shown, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	return await(ctx, func() (string, error) {
		raw, err := term.ReadPassword(fd)
		return string(raw), err
	}, func() { _ = term.Restore(fd, shown) })
}

// readLine reads a line without its end; io.EOF where there is none.
func (a *app) readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	return await(ctx, func() (string, error) {
		s, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && s != "" {
			err = nil
		}
		return strings.TrimRight(s, "\r\n"), err
	}, func() {})
}

// await reads until the context ends; undo is called when it ends first. A read
// from a terminal cannot be stopped: it stays behind, and the program ends.
func await(ctx context.Context, read func() (string, error), undo func()) (string, error) {
	type answer struct {
		s   string
		err error
	}
	done := make(chan answer, 1)
	go func() {
		s, err := read()
		done <- answer{s, err}
	}()
	select {
	case a := <-done:
		return a.s, a.err
	case <-ctx.Done():
		undo()
		return "", context.Cause(ctx)
	}
}
