package gitlab

import (
	"context"
	"net/http"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	markerStart = "<!-- slipway:"
	maxPages    = 10 // of a merge request's comments that are searched
)

// noteMarker is the first line of a delivery's note, by which it is found again.
func noteMarker(delivery string) string { return markerStart + "delivery " + delivery + " -->" }

// writeNote makes the merge request note, or edits it in place where its text differs.
func (c *Client) writeNote(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	d := &t.Delivery
	if d.MergeRequest.IID == 0 {
		return nil, nil
	}
	body := c.renderNote(pipeline.NewView(t.Plan, d))
	note, err := c.existingNote(ctx, d)
	if err != nil {
		return nil, err
	}
	if note == nil {
		return c.createNote(ctx, d, body)
	}
	if d.Review && newerNote(note.Body, d.Order()) {
		return pipeline.NoteWritten{ID: note.ID}, nil
	}
	if strings.TrimSpace(note.Body) != strings.TrimSpace(body) {
		if err := c.editNote(ctx, d, note.ID, body); err != nil {
			return nil, err
		}
	}
	return pipeline.NoteWritten{ID: note.ID}, nil
}

// existingNote reads the note by its id, or finds it. A note that people deleted is made anew.
func (c *Client) existingNote(ctx context.Context, d *pipeline.Delivery) (*api.Note, error) {
	marker := markerOf(d)
	if d.Handles.NoteID == 0 {
		return c.findNote(ctx, d, marker)
	}
	me, err := c.Me(ctx)
	if err != nil {
		return nil, err
	}
	look, cancel := c.limit(ctx)
	defer cancel()
	note, resp, err := c.api.Notes.GetMergeRequestNote(d.Project.ID, d.MergeRequest.IID, d.Handles.NoteID, api.WithContext(look))
	switch {
	case err == nil && note.Author.ID == me.ID:
		return note, nil
	case err == nil || statusOf(err) == http.StatusNotFound:
		// Slipway's user was changed, whose predecessor's note can't be edited, or it was deleted.
		return c.findNote(ctx, d, marker)
	}
	return nil, c.failed(look, call{doing: "read the merge request note", needs: "Reporter"}, resp, err)
}

// findNote searches our own comments on the merge request for one that begins with marker.
func (c *Client) findNote(ctx context.Context, d *pipeline.Delivery, marker string) (*api.Note, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return nil, err
	}
	opt := &api.ListMergeRequestNotesOptions{OrderBy: new("created_at"), Sort: new("desc"), ListOptions: api.ListOptions{PerPage: 100, Page: 1}}
	for range maxPages {
		notes, resp, err := c.notesPage(ctx, d, opt)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			if n.Author.ID == me.ID && !n.System && strings.HasPrefix(n.Body, marker) {
				return n, nil
			}
		}
		if resp.NextPage == 0 {
			break
		}
		opt.Page = resp.NextPage
	}
	return nil, nil
}

func (c *Client) notesPage(ctx context.Context, d *pipeline.Delivery, opt *api.ListMergeRequestNotesOptions) ([]*api.Note, *api.Response, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	notes, resp, err := c.api.Notes.ListMergeRequestNotes(d.Project.ID, d.MergeRequest.IID, opt, api.WithContext(ctx))
	if err != nil {
		return nil, nil, c.failed(ctx, call{doing: "read the merge request's comments", needs: "Reporter"}, resp, err)
	}
	return notes, resp, nil
}

func (c *Client) createNote(ctx context.Context, d *pipeline.Delivery, body string) (pipeline.Event, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	note, resp, err := c.api.Notes.CreateMergeRequestNote(d.Project.ID, d.MergeRequest.IID,
		&api.CreateMergeRequestNoteOptions{Body: &body}, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: "write the merge request note", needs: "Reporter", makes: true}, resp, err)
	}
	return pipeline.NoteWritten{ID: note.ID}, nil
}

func (c *Client) editNote(ctx context.Context, d *pipeline.Delivery, id int64, body string) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	_, resp, err := c.api.Notes.UpdateMergeRequestNote(d.Project.ID, d.MergeRequest.IID, id,
		&api.UpdateMergeRequestNoteOptions{Body: &body}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "edit the merge request note", needs: "Reporter"}, resp, err)
	}
	return nil
}
