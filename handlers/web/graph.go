package web

import (
	"fmt"
	"slices"
	"sort"
)

// The size of a node and the gaps between nodes in CSS pixels; the style sheet has the
// same numbers.
const (
	nodeWidth  = 184
	nodeHeight = 56
	gapX       = 40
	gapY       = 16
	maxPlaces  = 500 // of a drawn graph
)

// graph is the stages in columns: each stands behind all that it needs.
type graph struct {
	Linear        bool // one stage after the other: there are no edges to draw
	Columns       [][]node
	Edges         []string // SVG paths
	Width, Height int
}

// node is a stage, or an empty place where an edge passes by if Stage is nil.
type node struct {
	Stage *stageCard
}

// place is a node while the graph is laid out.
type place struct {
	stage   int // -1 where an edge passes by
	column  int
	row     int
	parents []*place
}

func newGraph(stages []stageCard) graph {
	needs := reduce(needed(stages))
	columns := arrange(needs)
	g := graph{Linear: true}
	most, places := 0, 0
	for _, c := range columns {
		most = max(most, len(c))
		places += len(c)
	}
	if places > maxPlaces {
		return inOrder(stages)
	}
	for _, c := range columns {
		var nodes []node
		for _, p := range c {
			n := node{}
			if p.stage >= 0 {
				n.Stage = &stages[p.stage]
			}
			nodes = append(nodes, n)
		}
		g.Columns = append(g.Columns, nodes)
		g.Linear = g.Linear && len(c) == 1
	}
	if g.Linear || len(columns) == 0 {
		g.Linear = true
		return g
	}
	g.Width = len(columns)*(nodeWidth+gapX) - gapX
	g.Height = most*(nodeHeight+gapY) - gapY
	for _, c := range columns {
		for _, p := range c {
			for _, from := range p.parents {
				g.Edges = append(g.Edges, edge(columns, from, p, g.Height))
			}
		}
	}
	return g
}

// inOrder is the strip for stages whose graph would be too big to be read.
func inOrder(stages []stageCard) graph {
	g := graph{Linear: true}
	for i := range stages {
		g.Columns = append(g.Columns, []node{{Stage: &stages[i]}})
	}
	return g
}

// needed turns names into places in the list. Names that no stage has are left out.
func needed(stages []stageCard) [][]int {
	index := map[string]int{}
	for i, s := range stages {
		index[s.Name] = i
	}
	needs := make([][]int, len(stages))
	for i, s := range stages {
		for _, n := range s.Needs {
			if j, ok := index[n]; ok && j != i {
				needs[i] = append(needs[i], j)
			}
		}
	}
	return needs
}

// reduce leaves out what is needed by way of another need anyway.
func reduce(needs [][]int) [][]int {
	level := levels(needs)
	order := make([]int, len(needs))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return level[order[a]] < level[order[b]] })
	reach := make([]map[int]bool, len(needs)) // all that a stage needs, at any distance
	out := make([][]int, len(needs))
	for _, i := range order {
		reach[i] = map[int]bool{}
		for _, j := range needs[i] {
			for k := range reach[j] {
				reach[i][k] = true
			}
		}
		for _, j := range needs[i] {
			if !reach[i][j] && !slices.Contains(out[i], j) {
				out[i] = append(out[i], j)
			}
		}
		for _, j := range needs[i] {
			reach[i][j] = true
		}
	}
	return out
}

// levels is the length of the longest way to each stage. It ends also for a circle,
// which a compiled plan never has.
func levels(needs [][]int) []int {
	level := make([]int, len(needs))
	for range needs {
		changed := false
		for i := range needs {
			for _, j := range needs[i] {
				if level[i] <= level[j] && level[j]+1 < len(needs) {
					level[i] = level[j] + 1
					changed = true
				}
			}
		}
		if !changed {
			break
		}
	}
	return level
}

// arrange puts the stages into columns, with places for the edges that pass by others,
// and each column into the order that crosses few edges.
func arrange(needs [][]int) [][]*place {
	level := levels(needs)
	deepest := -1
	for _, l := range level {
		deepest = max(deepest, l)
	}
	columns := make([][]*place, deepest+1)
	of := make([]*place, len(needs))
	for i, l := range level {
		of[i] = &place{stage: i, column: l}
		columns[l] = append(columns[l], of[i])
	}
	passing := map[[2]int]*place{} // by stage it comes from and column
	for i := range needs {
		for _, j := range needs[i] {
			from := of[j]
			for c := level[j] + 1; c < level[i]; c++ {
				p, ok := passing[[2]int{j, c}]
				if !ok {
					p = &place{stage: -1, column: c, parents: []*place{from}}
					passing[[2]int{j, c}] = p
					columns[c] = append(columns[c], p)
				}
				from = p
			}
			of[i].parents = append(of[i].parents, from)
		}
	}
	for _, c := range columns {
		sort.SliceStable(c, func(a, b int) bool { return c[a].middle() < c[b].middle() })
		for row, p := range c {
			p.row = row
		}
	}
	return columns
}

// middle is where the parents of a place are.
func (p *place) middle() float64 {
	if len(p.parents) == 0 {
		return 0
	}
	sum := 0
	for _, q := range p.parents {
		sum += q.row
	}
	return float64(sum) / float64(len(p.parents))
}

// edge is the SVG path between two places.
func edge(columns [][]*place, from, to *place, height int) string {
	x1, y1 := at(columns, from, height)
	x2, y2 := at(columns, to, height)
	x1 += nodeWidth
	half := (x2 - x1) / 2
	path := fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+half, y1, x2-half, y2, x2, y2)
	if to.stage < 0 {
		path += fmt.Sprintf("h%d", nodeWidth)
	}
	return path
}

// at is the middle of a place's left side; columns are centred on each other.
func at(columns [][]*place, p *place, height int) (x, y int) {
	n := len(columns[p.column])
	top := (height - (n*(nodeHeight+gapY) - gapY)) / 2
	return p.column * (nodeWidth + gapX), top + p.row*(nodeHeight+gapY) + nodeHeight/2
}
