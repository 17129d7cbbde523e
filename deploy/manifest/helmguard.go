package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"
)

// Templates are programs, and Helm has no way to stop one. So each loop and each template is given a call that counts,
// and each result is measured, before Helm sees them: a chart that loops for ever, or fills the memory step by step, ends
// as a mistake and not with the process. The names below are the calls.
const (
	tickCall  = "slipwayTick"  // at the beginning of each template and each round of a loop
	outCall   = "slipwayOut"   // after each function
	guardCall = "slipwayGuard" // around the text that tpl is given
	enterCall = "slipwayEnter" // before another template begins
	leaveCall = "slipwayLeave" // after it
)

// deepestTemplate is how deep templates may be within each other. Helm wraps an error once for each level, with all that is
// within it, so that a recursion would end in very much text.
const deepestTemplate = 100

// meter counts what one rendering costs.
type meter struct {
	steps    int // that are left
	bytes    int64
	most     int // bytes that one text may have
	depth    int
	until    time.Time
	exceeded string // what was too much, "" if nothing was
}

func newMeter(l Limits) *meter {
	return &meter{
		steps: 500_000,
		bytes: 32 * l.Bytes, // most text is made several times: by include, toYaml, indent
		most:  int(2 * l.Bytes),
		until: time.Now().Add(l.Time),
	}
}

// spend takes from what is left.
func (m *meter) spend(bytes int) error {
	m.steps--
	m.bytes -= int64(max(bytes, 0))
	switch {
	case m.exceeded != "":
	case m.steps < 0:
		m.exceeded = "take too many steps: a loop or an include may have no end"
	case m.bytes < 0:
		m.exceeded = "make too much text: a loop or an include may have no end"
	case bytes > m.most:
		m.exceeded = "make a text or a list that is too large"
	case m.steps%256 == 0 && time.Now().After(m.until):
		m.exceeded = "take too long"
	}
	if m.exceeded != "" {
		return errTooMuch
	}
	return nil
}

func (m *meter) enter() error {
	if m.depth++; m.depth > deepestTemplate && m.exceeded == "" {
		m.exceeded = fmt.Sprintf("are more than %d deep within each other: one may include itself", deepestTemplate)
	}
	return m.spend(0)
}

// functions are the calls that templates are given, and bounded forms of Helm's that make much out of little.
func (m *meter) functions() template.FuncMap {
	all := m.bounded()
	maps.Copy(all, template.FuncMap{
		tickCall: func(bytes int) (string, error) { return "", m.spend(bytes) },
		outCall:  m.out,
		leaveCall: func(value any) (any, error) {
			m.depth--
			return m.out(value)
		},
		enterCall: func(value any) (any, error) { return value, m.enter() },
		guardCall: func(text any) (any, error) {
			if s, ok := text.(string); ok {
				text = guarded(s)
			}
			return text, m.enter()
		},
		"repeat": func(count int, text string) (string, error) {
			if count <= 0 || text == "" {
				return "", nil
			}
			if err := m.spend(min(count, 1<<40/len(text)) * len(text)); err != nil {
				return "", err
			}
			return strings.Repeat(text, count), nil
		},
		"until": func(count int) ([]int, error) {
			if count < 0 {
				return m.numbers(0, count, -1)
			}
			return m.numbers(0, count, 1)
		},
		"untilStep":     m.numbers,
		"fromYaml":      yamlReader(m, func(message string) map[string]any { return map[string]any{"Error": message} }),
		"fromYamlArray": yamlReader(m, func(message string) []any { return []any{message} }),
		"seq":           m.seq,
	})
	return all
}

// out takes in the result of a function. A list or a map is made of what is there already, and costs what a function makes
// of it: so it is only looked whether that can become too much.
func (m *meter) out(value any) (any, error) {
	if text, ok := value.(string); ok {
		return value, m.spend(len(text))
	}
	if m.size(reflect.ValueOf(value)) > 2*m.most {
		return value, m.spend(2 * m.most)
	}
	return value, m.spend(0)
}

// yamlReader is Helm's function that reads YAML, and first asks what aliases make of it. An error is in what it gives.
func yamlReader[T any](m *meter, failed func(message string) T) func(string) (T, error) {
	return func(text string) (read T, _ error) {
		size, err := unfolded([]byte(text), int64(m.most))
		if err := m.spend(int(size)); err != nil {
			return read, err
		}
		if err == nil {
			err = yaml.Unmarshal([]byte(text), &read)
		}
		if err != nil {
			return failed(err.Error()), nil
		}
		return read, nil
	}
}

// numbers counts from start until before stop.
func (m *meter) numbers(start, stop, step int) ([]int, error) {
	const most = 100_000
	var list []int
	if step == 0 || (stop < start) != (step < 0) {
		return []int{}, nil
	}
	if (stop-start)/step > most {
		m.exceeded = "count too far"
		return nil, errTooMuch
	}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		list = append(list, i)
	}
	return list, nil
}

// seq counts like the program of that name, as one text: to an end, from a start to an end, or with a step between them.
func (m *meter) seq(params ...int) (string, error) {
	start, step := 1, 1
	var end int
	switch len(params) {
	case 1:
		end = params[0]
		if end < start {
			step = -1
		}
	case 2:
		start, end = params[0], params[1]
		if end < start {
			step = -1
		}
	case 3:
		start, step, end = params[0], params[1], params[2]
	default:
		return "", nil
	}
	beyond := end + 1
	if step < 0 {
		beyond = end - 1
	}
	list, err := m.numbers(start, beyond, step)
	if err != nil {
		return "", err
	}
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, " "), nil
}

