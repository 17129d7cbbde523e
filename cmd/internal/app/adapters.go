package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/chatops/slack"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// buildAdapters makes the adapters and the engine that drives them.
func (a *App) buildAdapters() error {
	cfg := a.o.Config
	people, err := a.buildSlack()
	if err != nil {
		return err
	}
	a.gitlab, err = gitlab.New(gitlab.Options{
		URL: cfg.GitLab.URL, Token: cfg.GitLab.Token.Reveal(), ConsoleURL: consoleURL(cfg), Mention: cfg.GitLab.Mention,
		Parse:  func(body string) (pipeline.Request, bool) { return commented(cfg.GitLab.Mention, body) },
		People: people, Logger: a.log, Blobs: a.store,
	})
	if err != nil {
		return err
	}
	pools, err := a.pools()
	if err != nil {
		return err
	}
	a.engine, err = engine.New(engine.Options{
		Store: a.store, Pools: pools, Logger: a.log, OnChange: a.changed, OnEffect: a.metrics.effect,
		LongestPause: a.o.LongestPause,
	})
	return err
}

// pagesURL is the address of the pages, "" without pages.
func pagesURL(cfg *config.Config) string {
	if cfg.Console.Access == "off" {
		return ""
	}
	return cfg.URL
}

// consoleURL is the base of the delivery pages, "" without pages.
func consoleURL(cfg *config.Config) string {
	if base := pagesURL(cfg); base != "" {
		return base + "/deliveries"
	}
	return ""
}

func (a *App) buildSlack() (gitlab.People, error) {
	cfg := a.o.Config
	if cfg.Slack == nil {
		return nil, nil
	}
	var err error
	a.slack, err = slack.New(slack.Options{
		Token: cfg.Slack.Token.Reveal(), SigningSecret: cfg.Slack.SigningSecret.Reveal(), APIURL: cfg.Slack.APIURL,
		ConsoleURL: pagesURL(cfg), DefaultChannel: cfg.Slack.Channel, People: cfg.Slack.People,
		MatchEmail: cfg.Slack.MatchEmail, Logger: a.log,
	})
	if err != nil {
		return nil, err
	}
	return people{a.slack}, nil
}

// commented reads a command from a comment.
func commented(mention, body string) (pipeline.Request, bool) {
	c, ok := chatops.ParseCommand(mention, body)
	if !ok {
		return pipeline.Request{}, false
	}
	return c.Request(), true
}

// deliverer hands events to the engine, which is built after the adapters.
type deliverer struct{ app *App }

func (d deliverer) Deliver(ctx context.Context, delivery, key string, e pipeline.Event) (bool, error) {
	return d.app.engine.Deliver(ctx, delivery, key, e)
}

// inbox is deliverer for those who need not know whether the event was new.
type inbox struct{ app *App }

func (i inbox) Deliver(ctx context.Context, delivery, key string, e pipeline.Event) error {
	_, err := i.app.engine.Deliver(ctx, delivery, key, e)
	return err
}

// people lets GitLab's adapter ask Slack's who somebody is.
type people struct{ slack *slack.Client }

func (p people) GitLabUser(ctx context.Context, slackID string) (gitlab.Who, error) {
	username, email, err := p.slack.GitLabUser(ctx, slackID)
	return gitlab.Who{Username: username, Email: email}, err
}

// operator is the configuration as the pipeline file's compiler wants it.
type operator struct{ *config.Config }

func (o operator) Defaults(project string) spec.Defaults {
	d := spec.Defaults{TurnRed: o.GitLab.TurnRed, TriggerRefs: o.TriggerRefs(project), JobNames: o.JobNames(project), Sources: o.SourceNames(project)}
	d.Channels, d.ChannelsHeld = o.ChannelNames(project)
	d.Metrics = metricTemplates(o.Config)
	if o.Slack != nil {
		d.Channel = o.Slack.Channel
	}
	return d
}

// repository is GitLab as the loader and the deployer want it.
type repository struct{ *gitlab.Client }

func (r repository) PipelineFile(ctx context.Context, project pipeline.Project, sha string) ([]byte, error) {
	data, err := r.Client.PipelineFile(ctx, project.ID, sha)
	if errors.Is(err, gitlab.ErrNoFile) {
		return nil, spec.ErrNoFile
	}
	return data, err
}

