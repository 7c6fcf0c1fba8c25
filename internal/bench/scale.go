package main

import (
	"context"
	"io"
)

type curve struct{ id string }
type Curve struct{}

func (c Curve) text(w io.Writer) {}
func curves(quick bool) []curve  { return nil }
func (l *lab) measureCurve(ctx context.Context, c curve) (Curve, error) {
	return Curve{}, nil
}
func (r *Report) markdown(notes string) string { return "" }
func (r *Report) plot() string                 { return "" }
