package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// How long a look waits for clusters, and how many environments are listed.
const (
	lookPatience    = 3 * time.Second // at one environment
	listPatience    = 1500 * time.Millisecond
	maxEnvironments = 500
	maxLooked       = 50 // namespaces that the page of all environments watches: those that changed last
)

// errNoEnvironment is what the faces of environments turn into their own not-found.
var errNoEnvironment = errors.New("there is no such environment")

// environments tells what runs where: from the store what was delivered, and from the clusters what became of it.
type environments struct {
	cfg      *config.Config
	store    store.Store
	clusters *clusters
	gitlab   *gitlab.Client
	changes  *changes // by "project/name"
	log      *slog.Logger
	// placed makes of a recorded set the objects that should be live.
	placed func(set manifest.Set, r pipeline.Release) (manifest.Set, error)

	mu       sync.Mutex
	projects map[int64]pipeline.Project // that only GitLab knows
	drifts   map[string]*drift          // by the environment's id
}

func newEnvironments(a *App) *environments {
	return &environments{
		cfg: a.o.Config, store: a.store, clusters: a.clusters, gitlab: a.gitlab, changes: a.places, log: a.log,
		placed:   deploy.Placed,
		projects: map[int64]pipeline.Project{}, drifts: map[string]*drift{},
	}
}

// whereabouts is everything that is known of one environment.
type whereabouts struct {
	pipeline.Environment
	project     pipeline.Project
	application string
	rules       pipeline.EnvironmentRules
	mode        string // of drift
	place       *kube.Namespace
	looked      bool // the cluster was asked
	tree        deploy.Tree
	trouble     string
	problem     string
	drift       driftState
}

// all lists the environments that the store knows, without looking at clusters.
func (e *environments) all(ctx context.Context) (found []whereabouts, more bool, err error) {
	for before := ""; ; {
		page, err := e.store.List(ctx, store.Query{Kind: engine.KindEnvironment, WithHidden: true, Before: before, Limit: maxEnvironments})
		if err != nil {
			return nil, false, fmt.Errorf("list environments: %w", err)
		}
		for _, doc := range page.Documents {
			env, err := pipeline.DecodeEnvironment(doc.Data)
			if err != nil {
				return nil, false, err
			}
			if len(found) == maxEnvironments {
				return found, true, nil
			}
			if env.Idle() && env.Empty() {
				continue // a delivery came by and left nothing
			}
			found = append(found, e.known(ctx, env))
		}
		if before = page.Next; before == "" {
			return found, false, nil
		}
	}
}

// one reads an environment, errNoEnvironment if there is none.
func (e *environments) one(ctx context.Context, project int64, name string) (whereabouts, error) {
	env, err := e.read(ctx, project, name)
	if err != nil {
		return whereabouts{}, err
	}
	return e.known(ctx, env), nil
}

func (e *environments) read(ctx context.Context, project int64, name string) (pipeline.Environment, error) {
	id := pipeline.EnvironmentID(project, name)
	doc, err := e.store.Get(ctx, engine.Environment(id))
	if errors.Is(err, store.ErrNotFound) {
		return pipeline.Environment{}, errNoEnvironment
	}
	if err != nil {
		return pipeline.Environment{}, fmt.Errorf("read environment %s: %w", id, err)
	}
	return pipeline.DecodeEnvironment(doc.Data)
}

// known adds what the deliveries and the operator's file tell.
func (e *environments) known(ctx context.Context, env pipeline.Environment) whereabouts {
	w := whereabouts{Environment: env}
	w.project, w.application = e.about(ctx, env)
	at, err := e.cfg.Place(w.project.Path, env.Name)
	if err != nil {
		w.problem = "the operator's configuration has no place for it any more: " + err.Error()
		return w
	}
	w.rules, w.mode = at.Rules, at.Drift
	client, err := e.clusters.connect(at.Rules.Cluster, at.As)
	if err != nil {
		w.problem = words(err)
		return w
	}
	if w.place = client.Namespace(at.Rules.Namespace); at.CRDs {
		w.place = w.place.AllowCRDs()
	}
	return w
}

// about finds the project, and how its pipeline file calls the application: from the delivery that runs, or from the
// project's newest one. Old deliveries are removed one day, and then GitLab is asked.
func (e *environments) about(ctx context.Context, env pipeline.Environment) (pipeline.Project, string) {
	var docs []store.Document
	if r := env.Current(); r != nil {
		if doc, err := e.store.Get(ctx, engine.Delivery(r.Delivery)); err == nil {
			docs = append(docs, doc)
		}
	}
	if page, err := e.store.List(ctx, store.Query{Kind: engine.KindDelivery, Project: env.Project, WithHidden: true, Limit: 1}); err == nil {
		docs = append(docs, page.Documents...)
	}
	for _, doc := range docs {
		d, err := pipeline.DecodeDelivery(doc.Data)
		if err != nil || d.Project.Path == "" {
			continue
		}
		if plan, err := engine.ReadPlan(ctx, e.store, d.PlanRef); err == nil && plan != nil && plan.Application != "" {
			return d.Project, plan.Application
		}
		return d.Project, d.Project.Path
	}
	p := e.fromGitLab(ctx, env.Project)
	return p, p.Path
}

