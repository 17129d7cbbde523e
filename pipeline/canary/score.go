package canary

import (
	"math"
	"strconv"
	"strings"
)

// ungrouped is the group of metrics that name none.
const ungrouped = "default"

// scoring says how labels become scores.
type scoring struct {
	counts func(Label) bool // whether a metric with this label has a part in its groups' scores
	silent float64          // what a group adds to the whole in which no metric counts
}

// groups are the scores of the groups, in the order in which the metrics name them, and the score of the whole. A
// group's score is the share of metrics that pass, of those that count, in per cent; NaN if none counts. Groups without
// a weight share what the others leave of 100.
func (s scoring) groups(req Request, metrics []MetricReport) ([]GroupScore, float64) {
	var out []GroupScore
	index := map[string]int{}
	var passed, counted []float64
	for i, m := range req.Metrics {
		names := m.Groups
		if len(names) == 0 {
			names = []string{ungrouped}
		}
		for _, name := range names {
			g, known := index[name]
			if !known {
				g = len(out)
				index[name] = g
				out, passed, counted = append(out, GroupScore{Name: name}), append(passed, 0), append(counted, 0)
			}
			if !s.counts(metrics[i].Label) {
				continue
			}
			counted[g]++
			if metrics[i].Label == LabelPass {
				passed[g]++
			}
		}
	}
	weigh(out, req.GroupWeights)
	whole := 0.0
	for g := range out {
		score := s.silent
		out[g].Score = Number(math.NaN())
		if counted[g] > 0 {
			score = passed[g] / counted[g] * 100
			out[g].Score = Number(score)
		}
		whole += score * (float64(out[g].Weight) / 100)
	}
	return out, halfUp(whole)
}

func weigh(groups []GroupScore, weights map[string]float64) {
	left, without := 100.0, 0
	for _, g := range groups {
		weight, given := weights[g.Name]
		left -= weight
		if !given {
			without++
		}
	}
	for i, g := range groups {
		weight, given := weights[g.Name]
		if !given {
			weight = max(left, 0) / float64(without)
		}
		groups[i].Weight = Number(weight)
	}
}

// halfUp rounds a score to two places; half of the last place goes up. It rounds the number that people would read, so
// that 66.665 becomes 66.67 although no float64 is quite that.
func halfUp(score float64) float64 {
	text := strconv.FormatFloat(score, 'f', -1, 64)
	whole, part, _ := strings.Cut(text, ".")
	if len(part) <= 2 {
		return score
	}
	cents, err := strconv.ParseInt(whole+part[:2], 10, 64)
	if err != nil {
		return score // not a number, or far beyond any score
	}
	if part[2] >= '5' {
		cents++
	}
	return float64(cents) / 100
}