// guard gives the chart's templates their calls, and leaves out the notes, which nobody reads here.
func (h *rendering) guard(c *chart.Chart) {
	c.Templates = slices.DeleteFunc(slices.Clone(c.Templates), func(f *common.File) bool { return f == nil || strings.HasSuffix(f.Name, "NOTES.txt") })
	for _, f := range c.Templates {
		if _, done := h.originals[f]; !done {
			h.originals[f] = f.Data
		}
	}
	for _, below := range c.Dependencies() {
		h.guard(below)
	}
}

// use puts the guarded templates in their places, or the original ones.
func (h *rendering) use(guard bool) {
	for f, original := range h.originals {
		if f.Data = original; guard {
			f.Data = []byte(guarded(string(original)))
		}
	}
}

// guarded is the template with its calls. One that can't be read stays as it is: Helm will say why.
func guarded(text string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	const main = "main"
	tree := parse.New(main)
	tree.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", set); err != nil {
		return text
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if name != main {
			fmt.Fprintf(&b, "{{define %q}}%s{{end}}", name, body(set[name].Root))
		}
	}
	b.WriteString(body(tree.Root).String())
	return b.String()
}

// body is what is within a template or a loop, with a call at its beginning.
func body(list *parse.ListNode) *parse.ListNode {
	tick := snippet(fmt.Sprintf("{{%s %d}}", tickCall, weight(list)))
	visit(list)
	list.Nodes = append([]parse.Node{tick}, list.Nodes...)
	return list
}

// weight is how many bytes of plain text a list has, without those of its loops.
func weight(list *parse.ListNode) int {
	if list == nil {
		return 0
	}
	sum := 0
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			sum += len(n.Text)
		case *parse.IfNode:
			sum += weight(n.List) + weight(n.ElseList)
		case *parse.WithNode:
			sum += weight(n.List) + weight(n.ElseList)
		}
	}
	return sum
}

// snippet parses the one node of a text.
func snippet(text string) parse.Node {
	tree := parse.New("snippet")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", map[string]*parse.Tree{}); err != nil {
		panic("manifest: " + text + " is no template") // its text is ours
	}
	return tree.Root.Nodes[0]
}

func visit(list *parse.ListNode) {
	if list == nil {
		return
	}
	nodes := make([]parse.Node, 0, len(list.Nodes))
	for _, n := range list.Nodes {
		if _, ok := n.(*parse.TemplateNode); ok {
			nodes = append(nodes, snippet("{{"+enterCall+` ""}}`), n, snippet("{{"+leaveCall+` ""}}`))
		} else {
			nodes = append(nodes, n)
		}
		switch n := n.(type) {
		case *parse.TextNode:
			// A brace at the end would become a part of what follows, which a trim mark has kept apart.
			for strings.HasSuffix(string(n.Text), "{") {
				n.Text = n.Text[:len(n.Text)-1]
				nodes = slices.Insert(nodes, slices.Index(nodes, parse.Node(n))+1, snippet(`{{"{"}}`))
			}
		case *parse.ActionNode:
			pipe(n.Pipe)
			if len(n.Pipe.Decl) == 0 && !calls(n.Pipe.Cmds[len(n.Pipe.Cmds)-1], outCall, leaveCall) {
				measure(n.Pipe, len(n.Pipe.Cmds)-1, outCall)
			}
		case *parse.IfNode:
			branch(&n.BranchNode)
		case *parse.WithNode:
			branch(&n.BranchNode)
		case *parse.RangeNode:
			pipe(n.Pipe)
			n.List = body(n.List)
			visit(n.ElseList)
		case *parse.TemplateNode:
			pipe(n.Pipe)
		}
	}
	list.Nodes = nodes
}

func branch(n *parse.BranchNode) {
	pipe(n.Pipe)
	visit(n.List)
	visit(n.ElseList)
}

// pipe measures the result of each function of a pipeline.
func pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for i := len(p.Cmds) - 1; i >= 0; i-- {
		c := p.Cmds[i]
		for _, arg := range c.Args {
			switch a := arg.(type) {
			case *parse.PipeNode:
				pipe(a)
			case *parse.ChainNode:
				if within, ok := a.Node.(*parse.PipeNode); ok {
					pipe(within)
				}
			}
		}
		switch {
		case len(c.Args) > 1 && calls(c, "tpl"):
			wrap(c, guardCall)
			measure(p, i, leaveCall)
		case len(c.Args) > 1 && calls(c, "include"):
			wrap(c, enterCall)
			measure(p, i, leaveCall)
		case calls(c):
			measure(p, i, outCall)
		}
	}
}

// calls tells that a command calls a function, one of these if there are any.
func calls(c *parse.CommandNode, names ...string) bool {
	id, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && (len(names) == 0 || slices.Contains(names, id.Ident))
}

// measure puts a call after a pipeline's command.
func measure(p *parse.PipeNode, i int, call string) {
	p.Cmds = slices.Insert(p.Cmds, i+1, snippet("{{" + call + "}}").(*parse.ActionNode).Pipe.Cmds[0])
}

// wrap puts a call around a command's first argument.
func wrap(c *parse.CommandNode, call string) {
	wrapped := snippet("{{(" + call + ` "")}}`).(*parse.ActionNode).Pipe.Cmds[0].Args[0].(*parse.PipeNode)
	wrapped.Cmds[0].Args[1], c.Args[1] = c.Args[1], wrapped
}
