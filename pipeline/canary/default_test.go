package canary

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func numbers(samples []float64) []Number {
	out := make([]Number, len(samples))
	for i, x := range samples {
		out[i] = Number(x)
	}
	return out
}

func same(n int, x float64) []Number { return slices.Repeat([]Number{Number(x)}, n) }

// around draws n samples about a level; each follows the one before by rho.
func around(random *rand.Rand, n int, level, deviation, rho float64) []Number {
	out := follow(random, n, rho)
	for i := range out {
		out[i] = level + deviation*out[i]
	}
	return numbers(out)
}

// every is n counts of which each k-th is 1 and the rest 0.
func every(n, k int) []Number {
	out := make([]Number, n)
	for i := k - 1; i < n; i += k {
		out[i] = 1
	}
	return out
}

// happen draws how often something happens, at each step, of so many times that it can.
func happen(random *rand.Rand, n, times int, chance float64) []Number {
	out := make([]Number, n)
	for i := range out {
		for range times {
			if random.Float64() < chance {
				out[i]++
			}
		}
	}
	return out
}

func judgeOne(m Metric) MetricReport { return Judge(Request{Metrics: []Metric{m}}).Metrics[0] }

func TestDefaultLabels(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	half, fifth, six := 1.5, 1.2, 0.6
	normal := func(level float64) []Number { return around(random, 60, level, 10, 0) }
	for name, c := range map[string]struct {
		metric Metric
		want   Label
	}{
		"the same":                           {Metric{Baseline: normal(100), Canary: normal(100)}, LabelPass},
		"a quarter more":                     {Metric{Baseline: normal(100), Canary: normal(125)}, LabelHigh},
		"a quarter less":                     {Metric{Baseline: normal(100), Canary: normal(75)}, LabelLow},
		"less, where more is worse":          {Metric{Baseline: normal(100), Canary: normal(75), Direction: Increase}, LabelPass},
		"more, where less is worse":          {Metric{Baseline: normal(100), Canary: normal(125), Direction: Decrease}, LabelPass},
		"more, and that is allowed":          {Metric{Baseline: normal(100), Canary: normal(125), EffectSize: EffectSize{AllowedIncrease: &half}}, LabelPass},
		"more than is allowed":               {Metric{Baseline: normal(100), Canary: normal(150), EffectSize: EffectSize{AllowedIncrease: &fifth}}, LabelHigh},
		"maybe more than is allowed":         {Metric{Baseline: normal(100), Canary: normal(122.5), EffectSize: EffectSize{AllowedIncrease: &fifth}}, LabelInconclusive},
		"a chance beyond what is allowed":    {Metric{Baseline: normal(100), Canary: normal(115), EffectSize: EffectSize{Measure: cles, AllowedIncrease: &six}}, LabelHigh},
		"sure, but very little":              {Metric{Baseline: around(random, 600, 100, 1, 0), Canary: around(random, 600, 101, 1, 0)}, LabelInconclusive},
		"farther below zero":                 {Metric{Baseline: normal(-100), Canary: normal(-125)}, LabelLow},
		"constant, and the same":             {Metric{Baseline: same(20, 5), Canary: same(20, 5)}, LabelPass},
		"constant, and different":            {Metric{Baseline: same(20, 5), Canary: same(20, 7)}, LabelHigh},
		"zero, and not zero":                 {Metric{Baseline: same(20, 0), Canary: same(20, 1e-9)}, LabelHigh},
		"now and then, as a gauge":           {Metric{Baseline: same(60, 0), Canary: every(60, 4)}, LabelHigh},
		"now and then, as a count":           {Metric{Kind: Count, Baseline: same(60, 0), Canary: every(60, 4)}, LabelHigh},
		"errors out of requests":             {Metric{Kind: Count, Baseline: same(60, 0), BaselineTotal: same(60, 50), Canary: every(60, 3), CanaryTotal: same(60, 50)}, LabelHigh},
		"no errors at all":                   {Metric{Kind: Count, Baseline: same(60, 0), BaselineTotal: same(60, 50), Canary: same(60, 0), CanaryTotal: same(60, 50)}, LabelPass},
		"as many errors, of more requests":   {Metric{Kind: Count, Direction: Decrease, Baseline: same(60, 5), BaselineTotal: same(60, 50), Canary: same(60, 5), CanaryTotal: same(60, 100)}, LabelLow},
		"more errors than there were":        {Metric{Kind: Count, Baseline: same(60, 0), BaselineTotal: same(60, 50), Canary: same(60, 9), CanaryTotal: same(60, 1)}, LabelHigh},
		"no requests":                        {Metric{Kind: Count, Baseline: same(60, 0), BaselineTotal: same(60, 0), Canary: same(60, 0), CanaryTotal: same(60, 0)}, LabelNodata},
		"counts divided by time":             {Metric{Kind: Count, Baseline: around(random, 60, 0.5, 0.05, 0), Canary: around(random, 60, 0.8, 0.05, 0)}, LabelHigh},
		"two against two":                    {Metric{Baseline: same(2, 1), Canary: same(2, 4)}, LabelInconclusive},
		"no canary":                          {Metric{Baseline: same(60, 1)}, LabelNodata},
		"no canary, and it must have data":   {Metric{Baseline: same(60, 1), MustHaveData: true}, LabelNodataFailMetric},
		"only what is no number":             {Metric{Baseline: same(60, math.NaN()), Canary: same(60, math.Inf(1))}, LabelNodata},
		"spread thrice as wide":              {Metric{Baseline: around(random, 120, 100, 10, 0), Canary: around(random, 120, 100, 30, 0)}, LabelHigh},
		"spread wider, where less is worse":  {Metric{Baseline: around(random, 120, 100, 10, 0), Canary: around(random, 120, 100, 30, 0), Direction: Decrease}, LabelLow},
		"spread a third":                     {Metric{Baseline: around(random, 120, 100, 10, 0), Canary: around(random, 120, 100, 3, 0)}, LabelPass},
		"one wild sample":                    {Metric{Baseline: normal(100), Canary: append(normal(100), 1e9)}, LabelPass},
		"a shift that a wild sample hides":   {Metric{Baseline: append(normal(100), 1e9), Canary: normal(125)}, LabelHigh},
		"wandering, and apart for a while":   {Metric{Baseline: around(random, 60, 100, 10, 0.9), Canary: around(random, 60, 108, 10, 0.9)}, LabelPass},
		"as large as numbers go":             {Metric{Baseline: around(random, 60, 1e308, 1e307, 0), Canary: around(random, 60, 0.5e308, 0.5e307, 0)}, LabelLow},
		"from the least to the most numbers": {Metric{Baseline: same(20, -math.MaxFloat64), Canary: same(20, math.MaxFloat64)}, LabelHigh},
	} {
		t.Run(name, func(t *testing.T) {
			c.metric.Name = "m"
			if got := judgeOne(c.metric); got.Label != c.want {
				t.Errorf("the label is %s, want %s: %s", got.Label, c.want, got.Reason)
			}
		})
	}
}

func TestTailThatGrewIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	m := Metric{Name: "latency"}
	for _, side := range []*[]Number{&m.Baseline, &m.Canary} {
		for _, z := range follow(random, 480, 0) {
			x := math.Exp(z / 2)
			if side == &m.Canary && z > 1.645 {
				x *= 1.5
			}
			*side = append(*side, Number(x))
		}
	}
	got := judgeOne(m)
	if got.Label != LabelHigh || !strings.Contains(got.Reason, "longer tail") {
		t.Errorf("%s: %s", got.Label, got.Reason)
	}
	m.Direction = Decrease
	if got := judgeOne(m); got.Label != LabelPass {
		t.Errorf("where less is worse: %s: %s", got.Label, got.Reason)
	}
}

func TestUnitsOfSamplesMakeNoDifference(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 50 {
		m := Metric{Name: "m", Baseline: around(random, 20, 100, 10, 0.5), Canary: around(random, 20, 100+30*random.Float64(), 10, 0.5)}
		want := judgeOne(m)
		for _, unit := range []float64{1e-300, 1e-5, 1e5, 1e300} {
			scaled := m
			scaled.Baseline, scaled.Canary = slices.Clone(m.Baseline), slices.Clone(m.Canary)
			for i := range m.Baseline {
				scaled.Baseline[i] *= Number(unit)
				scaled.Canary[i] *= Number(unit)
			}
			got := judgeOne(scaled)
			if got.Label != want.Label || math.Abs(float64(got.Lower)/unit-float64(want.Lower)) > 1e-6 {
				t.Errorf("in units of %g it is %s from %g, not %s from %g", unit, got.Label, float64(got.Lower)/unit, want.Label, want.Lower)
			}
		}
	}
}

