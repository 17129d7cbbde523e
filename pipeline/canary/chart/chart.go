// Package chart draws the samples of a canary beside its baseline's, as pictures for people.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"math"
	"slices"
	"strconv"
	"time"

	charts "github.com/go-analyze/charts"
)

// Panel is one metric to be drawn. Samples that are NaN or infinite leave a gap.
type Panel struct {
	Title    string // of a picture; an SVG shows none, so that nothing that people wrote is in it
	Bad      bool   // the canary is drawn as something that is wrong
	Baseline []float64
	Canary   []float64
	From     time.Time // of the first sample, UTC
	Step     time.Duration
}

const (
	width     = 640 // pixels of one panel
	height    = 200
	gap       = 24               // between two panels
	maxPanels = 12               // of a picture
	maxPoints = (width - 90) / 2 // of a line; more are thinned out
	left      = 62               // room for the numbers of the axis
	right     = 14
	top       = 34
	bottom    = 26
)

var (
	ink      = charts.ColorFromHex("#3a3f47")
	faint    = charts.ColorFromHex("#e3e6ea")
	baseline = charts.ColorFromHex("#5b7fa6")
	good     = charts.ColorFromHex("#1f8a4c")
	bad      = charts.ColorFromHex("#c9341c")
	white    = charts.ColorFromHex("#ffffff")
)

// Lines draws both tracks over time as an SVG, with the band in which the middle 90 % of the baseline's samples lie.
func Lines(p Panel) ([]byte, error) {
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: height})
	p.Title = ""
	draw(painter, p, 0)
	return painter.Bytes()
}

// Picture draws panels below each other, the first twelve of them, as a PNG.
func Picture(panels []Panel) ([]byte, error) {
	panels = panels[:min(len(panels), maxPanels)]
	if len(panels) == 0 {
		return nil, errors.New("draw a chart: there is nothing to draw")
	}
	tall := len(panels)*height + (len(panels)-1)*gap
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputPNG, Width: width, Height: tall})
	painter.FilledRect(0, 0, width, tall, white, white, 0)
	for i, p := range panels {
		draw(painter, p, i*(height+gap))
	}
	picture, err := painter.Bytes()
	if err != nil {
		return nil, fmt.Errorf("draw a chart: %w", err)
	}
	return compress(picture)
}

// compress writes the picture once more, as small as a PNG gets.
func compress(picture []byte) ([]byte, error) {
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("draw a chart: %w", err)
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, decoded)
	return out.Bytes(), err
}

// plot maps samples to pixels.
type plot struct {
	low, high float64
	points    int
	y0        int // of the panel
}

func draw(painter *charts.Painter, p Panel, y0 int) {
	pl := scale(p, y0)
	style := charts.FontStyle{FontSize: 9, FontColor: ink}
	if p.Title != "" {
		painter.Text(clip(p.Title, 60), left, y0+18, 0, charts.FontStyle{FontSize: 11, FontColor: ink})
	}
	for _, v := range ticks(pl.low, pl.high) {
		y := pl.y(v)
		painter.LineStroke([]charts.Point{{X: left, Y: y}, {X: width - right, Y: y}}, faint, 1)
		words := short(v)
		painter.Text(words, left-6-painter.MeasureText(words, 0, style).Width(), y+4, 0, style)
	}
	times(painter, p, pl, style)
	lo, hi, ok := band(p.Baseline)
	legend(painter, p, y0, ok)
	if ok {
		painter.FillArea([]charts.Point{
			{X: left, Y: pl.y(hi)}, {X: width - right, Y: pl.y(hi)}, {X: width - right, Y: pl.y(lo)}, {X: left, Y: pl.y(lo)}, {X: left, Y: pl.y(hi)},
		}, baseline.WithAlpha(38))
	}
	line(painter, pl, p.Baseline, baseline)
	line(painter, pl, p.Canary, p.color())
}

func (p Panel) color() charts.Color {
	if p.Bad {
		return bad
	}
	return good
}