func (r repository) Describe(ctx context.Context, project, mergeRequest int64, sha string) (spec.Input, error) {
	p, err := r.Project(ctx, project)
	if err != nil {
		return spec.Input{}, err
	}
	commit, mr, err := r.Client.Describe(ctx, project, mergeRequest, sha)
	return spec.Input{Project: p, Commit: commit, MergeRequest: mr}, err
}

func (r repository) DescribeOpen(ctx context.Context, project, mergeRequest int64, sha string) (spec.Input, error) {
	p, err := r.Project(ctx, project)
	if err != nil {
		return spec.Input{}, err
	}
	commit, mr, err := r.Client.DescribeOpen(ctx, project, mergeRequest, sha)
	return spec.Input{Project: p, Commit: commit, MergeRequest: mr}, err
}

func (r repository) Files(ctx context.Context, project pipeline.Project, sha, path string) (fs.FS, error) {
	return r.Client.Files(ctx, project.ID, sha, path)
}

// executors carry effects out.
type executors struct {
	loader, evaluator, rollbacks, gitlab, answers, slack engine.Executor
	// Held to what the operator allows now.
	deployer, checker, analyser engine.Executor
}

func (a *App) executors() (*executors, error) {
	x := &executors{gitlab: a.gitlab, answers: &answers{gitlab: a.gitlab, slack: a.slack, calls: a.calls}, slack: &messages{slack: a.slack}}
	var err error
	if x.loader, err = spec.NewLoader(spec.LoaderOptions{Source: repository{a.gitlab}, Operator: operator{a.o.Config}, Blobs: a.store}); err != nil {
		return nil, err
	}
	if x.evaluator, err = spec.NewEvaluator(); err != nil {
		return nil, err
	}
	if x.rollbacks, err = spec.NewRollbacks(spec.RollbacksOptions{Blobs: a.store, Inbox: inbox{a}}); err != nil {
		return nil, err
	}
	registries, err := registriesOf(a.o.Config)
	if err != nil {
		return nil, err
	}
	a.deployer, err = deploy.New(deploy.Options{
		Source: repository{a.gitlab}, Blobs: a.store, Clusters: a.clusters, Logger: a.log, Registry: registries, Limits: manifest.Limits{Apart: a.o.Apart},
	})
	if err != nil {
		return nil, fmt.Errorf("build the deployer: %w", err)
	}
	sources, err := metricsSources(a.o.Config) // once: their limits hold for checks and canaries together
	if err != nil {
		return nil, err
	}
	checker, err := a.checks(sources, a.deployer)
	if err != nil {
		return nil, err
	}
	analyser, err := a.analyses(sources, a.deployer)
	if err != nil {
		return nil, err
	}
	held := func(next engine.Executor) engine.Executor { return &ruled{cfg: a.o.Config, next: next} }
	x.deployer, x.checker, x.analyser = held(a.deployer), held(checker), held(analyser)
	return x, nil
}

