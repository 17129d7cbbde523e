package gitlabsim

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxNoteRunes = 1_000_000

func listMergeRequests(c *call) answer {
	if err := c.oneOf("state", "opened", "closed", "locked", "merged", "all"); err != nil {
		return *err
	}
	if err := c.oneOf("order_by", "created_at", "label_priority", "milestone_due", "popularity", "priority", "title", "updated_at", "merged_at"); err != nil {
		return *err
	}
	if err := c.oneOf("sort", "asc", "desc"); err != nil {
		return *err
	}
	since := map[string]time.Time{}
	for _, name := range []string{"updated_after", "created_after", "merged_after", "updated_before", "created_before", "merged_before"} {
		t, err := c.after(name)
		if err != nil {
			return *err
		}
		since[name] = t
	}
	iids := c.list("iids")
	var found []*MergeRequest
	for _, mr := range c.p.mrs {
		if c.wants(mr, iids) && within(since, "updated", mr.UpdatedAt) && within(since, "created", mr.CreatedAt) && within(since, "merged", mr.MergedAt) {
			found = append(found, mr)
		}
	}
	key := func(mr *MergeRequest) time.Time {
		switch c.str("order_by") {
		case "updated_at":
			return mr.UpdatedAt
		case "merged_at":
			return mr.MergedAt
		}
		return mr.CreatedAt
	}
	slices.SortStableFunc(found, func(a, b *MergeRequest) int {
		return cmp.Or(key(a).Compare(key(b)), cmp.Compare(a.ID, b.ID))
	})
	if c.str("sort") != "asc" {
		slices.Reverse(found)
	}
	return paginate(c, found, func(mr *MergeRequest) any { return c.g.mergeRequestEntity(c.p, mr) })
}

func (c *call) wants(mr *MergeRequest, iids []string) bool {
	if state := c.str("state"); state != "" && state != "all" && state != mr.State {
		return false
	}
	if len(iids) > 0 && !slices.Contains(iids, strconv.FormatInt(mr.IID, 10)) {
		return false
	}
	for name, value := range map[string]string{
		"target_branch": mr.TargetBranch, "source_branch": mr.SourceBranch, "author_id": strconv.FormatInt(mr.AuthorID, 10),
	} {
		if want, given := c.text(name); given && want != value {
			return false
		}
	}
	return true
}

func within(bounds map[string]time.Time, what string, t time.Time) bool {
	if after := bounds[what+"_after"]; !after.IsZero() && t.Before(after) {
		return false
	}
	before := bounds[what+"_before"]
	return before.IsZero() || !t.IsZero() && !t.After(before)
}

func getMergeRequest(c *call) answer {
	e, _ := c.g.mergeRequestEntity(c.p, c.mr).(obj)
	e["diff_refs"] = obj{"base_sha": c.mr.HeadSHA, "head_sha": c.mr.HeadSHA, "start_sha": c.mr.HeadSHA}
	e["merge_error"], e["subscribed"], e["changes_count"], e["user"] = nil, false, "1", obj{"can_merge": c.g.level(c.p, c.user.ID) >= Developer}
	return ok(e)
}

func (c *call) note() (*Note, *answer) {
	id, err := c.varID("note_id")
	if err != nil {
		return nil, err
	}
	n := c.mr.note(id)
	if n == nil {
		a := notFound("")
		return nil, &a
	}
	return n, nil
}

