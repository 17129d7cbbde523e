package gitlabsim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// text returns a string parameter of the body or the query, and whether it was given.
func (c *call) text(name string) (string, bool) {
	if v, ok := c.json[name]; ok {
		switch v := v.(type) {
		case string:
			return v, true
		case float64:
			return strconv.FormatFloat(v, 'f', -1, 64), true
		case bool:
			return strconv.FormatBool(v), true
		}
		return "", false
	}
	if c.query.Has(name) {
		return c.query.Get(name), true
	}
	return "", false
}

func (c *call) str(name string) string {
	s, _ := c.text(name)
	return s
}

func (c *call) flag(name string) bool {
	s, _ := c.text(name)
	return s == "true" || s == "1"
}

// number returns an integer parameter; given is false where it is absent, err where it is no number.
func (c *call) number(name string) (n int64, given bool, err *answer) {
	s, given := c.text(name)
	if !given {
		return 0, false, nil
	}
	n, e := strconv.ParseInt(s, 10, 64)
	if e != nil {
		a := invalid(name + " is invalid")
		return 0, true, &a
	}
	return n, true, nil
}

// list returns an array parameter of the query, written name[]=a&name[]=b or name=a,b.
func (c *call) list(name string) []string {
	if v := c.query[name+"[]"]; len(v) > 0 {
		return v
	}
	if v := c.query.Get(name); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// required says which parameter is missing, as GitLab's API does, or nil.
func (c *call) required(names ...string) *answer {
	var missing []string
	for _, name := range names {
		if _, given := c.text(name); !given {
			missing = append(missing, name+" is missing")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	a := invalid(strings.Join(missing, ", "))
	return &a
}

// oneOf refuses a value outside a declared set.
func (c *call) oneOf(name string, values ...string) *answer {
	if s, given := c.text(name); given && !slices.Contains(values, s) {
		a := invalid(name + " does not have a valid value")
		return &a
	}
	return nil
}

func (c *call) after(name string) (time.Time, *answer) {
	s, given := c.text(name)
	if !given {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		a := invalid(name + " is invalid")
		return time.Time{}, &a
	}
	return t, nil
}

// varID returns a number of the path.
func (c *call) varID(name string) (int64, *answer) {
	n, err := strconv.ParseInt(c.vars[name], 10, 64)
	if err != nil {
		a := invalid(name + " is invalid")
		return 0, &a
	}
	return n, nil
}

// paginate answers one page of the items with GitLab's headers.
func paginate[T any](c *call, items []T, entity func(T) any) answer {
	page, per := 1, 20
	for name, into := range map[string]*int{"page": &page, "per_page": &per} {
		if n, given, err := c.number(name); err != nil {
			return *err
		} else if given {
			if n < 1 {
				return invalid(name + " does not have a valid value")
			}
			*into = int(min(n, 1<<30))
		}
	}
	per = min(per, 100)
	pages := max(1, (len(items)+per-1)/per)
	from := min((page-1)*per, len(items))
	body := []any{}
	for _, item := range items[from:min(from+per, len(items))] {
		body = append(body, entity(item))
	}
	next, prev := "", ""
	if page < pages {
		next = strconv.Itoa(page + 1)
	}
	if page > 1 {
		prev = strconv.Itoa(page - 1)
	}
	h := http.Header{}
	for name, value := range map[string]string{
		"X-Page": strconv.Itoa(page), "X-Per-Page": strconv.Itoa(per), "X-Next-Page": next, "X-Prev-Page": prev,
		"X-Total": strconv.Itoa(len(items)), "X-Total-Pages": strconv.Itoa(pages), "Link": links(c, page, pages, per),
	} {
		h.Set(name, value)
	}
	return answer{status: http.StatusOK, body: body, header: h}
}

func links(c *call, page, pages, per int) string {
	var all []string
	add := func(rel string, n int) {
		q := url.Values{}
		for k, v := range c.query {
			q[k] = v
		}
		q.Set("page", strconv.Itoa(n))
		q.Set("per_page", strconv.Itoa(per))
		all = append(all, fmt.Sprintf("<%s%s?%s>; rel=%q", c.g.url, c.r.URL.EscapedPath(), q.Encode(), rel))
	}
	if page > 1 {
		add("prev", page-1)
	}
	if page < pages {
		add("next", page+1)
	}
	add("first", 1)
	add("last", pages)
	return strings.Join(all, ", ")
}
