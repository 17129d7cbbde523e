package doctor

import (
	"context"
	"errors"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// Account is who Slipway is in GitLab.
type Account interface {
	Me(ctx context.Context) (gitlab.Me, error)
	Token(ctx context.Context) (gitlab.Token, error)
	Version(ctx context.Context) (string, error)
}

// Projects are what GitLab shows Slipway of projects and their hooks.
type Projects interface {
	ProjectAt(ctx context.Context, path string) (pipeline.Project, policy.AccessLevel, error)
	GroupProjects(ctx context.Context, group string, most int) (found []pipeline.Project, more bool, err error)
	ProjectHooks(ctx context.Context, project int64) ([]gitlab.Hook, error)
	GroupHooks(ctx context.Context, group string) ([]gitlab.Hook, error)
}

// GitLab is all that is asked there.
type GitLab interface {
	Account
	Projects
}

// Slack is what Slack says of the app.
type Slack interface {
	MissingScopes(ctx context.Context) ([]string, error)
	IsMember(ctx context.Context, channel string) (bool, error)
}

// Cluster is a cluster, seen with Slipway's own credentials.
type Cluster interface {
	Condition(ctx context.Context) (kube.Condition, error)
}

// Namespace is an environment's namespace, seen as the account that is used there.
type Namespace interface {
	Exists(ctx context.Context) (exists, known bool, err error)
	Access(ctx context.Context, needs []kube.Need) (missing []kube.Need, err error)
}

// Sources is what the checks look at.
type Sources struct {
	Config   *config.Config
	Database func(path string) error // what keeps a server from opening it; store.ErrLocked if one has it
	GitLab   GitLab
	Slack    Slack // nil without
	// Cluster and Namespace connect; as is nil for Slipway's own credentials.
	Cluster   func(name string) (Cluster, error)
	Namespace func(cluster string, as *config.Impersonate, namespace string) (Namespace, error)
	// Measure asks a metrics source something, by its name; one that can be asked nothing in general is not there.
	Measure map[string]func(context.Context) error
	Now     func() time.Time
}

// Checks is the list of everything that is looked at.
func Checks(s Sources) []Check {
	checks := []Check{
		{"database", s.database},
		{"gitlab", s.gitlab},
		{"projects", (&projects{Sources: s, groups: map[string][]gitlab.Hook{}}).run},
		{"slack", s.slack},
	}
	known := map[string]*cluster{}
	for i := range s.Config.Clusters {
		name := s.Config.Clusters[i].Name
		known[name] = &cluster{Sources: s, cfg: &s.Config.Clusters[i]}
		checks = append(checks, Check{"cluster " + name, known[name].run})
	}
	for i := range s.Config.Environments {
		e := &environment{Sources: s, cfg: &s.Config.Environments[i], in: known[s.Config.Environments[i].Cluster]}
		checks = append(checks, Check{"environment " + e.cfg.Name, e.run})
	}
	for i := range s.Config.Sources {
		m := &measurements{Sources: s, cfg: &s.Config.Sources[i]}
		checks = append(checks, Check{"metrics source " + m.cfg.Name, m.run})
	}
	return checks
}

// words are what people read of an error: a failure's own, not its cause.
func words(err error) string {
	if f, ok := pipeline.AsFailure(err); ok && f.Detail != "" {
		return f.Detail
	}
	var failed *metrics.Failure
	if errors.As(err, &failed) {
		return failed.Words
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "there was no answer in time"
	}
	return err.Error()
}
