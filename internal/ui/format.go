package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// Kind is a form of results.
type Kind string

// The forms of results. Commands say which of them they have.
const (
	KindText     Kind = "text"
	KindJSON     Kind = "json"
	KindTemplate Kind = "go-template"
	KindTable    Kind = "table"
	KindTree     Kind = "tree"
)

// Format is what --format and --template ask for. The zero value is text.
type Format struct {
	Kind     Kind
	Template string // of KindTemplate

	parsed *goTemplate
}

// ParseFormat reads --format, which is a kind or go-template=TEMPLATE, and
// --template, which is the template of a bare go-template. An empty flag means
// the first of kinds; without kinds a command has text, json and go-template.
// What contradicts itself, is not among the kinds, or is no template is
// store.ErrUsage, so that it is found before any work is done.
func ParseFormat(flag, templateFlag string, kinds ...Kind) (Format, error) {
	if len(kinds) == 0 {
		kinds = []Kind{KindText, KindJSON, KindTemplate}
	}
	name, text, inline := strings.Cut(flag, "=")
	f := Format{Kind: Kind(name), Template: text}
	if flag == "" {
		f.Kind = kinds[0]
	}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return Format{}, fmt.Errorf("%w: format %q is not one of %s", store.ErrUsage, name, listed(kinds))
	case f.Kind != KindTemplate && inline:
		return Format{}, fmt.Errorf("%w: format %s takes no value", store.ErrUsage, name)
	case f.Kind != KindTemplate && templateFlag != "":
		return Format{}, fmt.Errorf("%w: --template needs --format go-template", store.ErrUsage)
	case f.Kind != KindTemplate:
		return f, nil
	case inline && templateFlag != "":
		return Format{}, fmt.Errorf("%w: --template and --format go-template=TEMPLATE both give a template", store.ErrUsage)
	case !inline:
		f.Template = templateFlag
	}
	if f.Template == "" {
		return Format{}, fmt.Errorf("%w: format go-template needs a template, as in go-template='{{.digest}}'", store.ErrUsage)
	}
	var err error
	if f.parsed, err = parseTemplate(f.Template); err != nil {
		return Format{}, &TemplateError{err}
	}
	return f, nil
}

// TemplateError says what is wrong with a template. It is store.ErrUsage.
type TemplateError struct{ Err error }

func (e *TemplateError) Error() string { return store.ErrUsage.Error() + ": " + e.Err.Error() }

// Unwrap makes it an ErrUsage beside what it is.
func (e *TemplateError) Unwrap() []error { return []error{store.ErrUsage, e.Err} }

func listed(kinds []Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// Print writes value in the form f. JSON is indented by two spaces and ends
// with an end of line; a template sees the JSON form of value, so its keys are
// those of the JSON, and nothing is added to what it writes. For every other
// kind text writes the value.
func Print(out io.Writer, f Format, value any, text func(io.Writer) error) error {
	switch f.Kind {
	case KindJSON:
		doc, err := encodeJSON(value, "  ")
		if err != nil {
			return err
		}
		_, err = out.Write(doc)
		return err
	case KindTemplate:
		data, err := jsonForm(value)
		if err != nil {
			return err
		}
		// In one piece: a template that fails half way has written nothing.
		var b bytes.Buffer
		if err := f.parsed.execute(&b, data); err != nil {
			return &TemplateError{err}
		}
		_, err = out.Write(b.Bytes())
		return err
	}
	return text(out)
}

// jsonForm is value as maps, lists, strings and numbers, under its JSON keys.
// Whole numbers are int64: as float64 a size of some megabytes would be printed
// as 1.2582912e+07.
func jsonForm(value any) (any, error) {
	doc, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var form any
	if err := dec.Decode(&form); err != nil {
		return nil, err
	}
	return numbers(form), nil
}

func numbers(form any) any {
	switch v := form.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
		return slices.Clip(v) // {{slice}} must not see what the decoder has reserved
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if x, err := v.Float64(); err == nil {
			return x
		}
		return v.String()
	}
	return form
}
