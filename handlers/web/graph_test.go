package web

import (
	"fmt"
	"strings"
	"testing"
)

// sketch draws the columns of a graph: names, and "." where an edge passes by.
func sketch(g graph) string {
	var columns []string
	for _, c := range g.Columns {
		var names []string
		for _, n := range c {
			if n.Stage == nil {
				names = append(names, ".")
				continue
			}
			names = append(names, n.Stage.Name)
		}
		columns = append(columns, strings.Join(names, " "))
	}
	return strings.Join(columns, " | ")
}

func TestGraph(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stages string // "name:need,need name …"
		want   string
		edges  int
		linear bool
	}{
		{"no stages make no graph", "", "", 0, true},
		{"stages in a row are a strip", "a b:a c:b", "a | b | c", 0, true},
		{"a need that another implies draws no edge", "a b:a c:a,b", "a | b | c", 0, true},
		{"independent stages stand below each other", "a b:a c:a d:b,c", "a | b c | d", 4, false},
		{"an edge goes around the stages that it passes", "a b:a c:b d x e:d,c,x", "a d x | b . . | c . . | e", 9, false},
		{"a need that no stage has is left out", "a b:nobody", "a b", 0, false},
		{"a circle still ends", "a:b b:a", "a | b", 0, false},
		{"a stage that needs itself still ends", "a:a", "a", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stages []stageCard
			for _, s := range strings.Fields(tt.stages) {
				name, needs, _ := strings.Cut(s, ":")
				card := stageCard{Name: name}
				if needs != "" {
					card.Needs = strings.Split(needs, ",")
				}
				stages = append(stages, card)
			}
			g := newGraph(stages)
			if strings.HasPrefix(tt.name, "a circle") {
				if n := len(g.Columns); n == 0 {
					t.Error("there are no columns")
				}
				return
			}
			if got := sketch(g); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if len(g.Edges) != tt.edges || g.Linear != tt.linear {
				t.Errorf("got %d edges, linear %v; want %d and %v", len(g.Edges), g.Linear, tt.edges, tt.linear)
			}
		})
	}
}

func TestTheStyleSheetHasTheSizesOfTheGraph(t *testing.T) {
	b, err := assetFiles.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf(".web .cols { position: relative; flex-wrap: nowrap; gap: %dpx; }", gapX),
		fmt.Sprintf(".web .cols ul { display: grid; gap: %dpx; }", gapY),
		fmt.Sprintf(".web .node, .web .gap { height: %dpx; }", nodeHeight),
		fmt.Sprintf("width: %dpx; max-width: none; }", nodeWidth),
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the style sheet lacks %q", want)
		}
	}
}

// A big graph is laid out in bounded time, however its stages need each other.
func TestABigGraphIsLaidOut(t *testing.T) {
	stages := make([]stageCard, maxStages)
	for i := range stages {
		stages[i].Name = fmt.Sprint(i)
		for j := range i {
			stages[i].Needs = append(stages[i].Needs, fmt.Sprint(j))
		}
	}
	if g := newGraph(stages); !g.Linear || len(g.Columns) != maxStages {
		t.Errorf("got %d columns, linear %v", len(g.Columns), g.Linear)
	}
	// Every stage but the last needs the one before, and the last needs many far ones too.
	for i := range stages {
		stages[i].Needs = nil
		if i >= 2 {
			stages[i].Needs = []string{fmt.Sprint(i - 2), fmt.Sprint(i % 2)}
		}
	}
	for i := range 50 {
		stages[100+i].Needs = nil
		stages[len(stages)-1].Needs = append(stages[len(stages)-1].Needs, fmt.Sprint(100+i))
	}
	if g := newGraph(stages); len(g.Edges) > 10*maxPlaces {
		t.Errorf("got %d edges", len(g.Edges))
	}
}