// pools says who carries out what, how much of it at a time, and for how long.
func (a *App) pools() ([]engine.Pool, error) {
	x, err := a.executors()
	if err != nil {
		return nil, err
	}
	return []engine.Pool{
		{Name: "load", Executor: x.loader, Size: 8, Timeout: 2 * time.Minute, GiveUp: time.Hour,
			Actions: []pipeline.Action{pipeline.LoadPlan{}}},
		{Name: "local", Executor: x.evaluator, Size: 2, Timeout: 10 * time.Second, GiveUp: time.Minute,
			Actions: []pipeline.Action{pipeline.Evaluate{}}},
		{Name: "start", Executor: x.rollbacks, Size: 2, Timeout: 10 * time.Second,
			Actions: []pipeline.Action{pipeline.StartRollback{}, pipeline.StartTearDown{}}},
		{Name: "gitlab", Executor: x.gitlab, Size: 16, Timeout: time.Minute, GiveUp: 10 * time.Minute,
			Actions: []pipeline.Action{pipeline.LookAtCI{}, pipeline.Identify{}, pipeline.PlayJob{}, pipeline.LookAtJob{},
				pipeline.StartPipeline{}, pipeline.LookAtPipeline{}}},
		{Name: "report", Executor: x.gitlab, Size: 8, Timeout: time.Minute, GiveUp: 6 * time.Hour, Yields: true,
			Actions: []pipeline.Action{pipeline.WriteNote{}, pipeline.WriteStatus{}, pipeline.WriteDeployment{}, pipeline.StopEnvironment{}, pipeline.LookAtMergeRequest{},
				pipeline.DrawChart{}}},
		{Name: "answer", Executor: x.answers, Size: 4, Timeout: time.Minute, GiveUp: time.Hour,
			Actions: []pipeline.Action{pipeline.Answer{}}},
		{Name: "apply", Executor: x.deployer, Size: 8, Timeout: 5 * time.Minute,
			Actions: []pipeline.Action{pipeline.Apply{}, pipeline.Retire{}, pipeline.Remove{}, pipeline.TearDown{}, pipeline.StopJob{}}},
		// On their own, so that nobody's way back waits for other people's deploys.
		{Name: "traffic", Executor: x.deployer, Size: 32, Timeout: 5 * time.Minute,
			Actions: []pipeline.Action{pipeline.Restore{}, pipeline.Switch{}}},
		// They wait for pods, and for calls that may arrive late. A route that never takes its weights is given up.
		{Name: "pairs", Executor: x.deployer, Size: 32, Timeout: 5 * time.Minute, GiveUp: 25 * time.Minute,
			Actions: []pipeline.Action{pipeline.WeighPair{}, pipeline.EndPair{}}},
		{Name: "watch", Executor: x.deployer, Size: 512,
			Actions: []pipeline.Action{pipeline.Observe{}, pipeline.RunJob{}, pipeline.WatchJob{}, pipeline.StartPair{}}},
		// One for each pair that stands, for hours or days. A pair for which there is no room is still looked at.
		{Name: "pods", Executor: x.deployer, Size: 512, Actions: []pipeline.Action{pipeline.WatchPair{}}},
		// The core waits for a look for two to ten minutes.
		{Name: "analyse", Executor: x.analyser, Size: 32, Timeout: 9 * time.Minute, GiveUp: 4 * time.Minute,
			Actions: []pipeline.Action{pipeline.Measure{}}},
		// A check that is a Job may run for long; the others bound themselves to a minute and a half. There is room for many,
		// because a release on standby must not wait for other people's Jobs to be checked.
		{Name: "check", Executor: x.checker, Size: 512, Timeout: time.Hour, GiveUp: 15 * time.Minute,
			Actions: []pipeline.Action{pipeline.RunCheck{}}},
		{Name: "slack", Executor: x.slack, Size: 8, Timeout: time.Minute, GiveUp: 6 * time.Hour, Yields: true,
			Actions: []pipeline.Action{pipeline.WriteMessage{}, pipeline.Ask{}, pipeline.SendNotice{}}},
	}, nil
}

// messages sends to Slack, or says that there is none.
type messages struct{ slack *slack.Client }

func (m *messages) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	if channel := noticeTo(t); channel != "" && !t.Plan.MayTell(channel) {
		return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true,
			Detail: "this project may send nothing to " + chatops.Line(channel, 100) + "; an operator can allow it with slack.channels"}
	}
	if m.slack == nil {
		where := t.Plan.Channel
		if do, ok := t.Effect.Do.(pipeline.SendNotice); ok {
			where = "the channel of stage " + do.Stage
		}
		return nil, &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: "the operator has not set Slack up, so nobody was told in " + where}
	}
	return m.slack.Execute(ctx, t)
}

// noticeTo is the channel of a notify stage, "" for all else.
func noticeTo(t *pipeline.Task) string {
	do, ok := t.Effect.Do.(pipeline.SendNotice)
	if !ok {
		return ""
	}
	def, _ := t.Delivery.Definition(t.Plan, do.Stage)
	if def.Notify == nil {
		return ""
	}
	return def.Notify.Channel
}

// answers go back the way that the request came.
type answers struct {
	gitlab *gitlab.Client
	slack  *slack.Client
	calls  *calls
}

func (x *answers) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	do, ok := t.Effect.Do.(pipeline.Answer)
	switch {
	case ok && do.Request.Via == pipeline.ViaSlack && x.slack != nil:
		return x.slack.Execute(ctx, t)
	case ok && do.Request.Via == pipeline.ViaAPI:
		x.calls.tell(do)
		return nil, nil
	}
	return x.gitlab.Execute(ctx, t)
}
