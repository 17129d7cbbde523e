package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	charts "github.com/go-analyze/charts"
)

// panel has n samples a side, around 100; the canary's are shifted.
func panel(n int, shift float64) Panel {
	p := Panel{Title: "error rate", Bad: shift > 0, From: time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC), Step: time.Minute}
	for i := range n {
		wave := 10 * math.Sin(float64(i*i)/7)
		p.Baseline = append(p.Baseline, 100+wave)
		p.Canary = append(p.Canary, 100+shift-wave)
	}
	return p
}

func TestPictureShowsBothTracksOfEachPanel(t *testing.T) {
	data, err := Picture([]Panel{panel(60, 25), panel(60, 0)})
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := picture.Bounds().Size(), image.Pt(width, 2*height+gap); got != want {
		t.Errorf("the picture is %v, not %v", got, want)
	}
	upper, lower := colors(picture, 0), colors(picture, height+gap)
	for name, is := range map[string]bool{
		"the canary above is bad": upper[bad], "the one below isn't": !lower[bad] && lower[good],
		"the baseline above": upper[baseline], "the baseline below": lower[baseline],
	} {
		if !is {
			t.Errorf("%s: it isn't drawn so", name)
		}
	}
	again, err := Picture([]Panel{panel(60, 25), panel(60, 0)})
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("drawn twice, it differs (%v)", err)
	}
}

// colors tells which of the tracks' colours are in the plot of the panel that begins at y0.
func colors(picture image.Image, y0 int) map[charts.Color]bool {
	found := map[charts.Color]bool{}
	for y := y0 + top; y < y0+height-bottom; y++ {
		for x := left; x < width-right; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			found[charts.Color{R: uint8(r >> 8), G: uint8(g >> 8), B: uint8(b >> 8), A: 255}] = true
		}
	}
	return found
}

func TestAnythingCanBeDrawn(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, p := range map[string]Panel{
		"nothing":         {},
		"only NaN":        {Baseline: []float64{nan, nan}, Canary: []float64{nan}, Step: time.Second},
		"infinite":        {Baseline: []float64{inf, -inf, 1}, Canary: []float64{2, 3}, Step: time.Second},
		"one sample":      {Baseline: []float64{1}, Canary: []float64{1}, Step: time.Hour},
		"one side":        {Canary: []float64{1, 2, 3}, Step: time.Hour},
		"all zero":        {Baseline: make([]float64, 50), Canary: make([]float64, 50), Step: time.Minute},
		"huge":            {Baseline: []float64{math.MaxFloat64, -math.MaxFloat64}, Canary: []float64{0, 1}, Step: time.Minute},
		"tiny":            {Baseline: []float64{math.SmallestNonzeroFloat64, 0}, Canary: []float64{0, 1e-300}, Step: time.Minute},
		"many":            panel(100_000, 1),
		"days":            func() Panel { p := panel(200, 0); p.Step = time.Hour; return p }(),
		"a hostile title": {Title: strings.Repeat("</text><script>", 100), Baseline: []float64{1, 2}, Canary: []float64{1, 2}, Step: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Picture([]Panel{p}); err != nil {
				t.Errorf("picture: %v", err)
			}
			lines, err := Lines(p)
			if err != nil {
				t.Fatalf("lines: %v", err)
			}
			if bytes.Contains(lines, []byte("script")) || bytes.Contains(lines, []byte("NaN")) || len(lines) > 100_000 {
				t.Errorf("the SVG is not harmless: %d bytes, %.200s", len(lines), lines)
			}
			for d := xml.NewDecoder(bytes.NewReader(lines)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("the SVG is not XML: %v", err)
				}
			}
		})
	}
}

func TestThinningLosesNoSpike(t *testing.T) {
	samples := make([]float64, 10_000)
	samples[777], samples[5_003] = 9, -9
	drawn := thin(samples)
	if len(drawn) > maxPoints {
		t.Errorf("%d points are drawn", len(drawn))
	}
	if !slices.Contains(drawn, 777) || !slices.Contains(drawn, 5_003) || !slices.IsSorted(drawn) {
		t.Error("a spike is lost, or time runs backwards")
	}
}

func TestAxesHaveRoundNumbers(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      []float64
	}{
		{0, 100, []float64{0, 20, 40, 60, 80, 100}},
		{87, 112, []float64{90, 95, 100, 105, 110}},
		{0, 0.019, []float64{0, 0.005, 0.01, 0.015}},
	} {
		got := ticks(tt.low, tt.high)
		if !slices.EqualFunc(got, tt.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("from %g to %g: got %v, want %v", tt.low, tt.high, got, tt.want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.005: "0.005", 1500: "1500", 25_000: "25k", 2.5e6: "2.5M", 3e9: "3G"} {
		if got := short(v); got != want {
			t.Errorf("%g is written %s, not %s", v, got, want)
		}
	}
}