// legend names what is drawn, from the right: the canary, the band if there is one, the baseline.
func legend(painter *charts.Painter, p Panel, y0 int, banded bool) {
	x := width - right
	for _, entry := range []struct {
		words string
		color charts.Color
		wide  int
	}{{"canary", p.color(), 62}, {"its middle 90 %", baseline.WithAlpha(60), 126}, {"baseline", baseline, 76}} {
		if entry.words == "its middle 90 %" && !banded {
			continue
		}
		x -= entry.wide
		painter.FilledRect(x, y0+9, x+12, y0+17, entry.color, entry.color, 0)
		painter.Text(entry.words, x+16, y0+17, 0, charts.FontStyle{FontSize: 9, FontColor: ink})
	}
}

// times writes the hours below the axis: the first, the middle and the last.
func times(painter *charts.Painter, p Panel, pl plot, style charts.FontStyle) {
	form := "15:04"
	switch whole := p.Step * time.Duration(pl.points); {
	case whole > 24*time.Hour:
		form = "2 Jan 15:04"
	case whole <= 10*time.Minute:
		form = "15:04:05"
	}
	for i, at := range []int{0, pl.points / 2, pl.points} {
		words := p.From.Add(time.Duration(at) * p.Step).UTC().Format(form)
		x := pl.x(at) - painter.MeasureText(words, 0, style).Width()*i/2
		painter.Text(words, x, pl.y0+height-8, 0, style)
	}
}

func scale(p Panel, y0 int) plot {
	pl := plot{low: math.Inf(1), high: math.Inf(-1), points: max(1, len(p.Baseline), len(p.Canary)), y0: y0}
	for _, side := range [][]float64{p.Baseline, p.Canary} {
		for _, v := range side {
			if finite(v) {
				pl.low, pl.high = min(pl.low, v), max(pl.high, v)
			}
		}
	}
	switch {
	case pl.low > pl.high: // nothing to see
		pl.low, pl.high = 0, 1
	case pl.low >= 0 && pl.low < pl.high/2:
		pl.low = 0
	}
	if room := (pl.high - pl.low) * 0.06; room > 0 && !math.IsInf(room, 0) {
		pl.high += room
		if pl.low != 0 {
			pl.low -= room
		}
	} else {
		pl.low, pl.high = pl.low-math.Abs(pl.low)*0.1-1e-9, pl.high+math.Abs(pl.high)*0.1+1e-9
	}
	return pl
}

func (pl plot) x(i int) int {
	return left + int(math.Round(float64(i)/float64(pl.points)*float64(width-left-right)))
}

func (pl plot) y(v float64) int {
	part := v/2 - pl.low/2 // halves, so that the largest numbers don't overflow
	return pl.y0 + height - bottom - int(math.Round(part/(pl.high/2-pl.low/2)*float64(height-top-bottom)))
}

// line draws one track. Where samples are missing, it breaks off.
func line(painter *charts.Painter, pl plot, samples []float64, color charts.Color) {
	var run []charts.Point
	flush := func() {
		if len(run) == 1 {
			painter.Circle(1.5, run[0].X, run[0].Y, color, color, 1)
		} else if len(run) > 1 {
			painter.LineStroke(run, color, 1.6)
		}
		run = nil
	}
	for _, at := range thin(samples) {
		if v := samples[at]; finite(v) {
			run = append(run, charts.Point{X: pl.x(at) + (pl.x(1)-pl.x(0))/2, Y: pl.y(v)})
		} else {
			flush()
		}
	}
	flush()
}

// thin chooses which samples are drawn: all, or of each part the lowest and the highest, so that no spike is lost.
func thin(samples []float64) []int {
	var chosen []int
	parts := maxPoints / 2
	if len(samples) <= 2*parts {
		for i := range samples {
			chosen = append(chosen, i)
		}
		return chosen
	}
	for part := range parts {
		from, to := part*len(samples)/parts, (part+1)*len(samples)/parts
		lowest, highest, found := from, from, false
		for i := from; i < to; i++ {
			switch v := samples[i]; {
			case !finite(v):
			case !found:
				lowest, highest, found = i, i, true
			case v < samples[lowest]:
				lowest = i
			case v > samples[highest]:
				highest = i
			}
		}
		switch {
		case !found:
			chosen = append(chosen, from)
		case lowest == highest:
			chosen = append(chosen, lowest)
		default:
			chosen = append(chosen, min(lowest, highest), max(lowest, highest))
		}
	}
	return chosen
}