func listNotes(c *call) answer {
	if err := c.oneOf("order_by", "created_at", "updated_at"); err != nil {
		return *err
	}
	if err := c.oneOf("sort", "asc", "desc"); err != nil {
		return *err
	}
	if err := c.oneOf("activity_filter", "all_notes", "only_comments", "only_activity"); err != nil {
		return *err
	}
	filter := c.str("activity_filter")
	var notes []*Note
	for _, n := range c.mr.Notes {
		if filter == "only_comments" && n.System || filter == "only_activity" && !n.System {
			continue
		}
		notes = append(notes, n)
	}
	slices.SortStableFunc(notes, func(a, b *Note) int {
		if c.str("order_by") == "updated_at" {
			return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	if c.str("sort") != "asc" {
		slices.Reverse(notes)
	}
	return paginate(c, notes, func(n *Note) any { return c.g.noteEntity(c.p, c.mr, n) })
}

func createNote(c *call) answer {
	if c.noteLimit() {
		return failure(http.StatusTooManyRequests)
	}
	return c.comment("")
}

// noteLimit counts the comments that a user makes in a minute, refused ones too.
func (c *call) noteLimit() bool {
	if c.g.opts.NotesPerMinute == 0 {
		return false
	}
	now := c.g.now()
	recent := slices.DeleteFunc(c.g.made[c.user.ID], func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	c.g.made[c.user.ID] = append(recent, now)
	return len(recent) >= c.g.opts.NotesPerMinute
}

func (c *call) comment(discussion string) answer {
	if err := c.required("body"); err != nil {
		return *err
	}
	body := c.str("body")
	if why := badBody(body); why != "" {
		return badRequest(why)
	}
	rest, commands := stripQuickActions(body)
	if strings.TrimSpace(rest) == "" {
		summary := make([]string, 0, len(commands))
		for _, name := range commands {
			summary = append(summary, "Applied the "+name+" command.")
		}
		return answer{status: http.StatusAccepted, body: obj{"commands_changes": obj{}, "summary": summary}}
	}
	n := c.g.addNote(c.p, c.mr, c.user.ID, rest, discussion, c.flag("internal") || c.flag("confidential"))
	return created(c.g.noteEntity(c.p, c.mr, n))
}

func badBody(body string) string {
	switch {
	case strings.TrimSpace(body) == "":
		return `Note {:note=>["can't be blank"]}`
	case utf8.RuneCountInString(body) > maxNoteRunes:
		return `Note {:note=>["is too long (maximum is 1000000 characters)"]}`
	}
	return ""
}

func getNote(c *call) answer {
	n, err := c.note()
	if err != nil {
		return *err
	}
	return ok(c.g.noteEntity(c.p, c.mr, n))
}

// mayEdit is for the author of a comment and for maintainers; nobody edits what GitLab wrote.
func (c *call) mayEdit(n *Note) bool {
	return !n.System && (n.AuthorID == c.user.ID || c.g.level(c.p, c.user.ID) >= Maintainer)
}

func updateNote(c *call) answer {
	n, err := c.note()
	if err != nil {
		return *err
	}
	if !c.mayEdit(n) {
		return forbidden("")
	}
	body, given := c.text("body")
	if given && strings.TrimSpace(body) == "" {
		return invalid("body is empty")
	}
	if why := badBody(body); given && why != "" {
		return badRequest(why)
	}
	if rest, _ := stripQuickActions(body); given && strings.TrimSpace(rest) != "" && rest != n.Body {
		n.Body, n.UpdatedAt = rest, c.g.now()
		c.g.emitNote(c.p, c.mr, n, "update", c.user.ID)
	}
	return ok(c.g.noteEntity(c.p, c.mr, n))
}

func deleteNote(c *call) answer {
	n, err := c.note()
	if err != nil {
		return *err
	}
	if !c.mayEdit(n) {
		return forbidden("")
	}
	c.mr.Notes = slices.DeleteFunc(c.mr.Notes, func(other *Note) bool { return other == n })
	c.g.changed()
	return noContent()
}

func listEmoji(c *call) answer {
	n, err := c.note()
	if err != nil {
		return *err
	}
	return paginate(c, n.Emoji, func(e Emoji) any { return c.g.emojiEntity(n, e) })
}

func createEmoji(c *call) answer {
	n, err := c.note()
	if err != nil {
		return *err
	}
	if err := c.required("name"); err != nil {
		return *err
	}
	name := c.str("name")
	if !knownEmoji(name) {
		return notFound("Award Emoji Name is not a valid emoji name")
	}
	for _, e := range n.Emoji {
		if e.Name == name && e.UserID == c.user.ID {
			return notFound("Award Emoji Name has already been taken")
		}
	}
	e := Emoji{ID: c.g.next("award_emoji"), Name: name, UserID: c.user.ID, At: c.g.now()}
	n.Emoji = append(n.Emoji, e)
	c.g.emit(c.p, eventEmoji, c.g.emojiPayload(c.p, c.mr, n, e))
	return created(c.g.emojiEntity(n, e))
}

// knownEmoji is a small part of GitLab's list, by its names without colons.
func knownEmoji(name string) bool {
	switch name {
	case "thumbsup", "thumbsdown", "white_check_mark", "x", "eyes", "rocket", "tada", "heart", "smile", "confused", "question",
		"warning", "no_entry", "no_entry_sign", "stop_sign", "rewind", "arrows_counterclockwise", "repeat", "hourglass",
		"hourglass_flowing_sand", "hourglass_half", "ok_hand", "wave", "ship", "anchor", "robot", "speech_balloon", "information_source",
		"negative_squared_cross_mark", "heavy_check_mark", "ballot_box_with_check", "octagonal_sign", "grey_question", "ok", "100":
		return true
	}
	return false
}

func getDiscussion(c *call) answer {
	notes := c.mr.thread(c.vars["discussion_id"])
	if len(notes) == 0 {
		return notFound("Discussion")
	}
	entities := []any{}
	for _, n := range notes {
		entities = append(entities, c.g.noteEntity(c.p, c.mr, n))
	}
	return ok(obj{"id": c.vars["discussion_id"], "individual_note": len(notes) == 1, "notes": entities})
}

func createReply(c *call) answer {
	if c.noteLimit() {
		return failure(http.StatusTooManyRequests)
	}
	notes := c.mr.thread(c.vars["discussion_id"])
	if len(notes) == 0 {
		return notFound("Discussion")
	}
	if notes[0].System {
		return badRequest("Discussion can not be replied to.")
	}
	return c.comment(c.vars["discussion_id"])
}