func TestSentences(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	limit := 3.5
	drift := around(random, 60, 100, 5, 0)
	for i := range drift {
		drift[i] += Number(i)
	}
	for _, c := range []struct {
		metric Metric
		want   string
	}{
		{
			Metric{Name: "error rate", Kind: Count, Baseline: happen(random, 60, 34, 0.002), BaselineTotal: same(60, 34), Canary: happen(random, 60, 34, 0.019), CanaryTotal: same(60, 34), EffectSize: EffectSize{AllowedIncrease: &limit}},
			"error rate rose from 0.294 % to 2.21 % (95 % interval +1.04 to +2.67 points) in 4,080 requests; allowed is +0.735.",
		},
		{
			Metric{Name: "heap", Baseline: around(random, 60, 100, 5, 0), Canary: drift},
			"heap rose by and by, on average from 101 to 127.9 (95 % interval +12.3 to +42.8 %) in 60 samples a side; no change is allowed.",
		},
		{
			Metric{Name: "heap", Baseline: same(7, 1), Canary: same(9, 1)},
			"There are too few samples yet, 9 of the canary and 7 of the baseline; 8 of each are needed.",
		},
		{
			Metric{Name: "errors", Kind: Count, Baseline: same(20, 0), Canary: same(22, 0)},
			"errors: there was none, in 22 samples against 20.",
		},
	} {
		if diff := cmp.Diff(c.want, judgeOne(c.metric).Reason); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDefaultVerdicts(t *testing.T) {
	good := Metric{Name: "good", Baseline: same(20, 5), Canary: same(20, 5)}
	bad := Metric{Name: "bad", Baseline: same(20, 5), Canary: same(20, 7)}
	few := Metric{Name: "few", Baseline: same(2, 5), Canary: same(2, 7)}
	none := Metric{Name: "none"}
	as := func(m Metric, change func(*Metric)) Metric { change(&m); return m }
	critical := func(m *Metric) { m.Critical = true }
	advisory := func(m *Metric) { m.Advisory = true }
	double := 2.0
	for name, c := range map[string]struct {
		metrics []Metric
		look    int
		want    Verdict
		score   float64
	}{
		"all good":                               {metrics: []Metric{good, good}, want: Pass, score: 100},
		"all good so far":                        {metrics: []Metric{good, good}, look: 1, want: Pass, score: 100},
		"a critical one is worse":                {metrics: append(slices.Repeat([]Metric{good}, 9), as(bad, critical)), look: 1, want: Fail, score: 90},
		"another one is worse":                   {metrics: append(slices.Repeat([]Metric{good}, 9), bad), want: Marginal, score: 90},
		"an advisory one is worse":               {metrics: append(slices.Repeat([]Metric{good}, 9), as(bad, advisory)), want: Pass, score: 90},
		"too many are worse":                     {metrics: []Metric{good, bad, bad}, want: Fail, score: 33.33},
		"some are worse, all advisory":           {metrics: []Metric{good, good, as(bad, advisory)}, want: Marginal, score: 66.67},
		"one has too few samples":                {metrics: []Metric{good, few}, want: Inconclusive, score: 100},
		"an advisory one has too few samples":    {metrics: []Metric{good, as(few, advisory)}, want: Pass, score: 100},
		"one has no data":                        {metrics: []Metric{good, good, none}, want: Pass, score: 100},
		"half have no data":                      {metrics: []Metric{good, none}, want: Inconclusive, score: 100},
		"a critical one has no data":             {metrics: []Metric{good, good, as(none, critical)}, want: Inconclusive, score: 100},
		"one has no data and must":               {metrics: []Metric{good, good, good, as(none, func(m *Metric) { m.MustHaveData = true })}, want: Marginal, score: 75},
		"nothing has data":                       {metrics: []Metric{none, none}, want: Inconclusive},
		"a critical one is worse, but not by so": {metrics: []Metric{good, good, good, as(bad, func(m *Metric) { m.Critical, m.EffectSize.CriticalIncrease = true, &double })}, want: Marginal, score: 75},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(Request{Metrics: c.metrics, Look: c.look, Looks: 3})
			if got.Verdict != c.want || math.Abs(float64(got.Score)-c.score) > 0.01 {
				t.Errorf("it is %s with %v, want %s with %v: %s", got.Verdict, got.Score, c.want, c.score, got.Reason)
			}
		})
	}
}

