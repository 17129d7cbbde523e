package spec

import (
	"maps"
	"slices"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// eachText puts what change gives in the place of every text of a stage that may hold
// expressions. key is what people call the text, rule what has to hold for it. The types
// of the file say the same with templated; a test holds the two together.
func eachText(st *pipeline.Stage, change func(key, text string, rule scalar) string) {
	w := &textWalk{change}
	if d := st.Deploy; d != nil {
		w.one("manifests", &d.Manifests, Path(""))
		w.values("images", d.Images, Image(""))
		w.values("hosts", d.Hosts, Host(""))
		w.helm(d.Helm)
	}
	if c := st.Canary; c != nil && c.Question != nil {
		w.one("ask", &c.Question.Ask, Text(""))
	}
	if r := st.Run; r != nil {
		w.run(r)
	}
	if j := st.Judgement; j != nil {
		w.one("ask", &j.Ask, Text(""))
	}
	if j := st.Job; j != nil {
		w.one("name", &j.Name, Text(""))
	}
	if t := st.Trigger; t != nil {
		w.one("ref", &t.Ref, Ref(""))
		w.values("variables", t.Variables, Value(""))
	}
	if n := st.Notify; n != nil {
		w.one("slack", &n.Channel, Channel(""))
		w.one("text", &n.Text, Text(""))
	}
	for i := range st.Checks {
		w.check(&st.Checks[i])
	}
}

type textWalk struct {
	change func(key, text string, rule scalar) string
}

// one changes a text; one that is not given stays so.
func (w *textWalk) one(key string, text *string, rule scalar) {
	if *text != "" {
		*text = w.change(key, *text, rule)
	}
}

func (w *textWalk) list(key string, list []string, rule scalar) {
	for i := range list {
		w.one(key, &list[i], rule)
	}
}

func (w *textWalk) values(key string, m map[string]string, rule scalar) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text := m[name]
		w.one(key, &text, rule)
		m[name] = text
	}
}

func (w *textWalk) helm(h *pipeline.Helm) {
	if h != nil {
		w.list("values", h.Values, Path(""))
		w.values("set", h.Set, Value(""))
	}
}

func (w *textWalk) run(r *pipeline.Run) {
	w.one("manifests", &r.Manifests, Path(""))
	w.values("images", r.Images, Image(""))
	w.helm(r.Helm)
	w.one("image", &r.Image, Reference(""))
	w.list("command", r.Command, Value(""))
	w.list("args", r.Args, Value(""))
	w.values("env", r.Env, Value(""))
}

func (w *textWalk) check(k *pipeline.Check) {
	if k.HTTP != nil {
		w.one("url", &k.HTTP.URL, Address(""))
		w.one("body", &k.HTTP.Body, Pattern(""))
	}
	if k.Report != nil {
		w.one("job", &k.Report.Job, Text(""))
	}
	if k.Metric != nil {
		w.one("query", &k.Metric.Query, Text(""))
	}
	if k.Job != nil {
		w.run(k.Job)
	}
}