func (e *environments) fromGitLab(ctx context.Context, id int64) pipeline.Project {
	e.mu.Lock()
	p, ok := e.projects[id]
	e.mu.Unlock()
	if ok {
		return p
	}
	p, err := e.gitlab.Project(ctx, id)
	if err != nil {
		return pipeline.Project{ID: id}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.projects[id] = p
	return p
}

// look asks the cluster how things are, for as long as ctx lasts.
func (e *environments) look(ctx context.Context, w *whereabouts) {
	if w.place == nil {
		return
	}
	live := w.place.Live(ctx)
	w.looked, w.trouble = true, live.Trouble
	set, err := e.expected(context.WithoutCancel(ctx), w.Environment)
	if err != nil {
		w.problem = words(err)
	}
	w.tree = deploy.Grow(live, owner(w.Environment), set)
}

// owner is whose the objects of the environment are, as its release has stamped them.
func owner(env pipeline.Environment) deploy.Owner {
	o := deploy.Owner{Project: env.Project, Environment: env.Name}
	if r := env.Current(); r != nil {
		o.Delivery, o.Release, o.SHA = r.Delivery, r.ID, r.SHA
	}
	return o
}

// expected is what should be live: the release's recorded set, as it is placed. Nothing is expected without a release.
func (e *environments) expected(ctx context.Context, env pipeline.Environment) (manifest.Set, error) {
	r := env.Current()
	if r == nil {
		return manifest.Set{}, nil
	}
	set, err := e.recorded(ctx, *r)
	if err != nil {
		return manifest.Set{}, err
	}
	return e.placed(set, *r)
}

func (e *environments) recorded(ctx context.Context, r pipeline.Release) (manifest.Set, error) {
	refused := func(err error) error {
		return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "the recorded manifests of the release can't be read", Permanent: true, Err: err}
	}
	if r.Manifests == "" {
		return manifest.Set{}, refused(errors.New("the release has none"))
	}
	data, err := e.store.GetBlob(ctx, r.Manifests)
	if err != nil {
		return manifest.Set{}, refused(err)
	}
	set, err := manifest.Decode(data)
	if err != nil {
		return manifest.Set{}, refused(err)
	}
	return set, nil
}

// list is all environments with their health, as far as the clusters tell it at once.
func (e *environments) list(ctx context.Context) ([]whereabouts, error) {
	all, _, err := e.all(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	for _, i := range watchable(all) {
		e.look(ctx, &all[i])
	}
	return all, nil
}

// watchable are the environments that the page of all of them looks at, so that it starts no more watches than clusters
// bear.
func watchable(all []whereabouts) []int {
	var chosen []int
	seen := map[string]bool{}
	for i := range all {
		at := all[i].rules.Cluster + "/" + all[i].rules.Namespace
		if all[i].place != nil && (seen[at] || len(seen) < maxLooked) {
			seen[at] = true
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// whole is one environment with everything.
func (e *environments) whole(ctx context.Context, project int64, name string) (whereabouts, error) {
	w, err := e.one(ctx, project, name)
	if err != nil {
		return w, err
	}
	looking, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	e.look(looking, &w)
	w.drift = e.compared(ctx, &w)
	if w.drift.checked {
		w.tree.Mark(w.drift.found)
	}
	return w, nil
}

// podLog is the end of a log of a pod that is the environment's. The values of all its releases' Secrets that can still
// be read are taken out, and those of the one that runs must be known.
func (e *environments) podLog(ctx context.Context, project int64, name, pod, container string) (of string, lines []string, err error) {
	w, err := e.one(ctx, project, name)
	if err != nil {
		return "", nil, err
	}
	looking, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	e.look(looking, &w)
	containers, ok := w.tree.Pod(pod)
	if !ok || len(containers) == 0 {
		return "", nil, errNoEnvironment
	}
	if container == "" {
		container = containers[0]
	}
	if !contains(containers, container) {
		return "", nil, errNoEnvironment
	}
	var sets []manifest.Set
	for i := range w.Releases {
		set, err := e.recorded(ctx, w.Releases[i])
		if err != nil && i == len(w.Releases)-1 {
			return "", nil, err
		}
		sets = append(sets, set)
	}
	lines, err = deploy.ShownLog(ctx, w.place, pod, container, sets...)
	return container, lines, err
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// follow signals when an environment has changed, in the store or in its cluster; project 0 means all that there are.
func (e *environments) follow(ctx context.Context, project int64, name string) (<-chan struct{}, func()) {
	id, follow := "", map[string]*kube.Namespace{}
	if project != 0 {
		id = pipeline.EnvironmentID(project, name)
		if w, err := e.one(ctx, project, name); err == nil && w.place != nil {
			follow[id] = w.place
		}
	} else if all, _, err := e.all(ctx); err == nil {
		for _, i := range watchable(all) {
			follow[all[i].rules.Cluster+"/"+all[i].rules.Namespace] = all[i].place
		}
	}
	changed, stop := e.changes.subscribe(id)
	out, ended := make(chan struct{}, 1), make(chan struct{})
	stops := []func(){stop}
	forward := func(c <-chan struct{}) {
		for {
			select {
			case <-ended:
				return
			case <-c:
				select {
				case out <- struct{}{}:
				default: // it has not looked since the last one
				}
			}
		}
	}
	go forward(changed)
	for _, place := range follow {
		c, stop := place.Follow(ctx)
		stops = append(stops, stop)
		go forward(c)
	}
	return out, sync.OnceFunc(func() {
		close(ended)
		for _, stop := range stops {
			stop()
		}
	})
}

// words are what people read of an error: a failure's, and nothing of any other.
func words(err error) string {
	if failure, ok := pipeline.AsFailure(err); ok {
		return failure.Detail
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "it took too long"
	}
	return "something went wrong, and Slipway's log says what"
}