func TestIntervalAgreesWithLabel(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	for k := range 400 {
		n := 10 + random.IntN(60)
		m := Metric{Name: "m", Baseline: around(random, n, 100, 10, 0.3), Canary: around(random, n, 100+float64(k%20), 10, 0.3)}
		r := judgeOne(m)
		if strings.Contains(r.Reason, "varies") || strings.Contains(r.Reason, "tail") {
			continue
		}
		if !(r.Lower <= r.Estimate && r.Estimate <= r.Upper) {
			t.Errorf("%v is outside of %v to %v", r.Estimate, r.Lower, r.Upper)
		}
		if zero := r.Lower <= 0 && r.Upper >= 0; zero != (r.Label == LabelPass) && r.Label != LabelInconclusive {
			t.Errorf("%s, with an interval from %v to %v", r.Label, r.Lower, r.Upper)
		}
	}
}

// TestPartsOfTheJudgeDecideAlone asks each part by itself, where the others would hide what it says.
func TestPartsOfTheJudgeDecideAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	p := plan{rate: 0.05, look: 1, looks: 1}
	g := gaugeOf(follow(random, 240, 0), follow(random, 240, 0))
	for i := 0; i < 240; i += 20 {
		g.baseline[i], g.canary[i] = 5+float64(i)/1e3, 7+float64(i)/1e3
	}
	if found, sure := p.tail(Metric{}, gaugeOf(g.baseline, g.canary), pair{}); !sure || !strings.Contains(found, "farther out") {
		t.Errorf("values that are farther out: %q", found)
	}
	many := gaugeOf(follow(random, 400, 0), follow(random, 400, 0))
	for i := 0; i < 400; i += 10 {
		many.canary[i] = 4 + float64(i)/1e3
	}
	if found, sure := p.tail(Metric{}, gaugeOf(many.baseline, many.canary), pair{}); !sure || !strings.Contains(found, "are the canary's") {
		t.Errorf("more values that are far out: %q", found)
	}
	wide, narrow := around(random, 100, 0, 3, 0), around(random, 100, 0, 1, 0)
	if _, wider := p.wider(Metric{}, gaugeOf(clean(Metric{}, wide), clean(Metric{}, narrow))); wider {
		t.Error("a spread that shrank counts as wider")
	}
	if got := farther([]float64{4, 5, 6}, []float64{1, 2, 3}); math.Abs(got-0.0248) > 0.0005 { // z = 4.5/√5.25 = 1.964
		t.Errorf("three above three have a chance of %v", got)
	}
}

func TestCountsThatComeInBurstsAreNotTakenForIndependent(t *testing.T) {
	bursts := func(every int) side {
		var s side
		for i := range 64 {
			s.count, s.total = append(s.count, 0), append(s.total, 100)
			if i%16 < every {
				s.count[i] = 3
			}
		}
		return s
	}
	even := counts{
		baseline: side{count: []float64{1, 3, 2, 2}, total: []float64{9, 9, 9, 9}}, canary: side{count: []float64{2, 1, 3, 2}, total: []float64{9, 9, 9, 9}},
	}
	if got := even.excess(jump{}); got > 5 {
		t.Errorf("counts as even as chance makes them have an excess of %v", got)
	}
	c := counts{baseline: bursts(2), canary: bursts(5)}
	x, n := c.baseline.sums()
	y, m := c.canary.sums()
	alone := binomial(y, x+y, m/(n+m))
	views, chance := c.compared()
	if c.excess(jump{}) < 4 || chance < 10*alone || len(views) != 2 {
		t.Errorf("with an excess of %v and %d batches, %v of chance became %v", c.excess(jump{}), len(views), alone, chance)
	}
	most := sideOf(Metric{}, []Number{3}, []Number{1})
	if diff := cmp.Diff([]float64{3}, most.total); diff != "" {
		t.Error(diff)
	}
}

func TestMeansOfBatchesAreComparedWhereSamplesFollow(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	if got := len(gaugeOf(follow(random, 240, 0), follow(random, 240, 0)).pairs()); got != 1 {
		t.Errorf("independent samples are compared in %d ways", got)
	}
	if got := len(gaugeOf(follow(random, 240, 0.8), follow(random, 240, 0.8)).pairs()); got != 4 {
		t.Errorf("samples that follow one another are compared in %d ways", got)
	}
}

