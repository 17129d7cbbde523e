package chatops

import "strings"

// hidden stands for what was cut from a line, so that what follows is not at its start.
const hidden = "\x00"

// prose returns the lines of a Markdown text that the author wrote as plain words: not
// in code, quotes or HTML comments. Where Markdown is ambiguous, a line is left out: a
// command that is not seen can be typed again, one that was not meant cannot be taken back.
func prose(body string) []string {
	r := reader{}
	for line := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n") {
		r.line(line)
	}
	return withoutCodeSpans(r.out)
}

// reader goes through a text line by line and remembers in what it is.
type reader struct {
	out   []string
	fence string // the fence that ends the code block we are in
	until string // what ends the comment or element that we are in
	quote bool   // between two lines of >>>
}

func (r *reader) line(line string) {
	trimmed := strings.TrimLeft(line, " ")
	switch {
	case r.until != "":
		after, found := cutFold(line, r.until)
		if !found {
			return
		}
		r.until = ""
		r.text(hidden + after)
	case r.fence != "":
		if closes(r.fence, line) {
			r.fence = ""
		}
		r.out = append(r.out, "")
	case strings.TrimSpace(line) == ">>>":
		r.quote = !r.quote
		r.out = append(r.out, "")
	case r.quote, len(line)-len(trimmed) > 3, strings.HasPrefix(trimmed, "\t"), strings.HasPrefix(trimmed, ">"):
		r.out = append(r.out, "")
	case fenceOf(trimmed) != "":
		r.fence = fenceOf(trimmed)
		r.out = append(r.out, "")
	default:
		r.text(trimmed)
	}
}

// text takes a line of words, without the comments and the HTML code in it.
func (r *reader) text(line string) {
	var out strings.Builder
	for {
		i := strings.IndexByte(line, '<')
		if i < 0 {
			break
		}
		out.WriteString(line[:i])
		line = line[i:]
		end := endOf(line)
		if end == "" {
			out.WriteByte('<')
			line = line[1:]
			continue
		}
		after, found := cutFold(line, end)
		if !found {
			r.until = end
			r.out = append(r.out, out.String())
			return
		}
		out.WriteString(hidden)
		line = after
	}
	r.out = append(r.out, out.String()+line)
}

// endOf is what ends the comment or the code that begins here, "" if none does.
func endOf(s string) string {
	for _, e := range [][2]string{{"<!--", "-->"}, {"<pre", "</pre>"}, {"<code", "</code>"}} {
		if len(s) >= len(e[0]) && strings.EqualFold(s[:len(e[0])], e[0]) {
			return e[1]
		}
	}
	return ""
}

func indexFold(s, sub string) int {
	for i := 0; i+len(sub) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(sub)], sub) {
			return i
		}
	}
	return -1
}

func cutFold(s, sep string) (after string, found bool) {
	i := indexFold(s, sep)
	if i < 0 {
		return "", false
	}
	return s[i+len(sep):], true
}

// fenceOf is the run of at least three backticks or tildes at the start of a line, "" if none.
func fenceOf(line string) string {
	for _, c := range []string{"`", "~"} {
		n := len(line) - len(strings.TrimLeft(line, c))
		if n >= 3 && (c == "~" || !strings.Contains(line[n:], "`")) {
			return line[:n]
		}
	}
	return ""
}

func closes(fence, line string) bool {
	line = strings.TrimSpace(line)
	return len(line) >= len(fence) && strings.Trim(line, fence[:1]) == ""
}

// withoutCodeSpans hides what stands between backticks, also across the lines of a paragraph.
func withoutCodeSpans(lines []string) []string {
	for from := 0; from < len(lines); {
		to := from
		for to < len(lines) && strings.TrimSpace(lines[to]) != "" {
			to++
		}
		copy(lines[from:to], strings.Split(hideSpans(strings.Join(lines[from:to], "\n")), "\n"))
		from = to + 1
	}
	return lines
}

// hideSpans replaces code spans, keeping the line breaks in them. A run of backticks
// without its counterpart is no code.
func hideSpans(s string) string {
	var out strings.Builder
	missing := map[int]bool{} // lengths of runs that have no counterpart any more
	for i := 0; i < len(s); {
		if s[i] != '`' {
			out.WriteByte(s[i])
			i++
			continue
		}
		n := runAt(s, i)
		end := -1
		if !missing[n] {
			end = nextRun(s, i+n, n)
		}
		if end < 0 {
			missing[n] = true
			out.WriteString(s[i : i+n])
			i += n
			continue
		}
		out.WriteString(hidden)
		for range strings.Count(s[i:end], "\n") {
			out.WriteString("\n" + hidden)
		}
		i = end
	}
	return out.String()
}

func runAt(s string, i int) int {
	return len(s[i:]) - len(strings.TrimLeft(s[i:], "`"))
}

// nextRun is the end of the next run of exactly n backticks, -1 if there is none.
func nextRun(s string, from, n int) int {
	for i := from; i < len(s); i++ {
		if s[i] != '`' {
			continue
		}
		m := runAt(s, i)
		if m == n {
			return i + m
		}
		i += m - 1
	}
	return -1
}
