package remote

import (
	"fmt"
	"net/http"

	"github.com/stet-oci/stet/pkg/store"
)

// Error is a refusal by the registry.
type Error struct {
	Method string
	URL    string // without what may be secret in its query
	Status int
	Errors []ErrorInfo
}

// ErrorInfo is one error of an error answer (distribution-spec "Error codes").
type ErrorInfo struct {
	Code    string
	Message string
	Detail  string // as compact text
}

func newError(resp *http.Response) *Error {
	resp.Body.Close()
	return &Error{Method: resp.Request.Method, URL: resp.Request.URL.Redacted(), Status: resp.StatusCode}
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %d", e.Method, e.URL, e.Status) }

// Unwrap is the sentinel of the status and code.
func (e *Error) Unwrap() error {
	switch e.Status {
	case 404:
		return store.ErrNotFound
	}
	return store.ErrRefused
}
