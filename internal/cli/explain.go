package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// The exit codes: the class of what happened.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNo          = 3
	exitAuth        = 4
	exitNotFound    = 5
	exitRefused     = 6
	exitMismatch    = 7
	exitUnavailable = 8
	exitInterrupted = 130
	exitTerminated  = 143
)

// exitCodes is the table of the codes: help, docs and tests are made from it.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed, not classified"},
	{exitUsage, "wrong usage: flags, reference, contradictory kind"},
	{exitNo, "the answer is no: verify or validate found faults, diff differs"},
	{exitAuth, "not signed in, or not allowed"},
	{exitNotFound, "not found"},
	{exitRefused, "the registry cannot or will not: unsupported, refused, already exists; or it would need a change of digest"},
	{exitMismatch, "content is not what its digest says"},
	{exitUnavailable, "no answer: network, timeout, throttled (worth trying again)"},
	{exitInterrupted, "interrupted"},
	{exitTerminated, "terminated"},
}

func exitCodeHelp() string {
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// rule gives a class of errors its exit code and its remedy. In the remedy
// {name} is the program, {host} the registry, {repo} the repository meant and {ref}
// what is copied.
type rule struct {
	is   error
	code int
	do   string
}

// rules has a row for every sentinel of pkg/store; the first row that fits
// decides, so what is said more exactly stands first.
var rules = []rule{
	{store.ErrBadReference, exitUsage, "write HOST[:PORT]/REPOSITORY[:TAG] or HOST[:PORT]/REPOSITORY@DIGEST; a layout is oci:DIR[:TAG], or tar:FILE[:TAG] in a tar"},
	{store.ErrUsage, exitUsage, ""},
	{store.ErrMismatch, exitMismatch, "do not use what is there; try again, and if it stays, tell who published the content or runs the registry"},
	{store.ErrMoved, exitRefused, "run it again when nobody else writes the same tag"},
	{store.ErrChanged, exitMismatch, "let the file come to rest and push again"},
	{store.ErrOnce, exitUnavailable, "run it again; if it stays, write the content to a file and push that, which can be read as often as need be"},
	{store.ErrConfig, exitFailed, "mend the file, or move it away"},
	{store.ErrUnauthorized, exitAuth, "run `{name} login {host}`, or check user and password"},
	{store.ErrDenied, exitAuth, "run `{name} login {host}`, or check that the account may do this to \"{repo}\""},
	{fs.ErrNotExist, exitNotFound, "check the path"},
	{store.ErrNotFound, exitNotFound, "check the spelling of repository, tag and digest"},
	{store.ErrExists, exitRefused, "choose another name, or remove what is there first"},
	{store.ErrKind, exitRefused, "ask the registry what it takes (`{name} probe --write`); another kind is another digest: push with --manifest-kind image, or upgrade what exists with `{name} convert --to image -r {ref}` and copy it with `{name} cp -r --skip-extinct`"},
	{store.ErrUnsupported, exitRefused, "use a registry that can do this, or leave the request out"},
	{store.ErrRefused, exitRefused, "the registry's answer above says what it does not take"},
	{store.ErrPath, exitMismatch, "ask who made it; if you trust it, --allow-path-traversal lets titles lead out; entries of a tar never may"},
	{store.ErrInvalid, exitMismatch, "the document breaks its specification; ask who made it, or check that the address is a registry's"},
	{store.ErrTooLarge, exitRefused, "raise the limit if you trust the content"},
	{store.ErrLocked, exitUnavailable, "wait until the other process is done, then run it again"},
	{store.ErrRange, exitFailed, "run it again; if it stays, report it with what --debug prints"},
	{http.ErrSchemeMismatch, exitUsage, "the registry speaks plain http: add --plain-http (for cp, --from-plain-http or --to-plain-http)"},
	{store.ErrUnavailable, exitUnavailable, "check address and network, and run it again"},
	{context.DeadlineExceeded, exitUnavailable, "run it again, or give it more time"},
	{syscall.ENOSPC, exitFailed, "free some space, then run it again; nothing half-written was kept"},
	{syscall.EDQUOT, exitFailed, "free some space, then run it again; nothing half-written was kept"},
	{syscall.EFBIG, exitFailed, "raise the limit on the size of a file (`ulimit -f`), or choose another file system; nothing half-written was kept"},
	{syscall.ENOTDIR, exitFailed, "a file stands where a directory should be; choose another path"},
	{syscall.EISDIR, exitFailed, "a directory stands where a file should be; choose another path"},
	{syscall.EROFS, exitFailed, "choose a place that can be written"},
	{fs.ErrPermission, exitFailed, "check who owns the file and its mode"},
	{syscall.EADDRINUSE, exitFailed, "choose another address; port 0 takes a free one"},
	{syscall.EADDRNOTAVAIL, exitFailed, "choose an address of this machine, such as localhost:5000"},
}

// failure is an error of a command: what it could not do, and why.
type failure struct {
	what string
	ref  store.Ref // what it was about; for hints
	from store.Ref // of a copy, the source
	err  error
	do   string // the remedy, where that of the table is not to the point
	tar  bool   // what it wrote is a tar
}

// again is the remedy where something from outside ended the command: how much of
// the work need not be done once more.
func (f *failure) again() string {
	if f != nil && f.tar {
		return "the tar keeps what is in it now, and the rest begins anew"
	}
	return "files and blobs that are complete are kept"
}

// hint is an error with a remedy of its own.
type hint struct {
	err error
	do  string
}

func (h *hint) Error() string { return h.err.Error() }

// Unwrap gives the error.
func (h *hint) Unwrap() error { return h.err }

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }

// Unwrap gives the reason.
func (f *failure) Unwrap() error { return f.err }

// cannot says what failed: "cannot push reg.io/app:v1". An error that was
// explained already, and no error, stay as they are.
func cannot(verb string, ref store.Ref, err error) error {
	var done *failure
	if err == nil || errors.As(err, &done) {
		return err
	}
	what := verb
	var bad *store.RefError
	switch {
	case ref.Scheme != "":
		what += " " + ref.String()
	case errors.As(err, &bad) && !strings.HasSuffix(verb, bad.Ref):
		what += " " + bad.Ref // a reference that did not parse, as it was typed
	}
	return &failure{what: what, ref: ref, err: err}
}

// verdict is the answer no of a command that did what it should: verify found
// faults, a manifest is not valid, diff differs. The result, which is on stdout by then, says all there
// is to say, so the exit code is what is left to tell.
type verdict struct{ text string }

func (v *verdict) Error() string { return v.text }

// usage is a usage error of a command, with the way to its help.
func usage(cmd *cobra.Command, err error) error {
	return &usageError{cmd.CommandPath(), err}
}

type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

// Unwrap makes it an ErrUsage beside what it is.
func (e *usageError) Unwrap() []error { return []error{store.ErrUsage, e.err} }

// explanation is an error as people are told it (design: three lines).
type explanation struct {
	name, what, why, do string
	Code                int
}

func (e explanation) String() string {
	s := e.name + ": " + e.what
	if e.why != "" {
		s += "\n  why: " + e.why
	}
	if e.do != "" {
		s += "\n  do:  " + e.do
	}
	return s
}

// explainAt explains the error of a command: what the table says, and for wrong
// usage the way to the command's help.
func (a *app) explainAt(command string, err error) explanation {
	e := a.explain(err)
	var f *failure
	if e.Code == exitUsage && !errors.As(err, &f) {
		e.what = "wrong usage of " + command
	}
	if e.Code == exitUsage && e.do == "" {
		e.do = fmt.Sprintf("run `%s --help`", command)
	}
	return e
}

// explain finds what failed, why and what to do, and the exit code.
func (a *app) explain(err error) explanation {
	e := explanation{name: a.name, what: "cannot go on", Code: exitFailed, do: "look at what --debug prints, and report it if it is the program's fault"}
	var f *failure
	if errors.As(err, &f) {
		e.what, e.why = ui.Tell("cannot "+f.what), ui.Tell(f.err.Error())
	} else {
		e.why = ui.Tell(err.Error())
	}
	var sig interrupted
	if errors.As(err, &sig) {
		e.Code, e.why = exitInterrupted, sig.Error()
		if sig.sig == syscall.SIGTERM {
			e.Code = exitTerminated
		}
		e.do = "run the same command again; " + f.again()
		return e
	}
	var late timedOut
	if errors.As(err, &late) {
		e.Code, e.why = exitUnavailable, late.Error()
		e.do = "run it again, or give it more time; " + f.again()
		return e
	}
	var u *usageError
	if errors.As(err, &u) {
		e.what, e.Code = "wrong usage of "+u.command, exitUsage
		e.do = fmt.Sprintf("run `%s --help`", u.command)
		return e
	}
	for _, r := range rules {
		if errors.Is(err, r.is) {
			e.Code, e.do = r.code, a.remedy(r.do, f, err)
			break
		}
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		e.do = "give the certificate that signed it with --ca-file, or take any with --insecure"
	}
	var refusal *remote.Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusTooManyRequests {
		e.do = "run it again later; ask for less at once (--max-rps, --concurrency), or wait for longer (--retry-max-wait, --retry)"
	}
	var proxy *remote.ProxyError
	if errors.As(err, &proxy) {
		e.do = proxyRemedy(proxy.Status)
	}
	var template *ui.TemplateError
	if errors.As(err, &template) {
		e.do = fmt.Sprintf("run `%s help templates`, which lists the functions and tells of the keys", a.name)
	}
	var h *hint
	if errors.As(err, &h) {
		e.do = h.do
	}
	if f != nil && f.do != "" {
		e.do = f.do
	}
	return e
}

// proxyRemedy is for who may not know that there is a proxy.
func proxyRemedy(status int) string {
	if status == http.StatusProxyAuthRequired {
		return "write user and password of the proxy into HTTP_PROXY and HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"
	}
	return "check HTTP_PROXY and HTTPS_PROXY, or name the registry in NO_PROXY to go there without the proxy"
}

// remedy fills names into the text of a rule.
func (a *app) remedy(do string, f *failure, err error) string {
	host, repo := "HOST", "the repository"
	ref := store.Ref{}
	if f != nil {
		ref = f.ref
	}
	var g *graph.Error
	if errors.As(err, &g) && g.Side == graph.Source && f != nil && f.from.Scheme != "" {
		ref = f.from
	}
	if ref.Scheme == store.SchemeRegistry {
		host, repo = ref.Host, ref.Repo
	}
	meant := "REF" // what could be converted: the source of a copy
	if f != nil && f.from.Scheme != "" {
		meant = f.from.String()
	}
	return strings.NewReplacer("{name}", a.name, "{host}", ui.Escape(host), "{repo}", ui.Escape(repo), "{ref}", ui.Escape(meant)).Replace(do)
}
