package app

import (
	"context"
	"time"
)

const greetPatience = 15 * time.Second // with each

// greet asks GitLab, Slack and each cluster once whether they know us, so that a wrong
// token is in the log when the server starts and not when the first delivery fails. The
// server starts all the same: what is away now may be back later.
func (a *App) greet(ctx context.Context) {
	a.ask(ctx, "gitlab", a.o.Config.GitLab.URL, func(ctx context.Context) (string, error) {
		me, err := a.gitlab.Me(ctx)
		return "as " + me.Username, err
	})
	if a.slack != nil {
		a.ask(ctx, "slack", a.o.Config.Slack.APIURL, func(ctx context.Context) (string, error) {
			return "the token works", a.slack.Check(ctx)
		})
	}
	for _, c := range a.o.Config.Clusters {
		a.ask(ctx, "cluster", c.Name, func(ctx context.Context) (string, error) { return a.clusters.ping(ctx, c.Name) })
	}
}

// ask logs how one of them answers. A server that stops meanwhile is nobody's fault.
func (a *App) ask(ctx context.Context, what, which string, how func(context.Context) (string, error)) {
	asking, cancel := context.WithTimeout(ctx, greetPatience)
	defer cancel()
	answer, err := how(asking)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.log.Warn(what+" does not answer as it should", "which", which, "error", err)
	default:
		a.log.Info(what+" knows us", "which", which, "answer", answer)
	}
}
