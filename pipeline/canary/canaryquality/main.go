// Command canaryquality measures how often canary judges stop an identical canary, and how soon they stop a bad one.
//
// It draws tracks with a seed, shows them to each judge look by look, and prints tables in Markdown. docs/canary-judge.md
// has them; make judge-quality runs it.
package main

import (
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var looksPlanned = []int{1, 6, 12, 24}

// steps is how many samples a side there are at the end.
func steps(looks int) int { return max(60, 10*looks) }

type noise struct {
	name string
	rho  float64
}

var noises = []noise{{"independent", 0}, {"AR(1) 0.5", 0.5}, {"AR(1) 0.8", 0.8}}

// families are the kinds of metrics of runs without a difference.
var families = []struct {
	name    string
	metrics int
	shape   shape
}{
	{"1 gauge", 1, gauges}, {"1 latency", 1, latencies}, {"1 error count", 1, errors},
	{"3: one of each", 3, gauges}, {"10 of all kinds", 10, gauges},
}

var harms = []harm{
	{name: "mean +5 %", level: 0.05},
	{name: "mean +10 %", level: 0.10},
	{name: "mean +25 %", level: 0.25},
	{name: "mean +50 %", level: 0.50},
	{name: "errors 0 → 1 %", shape: errors, rates: true, rate: 0.01},
	{name: "errors 0 → 5 %", shape: errors, rates: true, rate: 0.05},
	{name: "leak to +20 %", leak: 0.20},
	{name: "mean +25 % from half-way on", level: 0.25, since: 0.5},
	{name: "errors 0.5 → 5 % from half-way on", shape: errors, rates: true, base: errorRate, rate: 0.05, since: 0.5},
	{name: "variance ×3", swing: 3},
	{name: "latency's tail +50 %", shape: latencies, tail: 1.5},
}

type options struct {
	repetitions, rivals, workers int
	seed                         uint64
	only, rows                   string
}

func main() {
	var o options
	flag.IntVar(&o.repetitions, "repetitions", 1000, "runs of each cell")
	flag.IntVar(&o.rivals, "rivals", 1000, "of these, runs that the other judges are shown")
	flag.IntVar(&o.workers, "workers", 2, "runs at the same time")
	flag.Uint64Var(&o.seed, "seed", 20261126, "of everything that is drawn")
	flag.StringVar(&o.only, "only", "", "only this judge")
	flag.StringVar(&o.rows, "rows", "", "only rows that begin with this")
	flag.Float64Var(&requests, "requests", requests, "of each step")
	flag.Parse()
	start := time.Now()
	o.alike(os.Stdout)
	o.different(os.Stdout, 1)
	o.different(os.Stdout, 10)
	fmt.Fprintf(os.Stderr, "canaryquality: %d repetitions took %s\n", o.repetitions, time.Since(start).Round(time.Second))
}

func (o options) judges() []rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return o.only != "" && r.name != o.only })
}

// runs is how many runs a judge is shown.
func (o options) runs(r rule) int {
	if r.name == rules[0].name {
		return o.repetitions
	}
	return min(o.repetitions, o.rivals)
}

// many says how many runs there are.
func (o options) many() string {
	if o.rivals < o.repetitions {
		return fmt.Sprintf("%d runs a cell, %d for the others", o.repetitions, o.rivals)
	}
	return fmt.Sprintf("%d runs a cell", o.repetitions)
}

