package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
)

// quiet is held while Helm works: one chart at a time bounds the memory, and what Helm writes to the standard logger,
// values among it, is dropped. Nothing of ours writes there.
var quiet sync.Mutex //nolint:gochecknoglobals // it guards another package's global

func quietly(do func() error) error {
	quiet.Lock()
	defer quiet.Unlock()
	before := log.Writer()
	log.SetOutput(io.Discard)
	defer log.SetOutput(before)
	return do()
}

// twice renders the chart two times and refuses one that gives something else each time: trying an effect again would
// apply another release than the one before, and plan would show changes that nobody made.
func (h *rendering) twice(ctx context.Context) (map[string]string, error) {
	first, err := h.once(ctx)
	if err != nil {
		return nil, err
	}
	second, err := h.once(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if first[name] != second[name] {
			return nil, &Error{Origin: Origin{File: h.inRepository(name)}, What: "renders something else each time" + h.chanceIn(),
				Hint: "give the value by the chart's values, or let an operator make the secret in the cluster"}
		}
	}
	return first, nil
}

// chanceIn names the functions of the chart's templates whose results differ each time.
func (h *rendering) chanceIn() string {
	chance := regexp.MustCompile(`\b(rand(?:AlphaNum|Alpha|Numeric|Ascii|Bytes|Int)|uuidv4|now|gen(?:PrivateKey|CA|SelfSignedCert|SignedCert)(?:WithKey)?|shuffle|htpasswd|bcrypt|encryptAES)\b`)
	var found []string
	eachTemplate(h.chart, func(c *chart.Chart, i int) {
		found = append(found, chance.FindAllString(string(c.Templates[i].Data), -1)...)
	})
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 0 {
		return ""
	}
	return ": its chart uses " + strings.Join(found, ", ")
}

// once renders the chart with fresh values.
func (h *rendering) once(ctx context.Context) (map[string]string, error) {
	values, err := h.renderValues()
	if err != nil {
		return nil, err
	}
	m := newMeter(h.limits)
	h.use(true)
	rendered, err := render(ctx, h.chart, values, m)
	h.use(false)
	if m.exceeded != "" {
		return nil, h.mistake(h.dir, "has templates that "+m.exceeded, "")
	}
	if err != nil {
		return nil, h.templateProblem(err)
	}
	size := 0
	for name, text := range rendered {
		if size += len(text); int64(size) > h.limits.Bytes {
			return nil, &Error{Origin: Origin{File: h.dir}, What: fmt.Sprintf("renders to more than %d bytes", h.limits.Bytes)}
		}
		if strings.TrimSpace(text) == "" {
			delete(rendered, name)
		}
	}
	return rendered, nil
}

// render runs the templates. Without a client lookup finds nothing, and without EnableDNS no name is resolved.
func render(ctx context.Context, c *chart.Chart, values common.Values, m *meter) (_ map[string]string, err error) {
	defer func() { // the templates are text that anybody may have written
		if p := recover(); p != nil {
			err = errors.New("helm crashes")
		}
	}()
	return engine.Engine{CustomTemplateFuncs: m.functions()}.RenderWithContext(ctx, c, values) //nolint:wrapcheck // it is translated
}

// eachTemplate visits the templates of a chart and of those below it.
func eachTemplate(c *chart.Chart, do func(*chart.Chart, int)) {
	for i := range c.Templates {
		do(c, i)
	}
	for _, below := range c.Dependencies() {
		eachTemplate(below, do)
	}
}