// TestIdenticalCanariesAreSeldomStopped is a short form of what make judge-quality measures. The bound is four standard
// errors above the rate.
func TestIdenticalCanariesAreSeldomStopped(t *testing.T) {
	const runs, looks, each = 300, 6, 10
	for _, rho := range []float64{0, 0.5, 0.8} {
		random := rand.New(rand.NewPCG(6, uint64(10*rho)))
		stopped := 0
		for range runs {
			baseline, canary := around(random, looks*each, 100, 10, rho), around(random, looks*each, 100, 10, rho)
			for look := 1; look <= looks; look++ {
				m := Metric{Name: "m", Critical: true, Baseline: baseline[:look*each], Canary: canary[:look*each]}
				if Judge(Request{Metrics: []Metric{m}, Look: look, Looks: looks}).Verdict == Fail {
					stopped++
					break
				}
			}
		}
		if most := runs*0.05 + 4*math.Sqrt(runs*0.05*0.95); float64(stopped) > most {
			t.Errorf("at rho %v %d of %d were stopped", rho, stopped, runs)
		}
	}
}

func TestBadCanariesAreStoppedEarly(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	at := map[float64]int{}
	for _, level := range []float64{125, 150} {
		for range 50 {
			m := Metric{Name: "m", Critical: true, Baseline: around(random, 10, 100, 10, 0), Canary: around(random, 10, level, 10, 0)}
			if Judge(Request{Metrics: []Metric{m}, Look: 1, Looks: 24}).Verdict == Fail {
				at[level]++
			}
		}
	}
	if at[125] < 22 || at[150] < 40 {
		t.Errorf("of 50 canaries that are a quarter and a half worse, the first of 24 looks stops %d and %d", at[125], at[150])
	}
}

func FuzzDefault(f *testing.F) {
	f.Add(uint64(1), 20, 20, 0)
	f.Add(uint64(2), 1, 300, 3)
	f.Fuzz(func(t *testing.T, seed uint64, baseline, canary, way int) {
		random := rand.New(rand.NewPCG(seed, 1))
		wild := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1, -1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-5, 1e17}
		draw := func(n int) []Number {
			out := make([]Number, min(max(n, 0), 400))
			for i := range out {
				out[i] = Number(wild[random.IntN(len(wild))])
				if way%2 == 0 {
					out[i] = Number(random.NormFloat64())
				}
				if way%3 == 2 {
					out[i] = Number(math.Abs(float64(out[i])))
				}
			}
			return out
		}
		m := Metric{Name: "m", Baseline: draw(baseline), Canary: draw(canary)}
		if way%3 == 2 {
			m.Kind = Count
			if way%5 != 0 {
				m.BaselineTotal, m.CanaryTotal = draw(len(m.Baseline)), draw(len(m.Canary))
				m.BaselineTotal, m.CanaryTotal = append(m.BaselineTotal, same(len(m.Baseline), 1)...)[:len(m.Baseline)], append(m.CanaryTotal, same(len(m.Canary), 1)...)[:len(m.Canary)]
			}
		}
		r := Judge(Request{Metrics: []Metric{m}, Looks: 5, Look: 1 + int(seed%5)})
		if there(m.Baseline) < leastSamples || there(m.Canary) < leastSamples {
			if r.Verdict == Pass {
				t.Errorf("it passes with %d and %d samples: %s", there(m.Baseline), there(m.Canary), r.Metrics[0].Reason)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
		if again := Judge(Request{Metrics: []Metric{m}, Looks: 5, Look: 1 + int(seed%5)}); fmt.Sprint(again) != fmt.Sprint(r) {
			t.Error("the same request is answered in two ways")
		}
	})
}

// there is how many samples are numbers.
func there(samples []Number) int {
	n := 0
	for _, s := range samples {
		if !math.IsNaN(float64(s)) && !math.IsInf(float64(s), 0) {
			n++
		}
	}
	return n
}

// TestACanaryThatGetsBadLaterIsFound: at first it is as the baseline, and then it is not. The jump is told, and its size.
func TestACanaryThatGetsBadLaterIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		metric Metric
		sample func(random *rand.Rand, bad bool) float64
		says   string
		from   float64
		to     float64
	}{
		"a gauge": {Metric{Name: "latency", Kind: Gauge}, func(random *rand.Rand, bad bool) float64 {
			x := 200 + 20*random.NormFloat64()
			if bad {
				x += 100
			}
			return x
		}, "latency rose at sample ", 200, 300},
		"a count": {Metric{Name: "errors", Kind: Count}, func(random *rand.Rand, bad bool) float64 {
			n := 0.0
			for range 100 {
				if p := random.Float64(); p < 0.01 || bad && p < 0.1 {
					n++
				}
			}
			return n
		}, "errors rose at sample ", 0.01, 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			const steps, bad, looks = 120, 68, 12
			random := rand.New(rand.NewPCG(11, 7))
			m := c.metric
			m.Critical, m.Direction = true, Increase
			for i := range steps {
				m.Baseline = append(m.Baseline, Number(c.sample(random, false)))
				m.Canary = append(m.Canary, Number(c.sample(random, i >= bad)))
				if m.Kind == Count {
					m.BaselineTotal, m.CanaryTotal = append(m.BaselineTotal, 100), append(m.CanaryTotal, 100)
				}
			}
			for look := 1; look <= looks; look++ {
				n := look * steps / looks
				now := m
				now.Baseline, now.Canary = m.Baseline[:n], m.Canary[:n]
				if m.Kind == Count {
					now.BaselineTotal, now.CanaryTotal = m.BaselineTotal[:n], m.CanaryTotal[:n]
				}
				r := Judge(Request{Judge: Default, Looks: looks, Look: look, Metrics: []Metric{now}, Score: Thresholds{Pass: 75, Marginal: 50}})
				if r.Verdict != Fail {
					continue
				}
				found := r.Metrics[0]
				t.Log(found.Reason)
				if n < bad+leastAfter || n > bad+40 {
					t.Errorf("it was found after %d samples", n)
				}
				if !strings.HasPrefix(found.Reason, c.says) {
					t.Errorf("it says %q", found.Reason)
				}
				if size, want := float64(found.Estimate), c.to-c.from; math.Abs(size/want-1) > 0.25 || float64(found.Lower) > want || float64(found.Upper) < want {
					t.Errorf("the difference is told to be %v, from %v to %v", size, found.Lower, found.Upper)
				}
				return
			}
			t.Error("it was not found")
		})
	}
}