// alike prints how often each judge stops a canary that is no different.
func (o options) alike(w io.Writer) {
	fmt.Fprintf(w, "False rollbacks of identical tracks in %%, of %s (seed %d):\n\n", o.many(), o.seed)
	header := []string{"metrics", "noise", "looks"}
	for _, r := range o.judges() {
		header = append(header, r.name)
	}
	row(w, header)
	row(w, slices.Repeat([]string{"---"}, len(header)))
	for _, f := range families {
		for _, n := range noises {
			if !strings.HasPrefix(f.name+" "+n.name, o.rows) {
				continue
			}
			for _, looks := range looksPlanned {
				cells := []string{f.name, n.name, strconv.Itoa(looks)}
				for _, t := range o.cell(f.metrics, looks, n, harm{shape: f.shape}) {
					cells = append(cells, fmt.Sprintf("%.1f", t.share(t.stopped())))
				}
				row(w, cells)
			}
		}
	}
	fmt.Fprintln(w)
}

// different prints how often, and at which look, each judge stops a canary of which one metric is worse.
func (o options) different(w io.Writer, metrics int) {
	fmt.Fprintf(w, "Stopped in %% of %s @ median look of those; one bad of %d metrics, independent samples:\n\n", o.many(), metrics)
	header := []string{"what is worse", "looks"}
	for _, r := range o.judges() {
		header = append(header, r.name)
	}
	row(w, header)
	row(w, slices.Repeat([]string{"---"}, len(header)))
	for _, h := range harms {
		if !strings.HasPrefix(h.name, o.rows) {
			continue
		}
		for _, looks := range looksPlanned {
			cells := []string{h.name, strconv.Itoa(looks)}
			for _, t := range o.cell(metrics, looks, noises[0], h) {
				cells = append(cells, t.String())
			}
			row(w, cells)
		}
	}
	fmt.Fprintln(w)
}

func row(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

// tally is what a rule did in the runs of a cell: the look at which it stopped each, 0 if it did not.
type tally struct {
	at   []int
	grey int // runs that it neither stopped nor let pass at the end
}

func (t tally) stopped() int {
	n := 0
	for _, look := range t.at {
		if look > 0 {
			n++
		}
	}
	return n
}

func (t tally) share(n int) float64 { return 100 * float64(n) / float64(len(t.at)) }

func (t tally) String() string {
	var looks []int
	for _, look := range t.at {
		if look > 0 {
			looks = append(looks, look)
		}
	}
	if len(looks) == 0 {
		return "0" + t.held()
	}
	slices.Sort(looks)
	return fmt.Sprintf("%.0f @ %d%s", t.share(len(looks)), looks[len(looks)/2], t.held())
}

// held says how many more runs did not pass at the end.
func (t tally) held() string {
	if t.share(t.grey) < 0.5 {
		return ""
	}
	return fmt.Sprintf(" (+%.0f grey)", t.share(t.grey))
}

// cell shows all runs of a cell to all rules. A run depends on the seed, the cell and its number only.
func (o options) cell(metrics, looks int, n noise, h harm) []tally {
	judges := o.judges()
	out := make([]tally, len(judges))
	for i := range out {
		out[i].at = make([]int, o.runs(judges[i]))
	}
	hash := fnv.New64a()
	fmt.Fprint(hash, metrics, looks, n, h)
	var lock sync.Mutex
	var all sync.WaitGroup
	for worker := range o.workers {
		all.Go(func() {
			for k := worker; k < o.repetitions; k += o.workers {
				//nolint:gosec // tracks are drawn, not secrets
				r := draw(rand.New(rand.NewPCG(o.seed+uint64(k), hash.Sum64())), metrics, steps(looks), n.rho, h)
				for i, judge := range judges {
					if k >= len(out[i].at) {
						continue
					}
					look, last := watch(judge, r, looks)
					lock.Lock()
					out[i].at[k] = look
					if look == 0 && last == grey {
						out[i].grey++
					}
					lock.Unlock()
				}
			}
		})
	}
	all.Wait()
	return out
}

// watch shows a run to a rule look by look until it stops it.
func watch(judge rule, r run, looks int) (stopped int, last answer) {
	for look := 1; look <= looks; look++ {
		last = judge.judge(r.until(steps(looks)*look/looks), look, looks)
		if last == stop {
			return look, stop
		}
	}
	return 0, last
}