// band is where the middle 90 % of the samples lie. Few samples have none.
func band(samples []float64) (low, high float64, ok bool) {
	sorted := slices.DeleteFunc(slices.Clone(samples), func(v float64) bool { return !finite(v) })
	const few = 5
	if len(sorted) < few {
		return 0, 0, false
	}
	slices.Sort(sorted)
	last := float64(len(sorted) - 1)
	return sorted[int(math.Round(0.05*last))], sorted[int(math.Round(0.95*last))], true
}

// ticks are round numbers for an axis, three to six of them.
func ticks(low, high float64) []float64 {
	span := high - low
	if !finite(span) || span <= 0 {
		return nil
	}
	unit := math.Pow(10, math.Floor(math.Log10(span/3)))
	for _, f := range []float64{5, 2, 1} {
		if span/(unit*f) >= 3 {
			unit *= f
			break
		}
	}
	var out []float64
	for k := math.Ceil(low / unit); k*unit <= high && len(out) < 10; k++ {
		out = append(out, k*unit)
	}
	return out
}

// short writes a number for an axis.
func short(v float64) string {
	for _, u := range []struct {
		from float64
		sign string
	}{{1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		by := u.from
		if u.sign == "k" {
			by = 1e3
		}
		if math.Abs(v) >= u.from && math.Abs(v) < 1e13 {
			return strconv.FormatFloat(v/by, 'g', 4, 64) + u.sign
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func clip(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// Spread draws how often which value was sampled, of both tracks, as an SVG.
func Spread(p Panel) ([]byte, error) {
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: height})
	legend(painter, p, 0, false)
	pl := scale(p, 0)
	style := charts.FontStyle{FontSize: 9, FontColor: ink}
	const bins = 40
	x := func(part float64) int { return left + int(math.Round(part*float64(width-left-right))) }
	painter.LineStroke([]charts.Point{{X: left, Y: height - bottom}, {X: width - right, Y: height - bottom}}, faint, 1)
	for _, v := range ticks(pl.low, pl.high) {
		words := short(v)
		painter.Text(words, x((v-pl.low)/(pl.high-pl.low))-painter.MeasureText(words, 0, style).Width()/2, height-8, 0, style)
	}
	for _, track := range []struct {
		samples []float64
		color   charts.Color
	}{{p.Baseline, baseline}, {p.Canary, p.color()}} {
		shares := histogram(track.samples, pl.low, pl.high, bins)
		steps := []charts.Point{{X: left, Y: height - bottom}}
		for i, share := range shares {
			y := height - bottom - int(math.Round(share*float64(height-top-bottom)))
			steps = append(steps, charts.Point{X: x(float64(i) / bins), Y: y}, charts.Point{X: x(float64(i+1) / bins), Y: y})
		}
		steps = append(steps, charts.Point{X: width - right, Y: height - bottom})
		painter.FillArea(steps, track.color.WithAlpha(36))
		painter.LineStroke(steps, track.color, 1.4)
	}
	return painter.Bytes()
}

// histogram is how many samples are in each of equal parts of the range, as a share of the fullest.
func histogram(samples []float64, low, high float64, bins int) []float64 {
	shares, most := make([]float64, bins), 0.0
	for _, v := range samples {
		part := (v/2 - low/2) / (high/2 - low/2)
		if !finite(v) || !finite(part) || part < 0 || part > 1 {
			continue
		}
		i := min(int(part*float64(bins)), bins-1)
		shares[i]++
		most = max(most, shares[i])
	}
	for i := range shares {
		shares[i] /= max(most, 1)
	}
	return shares
}
