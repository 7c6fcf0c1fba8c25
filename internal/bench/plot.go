package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plot is written by hand, because it is rectangles, lines and words. Sizes
// are in pixels.
const (
	plotWidth  = 960
	plotLeft   = 330 // where bars begin
	plotRight  = 40
	barHeight  = 9
	barGap     = 2
	rowGap     = 10
	plotTop    = 70
	clip       = 3.0 // longer bars are cut, and say how long they are
	panelWide  = 300
	panelHigh  = 210
	panelInset = 44
)

// colours are those of Okabe and Ito, which the colour-blind can tell apart.
func colour(peer string) string {
	return map[string]string{
		peerStet: "#0072b2", peerLibrary: "#56b4e9", peerORAS: "#e69f00", peerRegclient: "#009e73", peerGGCR: "#cc79a7",
	}[peer]
}

// drawing collects the elements of the plot.
type drawing struct {
	strings.Builder
	y float64
}

func (d *drawing) text(x, y float64, attributes, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, stroke string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, stroke)
}

func (d *drawing) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, fill)
}

// plot is the report as SVG: bars of times beside the fastest other client, then
// a panel for each curve.
func (r *Report) plot() string {
	d := &drawing{y: plotTop}
	r.bars(d)
	if len(r.Curves) > 0 {
		d.y += 30
		d.text(16, d.y, `font-weight="bold"`, "Growth: seconds (solid) and peak MB (dashed); both axes are logarithmic")
		d.y += 12
	}
	for i, c := range r.Curves {
		c.panel(d, 16+float64(i%3)*(panelWide+10), d.y+float64(i/3)*(panelHigh+14))
	}
	height := d.y + math.Ceil(float64(len(r.Curves))/3)*(panelHigh+14) + 20
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height) +
		`<rect width="100%" height="100%" fill="white"/>` + "\n" + d.String() + "</svg>\n"
}

// bars draws a group for each row in which another client could take part.
func (r *Report) bars(d *drawing) {
	d.text(16, 24, `font-size="16" font-weight="bold"`, "Time beside the fastest other client (1.0); shorter is better")
	x := 16.0
	for _, peer := range peers() {
		d.rect(x, 36, 12, 12, colour(peer))
		d.text(x+17, 46, "", peer)
		x += 40 + 7*float64(len(peer))
	}
	scale := (plotWidth - plotLeft - plotRight) / clip
	var body drawing
	body.y = d.y
	for _, row := range r.Rows {
		if best := row.best(); best != "" {
			row.group(&body, row.result(best).Median.Seconds, scale)
		}
	}
	for tick := 0.0; tick <= clip; tick += 0.5 {
		at := plotLeft + tick*scale
		stroke := "#ddd"
		if tick == 1 {
			stroke = "#444"
		}
		d.line(at, plotTop-4, at, body.y, stroke)
		d.text(at, plotTop-8, `text-anchor="middle" fill="#555"`, fmt.Sprintf("%.1f", tick))
	}
	d.WriteString(body.String())
	d.y = body.y
}

func (r Row) group(d *drawing, unit, scale float64) {
	top, n := d.y, 0
	for _, peer := range peers() {
		p := r.result(peer)
		if len(p.Samples) == 0 {
			continue
		}
		ratio := p.Median.Seconds / unit
		d.rect(plotLeft, d.y, min(ratio, clip)*scale, barHeight, colour(peer))
		if ratio > clip {
			d.text(plotLeft+clip*scale-4, d.y+barHeight-1, `text-anchor="end" font-size="10" fill="white"`, fmt.Sprintf("%.1f", ratio))
		}
		d.y += barHeight + barGap
		n++
	}
	d.text(plotLeft-10, top+float64(n)*(barHeight+barGap)/2+3, `text-anchor="end"`, r.Title)
	d.y += rowGap
}

// panel draws a curve in a box of its own.
func (c Curve) panel(d *drawing, x, y float64) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="none" stroke="#bbb"/>`+"\n", x, y, panelWide, panelHigh)
	d.text(x+8, y+16, `font-weight="bold"`, c.Title)
	if len(c.Points) == 0 {
		d.text(x+8, y+34, "", c.Note)
		return
	}
	first, last := c.Points[0].N, c.Points[len(c.Points)-1].N
	place := func(n int64) float64 {
		share := 0.0
		if last > first {
			share = math.Log(float64(n)/float64(first)) / math.Log(float64(last)/float64(first))
		}
		return x + panelInset + share*(panelWide-2*panelInset)
	}
	for _, p := range c.Points {
		d.text(place(p.N), y+panelHigh-8, `text-anchor="middle" font-size="10" fill="#555"`, fmt.Sprint(p.N))
	}
	d.text(x+panelWide-8, y+panelHigh-22, `text-anchor="end" font-size="10" fill="#555"`, c.Unit)
	for _, l := range []polyline{
		{"#0072b2", "", 13, func(s Sample) (float64, string) { return s.Seconds, short(s.Seconds) + " s" }},
		{"#d55e00", `stroke-dasharray="5 3"`, -5, func(s Sample) (float64, string) {
			return float64(s.Peak) / 1e6, fmt.Sprintf("%.0f MB", float64(s.Peak)/1e6)
		}},
	} {
		c.draw(d, l, place, y)
	}
}

// polyline is one figure of a curve, its value and what is written at its end.
type polyline struct {
	stroke, dash string
	label        float64 // how far below the line its label is
	of           func(Sample) (float64, string)
}

// draw draws one figure. Each power of ten from 0.001 up is a sixth of the panel,
// so that slopes compare between panels.
func (c Curve) draw(d *drawing, l polyline, place func(int64) float64, y float64) {
	height := func(v float64) float64 {
		const low, decades = 0.001, 6
		return y + panelHigh - 34 - math.Log10(max(v, low)/low)/decades*(panelHigh-70)
	}
	var points []string
	for _, p := range c.Points {
		v, _ := l.of(p.Sample)
		points = append(points, fmt.Sprintf("%.1f,%.1f", place(p.N), height(v)))
	}
	fmt.Fprintf(d, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2" %s/>`+"\n", strings.Join(points, " "), l.stroke, l.dash)
	end := c.Points[len(c.Points)-1]
	v, label := l.of(end.Sample)
	d.text(place(end.N)+4, height(v)+l.label, fmt.Sprintf(`font-size="10" text-anchor="end" fill="%s"`, l.stroke), label)
}
