// Package slack speaks to one Slack workspace: it keeps one message per delivery true,
// answers people where only they see it, takes in presses of buttons and modals after
// checking that Slack sent them, and finds out who in GitLab a Slack user is.
//
// Where to look: client.go (options), message.go (the message is sent once and edited
// then), ask.go and notice.go (what is sent once), look.go (whether an earlier attempt
// sent it), render.go and markup.go (what it looks like), answer.go, interactions.go and
// modal.go (what people press), people.go, failure.go (errors in words), manifest.go (the
// app as Slack wants it described).
package slack
