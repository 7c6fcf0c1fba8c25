package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// The complete table of errors and their exit codes (design, "Output, errors,
// exit codes").
func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		errors.New("anything"):                         1,
		&store.RefError{Ref: "x", Reason: "y"}:         2,
		store.ErrUsage:                                 2,
		usage(&cobra.Command{}, errors.New("no flag")): 2,
		store.ErrUnauthorized:                          4,
		store.ErrDenied:                                4,
		store.ErrNotFound:                              5,
		fs.ErrNotExist:                                 5,
		store.ErrExists:                                6,
		store.ErrUnsupported:                           6,
		store.ErrRefused:                               6,
		store.ErrTooLarge:                              6,
		store.ErrMismatch:                              7,
		store.ErrInvalid:                               7,
		store.ErrPath:                                  7,
		store.ErrChanged:                               7,
		store.ErrUnavailable:                           8,
		store.ErrLocked:                                8,
		context.DeadlineExceeded:                       8,
		store.ErrRange:                                 1,
		fs.ErrPermission:                               1,
		syscall.ENOSPC:                                 1,
		syscall.EROFS:                                  1,
		interrupted{syscall.SIGINT}:                    130,
		interrupted{syscall.SIGTERM}:                   143,
	} {
		a := &app{name: "stet"}
		for _, e := range []error{err, fmt.Errorf("deep: %w", &graph.Error{Side: graph.Source, Op: "read", Err: err}), cannot("push", store.Ref{}, err)} {
			if got := a.explain(e).Code; got != want {
				t.Errorf("%v has the code %d, want %d", e, got, want)
			}
		}
	}
}

func TestExplanationHasThreeLines(t *testing.T) {
	a := &app{name: "oras", streams: ui.New(nil, &bytes.Buffer{}, &bytes.Buffer{}, func(string) string { return "" })}
	ref := store.Ref{Scheme: store.SchemeRegistry, Host: "reg.io", Repo: "app", Tags: []string{"v1"}}
	err := cannot("push", ref, fmt.Errorf("PUT https://reg.io/v2/app/manifests/v1: 403: \u001b[31mno\n%w", store.ErrDenied))
	want := `oras: cannot push reg.io/app:v1
  why: PUT https://reg.io/v2/app/manifests/v1: 403: \u001b[31mno\ndenied
  do:  run ` + "`oras login reg.io`" + `, or check that the account may do this to "app"`
	if got := a.explain(err).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExitCodeHelpIsTheTable(t *testing.T) {
	for _, c := range exitCodes {
		if !strings.Contains(exitCodeHelp(), fmt.Sprintf("%3d  %s", c.code, c.meaning)) {
			t.Errorf("the help lacks %d", c.code)
		}
	}
}
