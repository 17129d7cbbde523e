package web

import (
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const maxMarks = 12 // stages in a row's strip

// listPage is a page of the list of deliveries.
type listPage struct {
	Rows  []listRow
	Older string // address of the next page, "" on the last one
	Newer string // address of the first page, "" on it
}

type listRow struct {
	ID       string
	URL      string
	Look     look
	Reason   string
	GoesOn   bool // Reason is the end of the sentence that the status begins
	App      string
	Title    string
	Number   string
	Rollback bool
	Review   string // a word for it, "" for what was merged
	Commit   string
	Marks    []mark
	More     int
	When     time.Time
	By       string
	Took     string
}

// mark is a stage in a row's strip.
type mark struct {
	Look look
	Name string
}

func (c *Console) newListPage(views []pipeline.View, before, next string) listPage {
	var p listPage
	for _, v := range views {
		p.Rows = append(p.Rows, c.newListRow(v))
	}
	if next != "" {
		p.Older = c.path("/?before=" + next)
	}
	if before != "" {
		p.Newer = c.path("/")
	}
	return p
}

func (c *Console) newListRow(v pipeline.View) listRow {
	r := listRow{
		ID: v.ID, Look: deliveryLook(v), App: line(v.Application, maxLabel), Title: title(v).Text, Number: number(v),
		Rollback: v.RollbackOf != "", Review: reviewWord(v), Commit: line(pipeline.Short(v.SHA), maxLabel), When: v.Created, By: by(v), Took: took(v.Started, v.Ended),
	}
	r.Reason, r.GoesOn = why(v, r.Look.Word)
	if validID(v.ID) {
		r.URL = c.path("/deliveries/" + v.ID)
	}
	for _, s := range v.Stages[:min(len(v.Stages), maxMarks)] {
		r.Marks = append(r.Marks, mark{stageLook(s), line(s.Name, maxLabel)})
	}
	r.More = len(v.Stages) - len(r.Marks)
	return r
}

// reviewWord is the tag of a review, "" for anything else.
func reviewWord(v pipeline.View) string {
	switch {
	case v.TearDownOf != "":
		return "End of review"
	case v.Review:
		return "Review"
	}
	return ""
}

// by is who started the delivery: who asked for the rollback, or who merged.
func by(v pipeline.View) string {
	if v.RollbackOf != "" {
		for _, d := range v.Decisions {
			if d.What == pipeline.VerbRollback {
				return line(d.By.Label(), maxLabel)
			}
		}
	}
	if name := line(firstOf(v.MergeRequest.MergedBy, v.MergeRequest.AuthorUsername), maxLabel); name != "" {
		return "@" + name
	}
	return ""
}
