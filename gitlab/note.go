package gitlab

import (
	"context"
	"net/http"
	"strconv"
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
	if strings.TrimSpace(note.Body) != strings.TrimSpace(body) {
		if err := c.editNote(ctx, d, note.ID, body); err != nil {
			return nil, err
		}
	}
	return pipeline.NoteWritten{ID: note.ID}, nil
}

// existingNote reads the note by its id, or finds it. A note that people deleted is made anew.
func (c *Client) existingNote(ctx context.Context, d *pipeline.Delivery) (*api.Note, error) {
	marker := noteMarker(d.ID)
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

// answer reacts to a comment with an emoji, and replies in its thread where there is something
// to say. Requests that didn't come by a comment have no place in GitLab for an answer.
func (c *Client) answer(ctx context.Context, t *pipeline.Task, do pipeline.Answer) error {
	if do.Request.Via != pipeline.ViaComment || do.Request.NoteID == 0 {
		return nil
	}
	d := t.Delivery
	d.Project.ID, d.MergeRequest.IID = mergeRequestOf(&t.Delivery)
	if err := c.react(ctx, &d, do); err != nil {
		return err
	}
	if strings.TrimSpace(do.Text) == "" {
		return nil
	}
	return c.reply(ctx, &d, answerMarker(d.ID, t.Effect.Key), do)
}

// mergeRequestOf is where the delivery's comments are. Where there is no delivery, only a
// question about one, its id alone tells.
func mergeRequestOf(d *pipeline.Delivery) (project, iid int64) {
	if d.Project.ID != 0 && d.MergeRequest.IID != 0 {
		return d.Project.ID, d.MergeRequest.IID
	}
	parts := strings.SplitN(d.ID, "-", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	project, _ = strconv.ParseInt(parts[0], 10, 64)
	iid, _ = strconv.ParseInt(parts[1], 10, 64)
	return project, iid
}

func emoji(do pipeline.Answer) string {
	switch {
	case !do.Taken:
		return "no_entry_sign"
	case do.Request.What == pipeline.VerbStatus || do.Request.What == pipeline.VerbHelp:
		return "speech_balloon"
	}
	return "white_check_mark"
}

func (c *Client) react(ctx context.Context, d *pipeline.Delivery, do pipeline.Answer) error {
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	name, iid := emoji(do), d.MergeRequest.IID
	there, resp, err := c.api.AwardEmoji.ListMergeRequestAwardEmojiOnNote(d.Project.ID, iid, do.Request.NoteID,
		&api.ListAwardEmojiOptions{ListOptions: api.ListOptions{PerPage: 100}}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "react to the comment", needs: "Reporter"}, resp, err)
	}
	for _, e := range there {
		if e.Name == name && e.User.ID == me.ID {
			return nil
		}
	}
	_, resp, err = c.api.AwardEmoji.CreateMergeRequestAwardEmojiOnNote(d.Project.ID, iid, do.Request.NoteID,
		&api.CreateAwardEmojiOptions{Name: name}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "react to the comment", needs: "Reporter", makes: true}, resp, err)
	}
	return nil
}

func (c *Client) reply(ctx context.Context, d *pipeline.Delivery, marker string, do pipeline.Answer) error {
	r := do.Request
	body := marker + "\n" + c.renderAnswer(do)
	there, err := c.replied(ctx, d, r.DiscussionID, marker)
	if err != nil || there {
		return err
	}
	if r.DiscussionID == "" {
		_, err := c.createNote(ctx, d, body)
		return err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	_, resp, err := c.api.Discussions.AddMergeRequestDiscussionNote(d.Project.ID, d.MergeRequest.IID, r.DiscussionID,
		&api.AddMergeRequestDiscussionNoteOptions{Body: &body}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "answer in the comment's thread", needs: "Reporter", makes: true}, resp, err)
	}
	return nil
}

// answerMarker is the first line of an answer, by which it is found again.
func answerMarker(delivery, effect string) string {
	return markerStart + "answer " + strings.NewReplacer("<", "", ">", "", "--", "-", "\n", "").Replace(delivery+" "+effect) + " -->"
}

// replied tells that the thread holds our answer already.
func (c *Client) replied(ctx context.Context, d *pipeline.Delivery, discussion, marker string) (bool, error) {
	if discussion == "" {
		note, err := c.findNote(ctx, d, marker)
		return note != nil, err
	}
	me, err := c.Me(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	thread, resp, err := c.api.Discussions.GetMergeRequestDiscussion(d.Project.ID, d.MergeRequest.IID, discussion, api.WithContext(ctx))
	if err != nil {
		return false, c.failed(ctx, call{doing: "read the comment's thread", needs: "Reporter"}, resp, err)
	}
	for _, n := range thread.Notes {
		if n.Author.ID == me.ID && strings.HasPrefix(n.Body, marker) {
			return true, nil
		}
	}
	return false, nil
}
