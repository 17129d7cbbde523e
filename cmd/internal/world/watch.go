package world

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

// ProjectNow is what GitLab shows of the project.
func (w *World) ProjectNow() gitlabsim.ProjectSnapshot {
	for _, p := range w.GitLab.Snapshot().Projects {
		if p.ID == w.Project {
			return p
		}
	}
	return gitlabsim.ProjectSnapshot{}
}

// MergeRequest is what GitLab shows of one merge request.
func (w *World) MergeRequest(iid int64) (gitlabsim.MergeRequest, error) {
	for _, mr := range w.ProjectNow().MergeRequests {
		if mr.IID == iid {
			return mr, nil
		}
	}
	return gitlabsim.MergeRequest{}, fmt.Errorf("merge request !%d does not exist", iid)
}

// Notes are the notes of Slipway on a merge request that are not replies.
func (w *World) Notes(iid int64) []gitlabsim.Note {
	mr, err := w.MergeRequest(iid)
	if err != nil {
		return nil
	}
	var notes []gitlabsim.Note
	for _, n := range mr.Notes {
		if n.AuthorID == w.Bot && !n.Reply && !n.System {
			notes = append(notes, *n)
		}
	}
	return notes
}

// Message is Slipway's newest message about a merge request, by its title.
func (w *World) Message(iid int64) (slacksim.Message, bool) {
	mr, err := w.MergeRequest(iid)
	if err != nil {
		return slacksim.Message{}, false
	}
	messages := w.Slack.Messages(w.ChannelID)
	for i := len(messages) - 1; i >= 0; i-- {
		if m := messages[i]; m.FromApp && m.ThreadTS == "" && strings.Contains(m.Text, mr.Title) {
			return m, true
		}
	}
	return slacksim.Message{}, false
}

// AwaitGitLab waits until what GitLab shows is as wanted.
func (w *World) AwaitGitLab(ctx context.Context, what string, ok func(gitlabsim.ProjectSnapshot) bool) error {
	changed, stop := w.GitLab.Subscribe()
	defer stop()
	for !ok(w.ProjectNow()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-changed:
		}
	}
	return nil
}

// AwaitNote waits until a note of Slipway on the merge request says the words.
func (w *World) AwaitNote(ctx context.Context, iid int64, words string) error {
	return w.AwaitGitLab(ctx, fmt.Sprintf("%q in the note of !%d", words, iid), func(gitlabsim.ProjectSnapshot) bool {
		for _, n := range w.Notes(iid) {
			if strings.Contains(n.Body, words) {
				return true
			}
		}
		return false
	})
}

// PressWhenAsked waits for a button of the merge request's message in Slack and presses it.
func (w *World) PressWhenAsked(ctx context.Context, iid int64, user, button string) error {
	var found slacksim.Message
	err := w.Slack.Await(ctx, func(slacksim.Snapshot) bool {
		m, ok := w.Message(iid)
		found = m
		if !ok {
			return false
		}
		for _, b := range m.Buttons() {
			if b.Text.Text == button {
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("wait for the button %s of !%d: %w", button, iid, err)
	}
	_, err = w.Slack.Press(ctx, slacksim.Press{User: user, Channel: w.ChannelID, TS: found.TS, Button: button, Confirm: true})
	return err
}

// Reject presses Reject and gives the reason in the modal.
func (w *World) Reject(ctx context.Context, iid int64, user, reason string) error {
	if err := w.PressWhenAsked(ctx, iid, user, "Reject"); err != nil {
		return err
	}
	views := w.Slack.OpenViews(user)
	if len(views) == 0 {
		return errors.New("reject: no window opened")
	}
	view := views[len(views)-1]
	values := map[string]string{}
	for _, b := range view.Blocks {
		if b.Element != nil {
			values[b.ID+"."+b.Element.ActionID] = reason
		}
	}
	answer, err := w.Slack.SubmitModal(ctx, user, view.ID, values)
	if err == nil && len(answer.Errors) > 0 {
		return fmt.Errorf("reject: %v", answer.Errors)
	}
	return err
}
