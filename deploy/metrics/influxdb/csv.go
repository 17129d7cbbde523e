package influxdb

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one value of an answer.
type row struct {
	table string
	at    time.Time
	value float64
}

// queryError is what is found where rows should be, when a query fails after it has begun.
type queryError struct{ message string }

func (e *queryError) Error() string { return e.message }

// parse reads annotated CSV: tables in parts, each of which begins with annotations and names of columns.
func parse(data []byte) ([]row, error) {
	if text := strings.TrimSpace(string(data)); text != "" && !strings.Contains(text, ",") {
		return nil, errors.New("it is no annotated CSV")
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.ReuseRecord = -1, false
	var rows []row
	var p part
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, errors.New("it is no CSV")
		}
		read, err := p.take(record)
		if err != nil {
			return nil, err
		}
		if read != nil {
			rows = append(rows, *read)
		}
	}
}

// part is what is known of the columns.
type part struct {
	annotated bool // annotations are being read
	defaults  []string
	names     []string
}

// take reads one line, which is an annotation, the names of columns, or a row.
func (p *part) take(record []string) (*row, error) {
	if strings.HasPrefix(record[0], "#") {
		if !p.annotated {
			*p = part{annotated: true}
		}
		if record[0] == "#default" {
			p.defaults = record
		}
		return nil, nil
	}
	if p.annotated || p.names == nil || slices.Equal(record, p.names) {
		p.annotated, p.names = false, record
		return nil, nil
	}
	cell := func(name string) (string, bool) {
		i := slices.Index(p.names, name)
		switch {
		case i < 0 || i >= len(record):
			return "", false
		case record[i] == "" && i < len(p.defaults):
			return p.defaults[i], true
		}
		return record[i], true
	}
	if message, failed := cell("error"); failed && slices.Contains(p.names, "reference") {
		return nil, &queryError{message}
	}
	return read(cell)
}

func read(cell func(string) (string, bool)) (*row, error) {
	table, _ := cell("table")
	result, _ := cell("result")
	when, timed := cell("_time")
	text, valued := cell("_value")
	if !timed || !valued {
		return nil, &queryError{"its rows have no _time and _value; end it with aggregateWindow(every: v.windowPeriod, …)"}
	}
	at, err := time.Parse(time.RFC3339Nano, when)
	if err != nil {
		return nil, errors.New("a _time is none")
	}
	out := &row{table: result + "," + table, at: at, value: math.NaN()}
	if text == "" {
		return out, nil
	}
	if out.value, err = strconv.ParseFloat(text, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, &queryError{fmt.Sprintf("the value %.40q is no number", text)}
	}
	return out, nil
}