// TestOfAJumpWhatIsAfterItCounts: its size, its limits, and when it was.
func TestOfAJumpWhatIsAfterItCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 9))
	two, half := 2.0, 1.5
	// steps draws samples about a level that changes.
	steps := func(deviation float64, levels ...float64) []Number {
		var out []Number
		for i := 0; i < len(levels); i += 2 {
			out = append(out, around(random, int(levels[i]), levels[i+1], deviation, 0)...)
		}
		return out
	}
	gaps := steps(4, 80, 200, 40, 300)
	for i := range 20 {
		gaps[i*3] = Number(math.NaN())
	}
	for name, c := range map[string]struct {
		metric   Metric
		label    Label
		critical bool
		says     string // the beginning
		size     float64
	}{
		"late and large":               {Metric{Baseline: steps(4, 120, 200), Canary: steps(4, 96, 200, 24, 2000), EffectSize: EffectSize{AllowedIncrease: &two}}, LabelHigh, true, "m rose at sample 97 from 200 to 2", 1800},
		"samples are missing":          {Metric{Baseline: steps(4, 120, 200), Canary: gaps}, LabelHigh, true, "m rose at sample 81 from", 100},
		"critical by what is after it": {Metric{Baseline: steps(4, 120, 200), Canary: steps(4, 84, 200, 36, 400), EffectSize: EffectSize{CriticalIncrease: &half}}, LabelHigh, true, "m rose at sample 85 from", 200},
		"for the better":               {Metric{Baseline: steps(10, 120, 200), Canary: steps(10, 60, 200, 60, 150)}, LabelPass, false, "m fell at sample 61 from", -50},
	} {
		t.Run(name, func(t *testing.T) {
			c.metric.Name, c.metric.Direction, c.metric.Critical = "m", Increase, true
			got := judgeOne(c.metric)
			t.Log(got.Reason)
			if got.Label != c.label || got.Critical != c.critical || !strings.HasPrefix(got.Reason, c.says) {
				t.Errorf("%+v, want %s that begins with %q", got, c.label, c.says)
			}
			if size := float64(got.Estimate); !math.IsNaN(c.size) && math.Abs(size/c.size-1) > 0.1 {
				t.Errorf("the difference is %v, want about %v", size, c.size)
			}
		})
	}
	// What is compared with is the baseline, and not what the canary was like before.
	m := Metric{Name: "m", Direction: Increase, Baseline: steps(10, 120, 200), Canary: steps(10, 40, 140, 80, 200)}
	if got := judgeOne(m); strings.Contains(got.Reason, "rose") {
		t.Errorf("it was better at first: %s", got.Reason)
	}
}
