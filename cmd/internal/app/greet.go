package app

import (
	"context"
	"time"
)

const greetPatience = 30 * time.Second

// greet asks GitLab, Slack and each cluster once whether they know us, so that a wrong
// token is in the log when the server starts and not when the first delivery fails. The
// server starts all the same: what is away now may be back later.
func (a *App) greet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, greetPatience)
	defer cancel()
	if me, err := a.gitlab.Me(ctx); err != nil {
		a.told(ctx, "gitlab does not answer as it should", "url", a.o.Config.GitLab.URL, err)
	} else {
		a.log.Info("gitlab knows us", "url", a.o.Config.GitLab.URL, "as", me.Username)
	}
	if a.slack != nil {
		if err := a.slack.Check(ctx); err != nil {
			a.told(ctx, "slack does not answer as it should", "url", a.o.Config.Slack.APIURL, err)
		} else {
			a.log.Info("slack knows us")
		}
	}
	for _, c := range a.o.Config.Clusters {
		version, err := a.clusters.ping(ctx, c.Name)
		if err != nil {
			a.told(ctx, "a cluster does not answer as it should", "cluster", c.Name, err)
			continue
		}
		a.log.Info("a cluster knows us", "cluster", c.Name, "version", version)
	}
}

// told warns, unless it is only that the server stops.
func (a *App) told(ctx context.Context, what, key, value string, err error) {
	if ctx.Err() == nil {
		a.log.Warn(what, key, value, "error", err)
	}
}