// templateProblem says what Helm's template engine found. Its own words quote expressions, and values with them, so only
// what is known to quote none is used: where it happened, and phrases of text/template.
func (h *rendering) templateProblem(err error) error {
	message := err.Error()
	from := Origin{File: h.dir}
	// The last place is the innermost: where it happened, and not from where that was included.
	text := ""
	if places := regexp.MustCompile(`([^\s():]+/templates/[^\s():]+):(\d+)`).FindAllStringSubmatch(message, -1); len(places) > 0 {
		last := places[len(places)-1]
		from.File, text = h.inRepository(last[1]), h.written(last[1])
		if guarded(text) == text { // it can't be read, so nothing was put into it
			from.Line, _ = strconv.Atoi(last[2])
		}
	}
	from.Line = cmp.Or(from.Line, onlyLine(text, strings.TrimPrefix(at(message), "at ")))
	if told := h.toldByAuthor(message); told != "" {
		from.Line = cmp.Or(onlyLine(text, told), onlyLine(text, "fail "), onlyLine(text, "required "))
		return &Error{Origin: from, What: "refuses the values: " + clip(told)}
	}
	for _, known := range []struct{ find, say string }{
		{`function "(\w{1,60})" not defined`, "there is no function %s"},
		{`no template "([^"\s]{1,200})"`, "there is no template %q"},
		{`undefined variable "(\$\w{0,60})"`, "there is no variable %s"},
		{`nil pointer evaluating .{1,60}?\.(\w{1,60})\b`, "asks for %s of something that isn't there"},
		{`can't evaluate field (\w{1,60}) in type`, "asks for %s of something that is no map"},
		{`map has no entry for key "([\w.-]{1,60})"`, "there is no key %s"},
		{`wrong number of args for (\w{1,60})`, "gives %s the wrong number of arguments"},
		{`unexpected \{\{(\w{1,20})\}\}`, "has {{%s}} where none belongs"},
		{`nested reference name: ([\w./-]{1,100})`, "the template %s includes itself without an end"},
		{`at <([.$][\w.$]{0,100})>: wrong type for value`, "%s has the wrong type"},
		{`error calling (\w{1,60})`, "the function %s fails"},
	} {
		if m := regexp.MustCompile(known.find).FindStringSubmatch(message); m != nil && h.wrote(m[1]) {
			if from.Line == 0 {
				from.Line = onlyLine(text, m[1])
			}
			return &Error{Origin: from, What: "can't be rendered: " + fmt.Sprintf(known.say, m[1]), Hint: at(message)}
		}
	}
	for _, phrase := range []string{"unexpected EOF", "unclosed action", "unterminated quoted string", "wrong type for value", "unexpected <define>"} {
		if strings.Contains(message, phrase) {
			return &Error{Origin: from, What: "can't be rendered: " + phrase, Hint: at(message)}
		}
	}
	return &Error{Origin: from, What: "can't be rendered", Hint: cmp.Or(at(message), "helm template says more")}
}

// written is a template as its author wrote it. Helm's names begin with the chart's.
func (h *rendering) written(name string) string {
	_, local, _ := strings.Cut(name, "/")
	for f, original := range h.originals {
		if f.Name == local || strings.HasSuffix(local, "/"+f.Name) {
			return string(original)
		}
	}
	return ""
}

// onlyLine is the number of the line that has the words, 0 if there are several or none. The lines that Helm tells are those
// of the guarded template; to run it unguarded for its lines would be to run what may have no end.
func onlyLine(text, words string) int {
	found := 0
	if words == "" {
		return 0
	}
	number := 0
	for line := range strings.Lines(text) {
		if number++; strings.Contains(line, words) {
			if found > 0 {
				return 0
			}
			found = number
		}
	}
	return found
}

// at is the expression where rendering stopped, if it is a plain path to a value: "at .Values.image.tag".
func at(message string) string {
	paths := regexp.MustCompile(`at <([.$][\w.$]{1,150})>`).FindAllStringSubmatch(message, -1)
	if len(paths) == 0 {
		return ""
	}
	return "at " + paths[len(paths)-1][1]
}

// toldByAuthor is the message of required or fail, if the chart's author wrote it as it is: one that was put together may
// hold values.
func (h *rendering) toldByAuthor(message string) string {
	_, told, ok := strings.Cut(message, "): ")
	if !ok || !strings.HasPrefix(message, "execution error at (") {
		return ""
	}
	if told = strings.TrimSpace(told); len(told) < 3 {
		return ""
	}
	if !h.wrote(told) {
		return "the chart's own message is not shown because it may hold values"
	}
	return told
}

// wrote tells that a text is in the chart's templates as it is, so it is no value.
func (h *rendering) wrote(text string) bool {
	found := false
	eachTemplate(h.chart, func(c *chart.Chart, i int) {
		found = found || strings.Contains(string(c.Templates[i].Data), text)
	})
	return found
}

var errTooMuch = errors.New("too much")
