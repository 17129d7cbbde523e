package gitlab

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// answer reacts to a comment with an emoji, and replies in its thread where there is something
// to say. Requests that didn't come by a comment have no place in GitLab for an answer.
func (c *Client) answer(ctx context.Context, t *pipeline.Task, do pipeline.Answer) error {
	if do.Request.Via != pipeline.ViaComment || do.Request.NoteID == 0 {
		return nil
	}
	d := t.Delivery
	d.Project.ID, d.MergeRequest.IID = mergeRequestOf(&t.Delivery)
	// What a hook made up is not answered, so that nobody can make Slipway speak where they like.
	_, forged, err := c.commandNote(ctx, d.Project.ID, d.MergeRequest.IID, do.Request)
	if err != nil {
		return err
	}
	if forged != "" {
		c.log.WarnContext(ctx, "a command is not answered", "delivery", d.ID, "note", do.Request.NoteID, "why", forged)
		return nil
	}
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
	there, err := c.replied(ctx, d, r, marker)
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

// replied tells that the thread holds our answer already, or is not the comment's thread.
func (c *Client) replied(ctx context.Context, d *pipeline.Delivery, r pipeline.Request, marker string) (bool, error) {
	if r.DiscussionID == "" {
		note, err := c.findNote(ctx, d, marker)
		return note != nil, err
	}
	me, err := c.Me(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	thread, resp, err := c.api.Discussions.GetMergeRequestDiscussion(d.Project.ID, d.MergeRequest.IID, r.DiscussionID, api.WithContext(ctx))
	if err != nil {
		return false, c.failed(ctx, call{doing: "read the comment's thread", needs: "Reporter"}, resp, err)
	}
	asked := false
	for _, n := range thread.Notes {
		asked = asked || n.ID == r.NoteID
		if n.Author.ID == me.ID && strings.HasPrefix(n.Body, marker) {
			return true, nil
		}
	}
	return !asked, nil
}

// renderAnswer writes the reply to a comment. Commands in it are shown so that they can be copied.
func (c *Client) renderAnswer(do pipeline.Answer) string {
	command := regexp.MustCompile("`?[@/]" + regexp.QuoteMeta(c.o.Mention) + `(?: (?:approve|reject|cancel|retry|rollback|promote|status|help)\b)?(?: \[[A-Za-z: ]+\])*` + "`?")
	var lines []string
	for l := range strings.Lines(clip(do.Text, 5000)) {
		l = strings.TrimSpace(l)
		var b strings.Builder
		from := 0
		for _, m := range command.FindAllStringIndex(l, -1) {
			b.WriteString(keepSpace(l[from:m[0]]) + code(strings.Trim(l[m[0]:m[1]], "`")))
			from = m[1]
		}
		b.WriteString(keepSpace(l[from:]))
		lines = append(lines, b.String())
	}
	return strings.Join(lines, "  \n") + "\n"
}

// keepSpace escapes a part of a line without losing the spaces at its ends.
func keepSpace(s string) string {
	body := text(s, 5000)
	if body == "" {
		if s != "" {
			return " "
		}
		return ""
	}
	if strings.HasPrefix(s, " ") {
		body = " " + body
	}
	if strings.HasSuffix(s, " ") {
		body += " "
	}
	return body
}
