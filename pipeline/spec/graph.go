package spec

import (
	"fmt"
	"slices"
	"strings"
)

// graph is which stage needs which, by their places in the file. Needs that name no
// stage are left out.
type graph struct{ needs [][]int }

// newGraph reads the edges: those of needs, or the stage above where there is none.
func newGraph(stages []Stage) *graph {
	index := map[Name]int{}
	for i := len(stages) - 1; i >= 0; i-- {
		index[stages[i].Name] = i
	}
	g := &graph{needs: make([][]int, len(stages))}
	for i, s := range stages {
		if s.Needs == nil && i > 0 {
			g.needs[i] = []int{i - 1}
		}
		for _, n := range s.Needs {
			if j, ok := index[n]; ok && !slices.Contains(g.needs[i], j) {
				g.needs[i] = append(g.needs[i], j)
			}
		}
	}
	return g
}

// before is every stage that i needs, directly or not.
func (g *graph) before(i int) map[int]bool {
	found := map[int]bool{}
	var visit func(int)
	visit = func(i int) {
		for _, n := range g.needs[i] {
			if !found[n] {
				found[n] = true
				visit(n)
			}
		}
	}
	visit(i)
	return found
}

// order lists the stages so that each comes after what it needs, otherwise as in the
// file. Stages of a cycle are left out.
func (g *graph) order() []int {
	var order []int
	done := make([]bool, len(g.needs))
	for progress := true; progress; {
		progress = false
		for i := range g.needs {
			ready := !done[i] && !slices.ContainsFunc(g.needs[i], func(n int) bool { return !done[n] })
			if ready {
				done[i], progress = true, true
				order = append(order, i)
				break
			}
		}
	}
	return order
}

// cycles finds stages that need themselves: each cycle once, beginning with the stage
// that comes first in the file.
func (g *graph) cycles() [][]int {
	var cycles [][]int
	told := map[int]bool{}
	for i := range g.needs {
		if told[i] || !g.before(i)[i] {
			continue
		}
		cycle := g.wayBack(i)
		for _, n := range cycle {
			told[n] = true
		}
		cycles = append(cycles, cycle)
	}
	return cycles
}

// wayBack is the shortest way from a stage along its needs to itself.
func (g *graph) wayBack(start int) []int {
	from := map[int]int{}
	queue := []int{start}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, n := range g.needs[i] {
			if n == start {
				way := []int{i}
				for i != start {
					i = from[i]
					way = append(way, i)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := from[n]; !seen {
				from[n] = i
				queue = append(queue, n)
			}
		}
	}
	return []int{start}
}

func (c *checker) checkGraph(l lane) {
	stages := l.stages
	var names []string
	for _, s := range stages {
		if s.Name != "" && !slices.Contains(names, string(s.Name)) {
			names = append(names, string(s.Name))
		}
	}
	for i, s := range stages {
		seen := map[Name]bool{}
		for k, n := range s.Needs {
			path := fmt.Sprintf("%s.needs[%d]", l.at(i), k)
			known := slices.Contains(names, string(n))
			switch {
			case n == "":
			case seen[n]:
				c.add(path, quote(string(n))+" is given twice", "remove one of them")
			case !known:
				c.add(path, "there is no stage "+quote(string(n)), didYouMean(string(n), names))
			}
			seen[n] = true
		}
	}
	for _, cycle := range newGraph(stages).cycles() {
		way := make([]string, 0, len(cycle)+1)
		for _, i := range append(cycle, cycle[0]) {
			way = append(way, string(stages[i].Name))
		}
		c.add(l.at(cycle[0])+".name", "stages need each other in a circle: "+strings.Join(way, " → "), "remove one of these needs")
	}
}
