package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// apiError is an answer that is not a success: a status, a code of
// distribution-spec "Error Codes", and a sentence. Without a code the body is
// plain text, or a page of HTML.
type apiError struct {
	status  int
	code    string
	message string
	details []any       // one error each; strings where there are several of the code
	header  http.Header // beside the usual ones
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

// errNoRoute is what a server says of a path that it has never heard of, in
// Distribution's words.
var errNoRoute = &apiError{status: http.StatusNotFound, message: "404 page not found"}

// codeOf is the code for what is not there (404) or not valid (400), by what
// the request is about. What is absent is the repository where it is no blob
// and no manifest: a list without its repository does not exist.
func codeOf(status int, k wire.Kind) string {
	invalid := status == http.StatusBadRequest
	switch k {
	case wire.ManifestGet, wire.ManifestHead, wire.ManifestDelete, wire.ManifestPut:
		if invalid {
			return "MANIFEST_INVALID"
		}
		return "MANIFEST_UNKNOWN"
	case wire.BlobGet, wire.BlobHead, wire.BlobDelete:
		if !invalid {
			return "BLOB_UNKNOWN"
		}
	}
	if invalid {
		return "DIGEST_INVALID"
	}
	return "NAME_UNKNOWN"
}

// classes are the sentinels of pkg/store as status and code. An empty code
// depends on the request.
func classes() []struct {
	is     error
	status int
	code   string
} {
	return []struct {
		is     error
		status int
		code   string
	}{
		{store.ErrNotFound, http.StatusNotFound, ""},
		{store.ErrMismatch, http.StatusBadRequest, "DIGEST_INVALID"},
		{store.ErrTooLarge, http.StatusRequestEntityTooLarge, "SIZE_INVALID"},
		{store.ErrInvalid, http.StatusBadRequest, ""},
		{store.ErrRange, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID"},
		{store.ErrUnsupported, http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{store.ErrRefused, http.StatusForbidden, "DENIED"},
		{store.ErrDenied, http.StatusForbidden, "DENIED"},
		// The store behind wants a sign-in that is not this client's: a 401
		// would ask the client for credentials of another host.
		{store.ErrUnauthorized, http.StatusForbidden, "DENIED"},
		{store.ErrExists, http.StatusConflict, "DENIED"},
		{store.ErrLocked, http.StatusServiceUnavailable, "UNAVAILABLE"},
		{store.ErrUnavailable, http.StatusServiceUnavailable, "UNAVAILABLE"},
	}
}

// inRepository gives an error of a store its status and code. What has no
// class stays as it is.
func inRepository(req wire.Request, err error) error {
	var api *apiError
	if err == nil || errors.As(err, &api) {
		return err
	}
	if !changes(req.Kind) && errors.Is(err, store.ErrMismatch) {
		return err // what lies in the store is broken: not the client's fault
	}
	for _, c := range classes() {
		if errors.Is(err, c.is) {
			if c.code == "" {
				c.code = codeOf(c.status, req.Kind)
			}
			return &apiError{status: c.status, code: c.code, message: err.Error()}
		}
	}
	return err
}

// fail answers with err. A 5xx without a class says nothing of the store,
// whose paths are nobody's business; OnError is told.
func (s *Server) fail(w *answer, r *http.Request, err error) {
	var api *apiError
	if !errors.As(err, &api) {
		if r.Context().Err() == nil { // else the client is gone, and the store was right to stop
			s.opts.OnError(r.Method, r.URL.RequestURI(), err)
		}
		api = &apiError{status: http.StatusInternalServerError, code: "UNKNOWN", message: "the store failed"}
	}
	if w.status != 0 {
		// The answer has begun. Cutting it is the only way to say that it is not whole.
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for k, v := range api.header {
		h[k] = v
	}
	body := api.body()
	if s.opts.Quirks.HTML404 && api.status == http.StatusNotFound {
		body = []byte(htmlPage("404 Not Found") + "\n")
	}
	switch {
	case len(body) == 0: // no type of nothing
	case body[0] == '<':
		h.Set("Content-Type", "text/html; charset=utf-8")
	case api.code == "" || s.opts.Quirks.TextErrors:
		h.Set("Content-Type", "text/plain; charset=utf-8")
	default:
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(api.status)
	_, _ = w.Write(body) // a client that is gone reads no error
}

// body is the JSON of distribution-spec "Error Codes".
func (e *apiError) body() []byte {
	if e.code == "" && e.message == "" {
		return nil
	}
	if e.code == "" {
		return []byte(e.message + "\n")
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	list := []entry{}
	for _, d := range e.details {
		list = append(list, entry{e.code, e.message, d})
	}
	if len(list) == 0 {
		list = append(list, entry{e.code, e.message, nil})
	}
	var b bytes.Buffer
	_ = encode(&b, map[string]any{"errors": list}) // strings and maps of them always encode
	return b.Bytes()
}

// encode writes JSON without the HTML escapes that Go would add.
func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func writeJSON(w http.ResponseWriter, contentType string, v any) error {
	var b bytes.Buffer
	if err := encode(&b, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes()) // of a client that is gone nobody is left to tell
	return nil
}
