package app

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// placePages is environments as the pages want it.
type placePages struct{ *environments }

// List implements web.Environments.
func (p placePages) List(ctx context.Context) ([]web.EnvironmentView, error) {
	all, err := p.list(ctx)
	views := make([]web.EnvironmentView, 0, len(all))
	for i := range all {
		v := view(&all[i])
		v.Resources = nil
		views = append(views, v)
	}
	return views, err
}

// Environment implements web.Environments.
func (p placePages) Environment(ctx context.Context, project int64, name string) (web.EnvironmentView, error) {
	w, err := p.whole(ctx, project, name)
	if errors.Is(err, errNoEnvironment) {
		return web.EnvironmentView{}, web.ErrNotFound
	}
	return view(&w), err
}

// Log implements web.Environments.
func (p placePages) Log(ctx context.Context, project int64, name, pod, container string) (string, []string, error) {
	of, lines, err := p.podLog(ctx, project, name, pod, container)
	if errors.Is(err, errNoEnvironment) {
		return "", nil, web.ErrNotFound
	}
	if failure, ok := pipeline.AsFailure(err); ok { // the cluster's words, such as that the container waits to start
		return of, []string{failure.Detail}, nil
	}
	return of, lines, err
}

// EnvironmentChanges implements web.Environments.
func (p placePages) EnvironmentChanges(ctx context.Context, project int64, name string) (<-chan struct{}, func()) {
	return p.follow(ctx, project, name)
}

func view(w *whereabouts) web.EnvironmentView {
	v := web.EnvironmentView{
		Project: w.project, Application: w.application, Environment: w.Environment,
		Cluster: w.rules.Cluster, Namespace: w.rules.Namespace, Tier: w.rules.Tier, URL: w.rules.URL,
		Words: w.tree.Words, Links: titled(w.tree.Links), More: w.tree.More, Notes: w.tree.Notes, Trouble: w.trouble, Problem: w.problem,
		Resources: resources(w.tree.Nodes),
		Drift:     web.DriftView{Mode: w.mode, Checked: w.drift.checked, Corrected: w.drift.corrected, Problem: w.drift.problem},
	}
	if w.looked {
		v.Health = string(w.tree.Health)
	}
	for _, d := range w.drift.found {
		v.Drift.Differences = append(v.Drift.Differences, web.DifferenceView{
			Kind: d.Kind, Name: d.Name, Field: d.Field, Live: d.Live, Recorded: d.Recorded, By: d.By, At: d.At, Missing: d.Missing, Trouble: d.Trouble, Left: d.Left,
		})
	}
	return v
}

func titled(links []deploy.Link) []pipeline.Link {
	var all []pipeline.Link
	for _, l := range links {
		all = append(all, pipeline.Link{Title: l.Name, URL: l.URL})
	}
	return all
}

func resources(nodes []*deploy.Node) []web.Resource {
	var all []web.Resource
	for _, n := range nodes {
		r := web.Resource{
			Kind: n.Kind, Name: n.Name, Health: string(n.Health), Words: n.Words, Images: n.Images, Containers: n.Containers,
			Version: n.Version, Track: n.Track, Release: n.Release, Commit: n.Commit, Restarts: n.Restarts, Created: n.Created,
			Links: titled(n.Links), Drifted: n.Drifted, Children: resources(n.Children),
		}
		for _, e := range n.Events {
			r.Events = append(r.Events, web.ResourceEvent(e))
		}
		all = append(all, r)
	}
	return all
}

// placeAPI is environments as the JSON API wants it.
type placeAPI struct{ *environments }

// List implements handlers.Environments.
func (p placeAPI) List(ctx context.Context) (handlers.EnvironmentList, error) {
	all, more, err := p.all(ctx)
	if err != nil {
		return handlers.EnvironmentList{}, err
	}
	list := handlers.EnvironmentList{Environments: []handlers.EnvironmentSummary{}, Configured: []handlers.ConfiguredEnvironment{}, More: more}
	for i := range all {
		list.Environments = append(list.Environments, summary(&all[i]))
	}
	for _, e := range p.cfg.Environments {
		list.Configured = append(list.Configured, handlers.ConfiguredEnvironment{
			Name: e.Name, Projects: e.Projects, Cluster: e.Cluster, Namespace: e.Namespace, Tier: e.Tier, URL: e.URL, Judged: e.Judged, Drift: e.Drift,
		})
	}
	return list, nil
}

// Environment implements handlers.Environments.
func (p placeAPI) Environment(ctx context.Context, project int64, name string) (handlers.Environment, error) {
	w, err := p.whole(ctx, project, name)
	if err != nil {
		return handlers.Environment{}, asked(err)
	}
	e := handlers.Environment{
		EnvironmentSummary: summary(&w),
		Tree: handlers.Tree{
			Health: string(w.tree.Health), Words: w.tree.Words, Links: linked(w.tree.Links), Objects: objects(w.tree.Nodes),
			Notes: append([]string{}, w.tree.Notes...), Trouble: w.trouble, More: w.tree.More,
		},
		Drift: handlers.Drift{
			Mode: w.mode, Problem: w.drift.problem, Corrected: w.drift.corrected, Differences: []handlers.Difference{},
		},
		Releases: []handlers.Release{},
	}
	if w.drift.checked {
		e.Drift.Checked = w.drift.at
	}
	if !w.looked {
		e.Tree.Health = string(deploy.Unknown)
	}
	for _, d := range w.drift.found {
		e.Drift.Differences = append(e.Drift.Differences, handlers.Difference{
			Kind: d.Kind, Name: d.Name, Missing: d.Missing, Field: d.Field, Live: d.Live, Recorded: d.Recorded, By: d.By, At: d.At, Trouble: d.Trouble, Left: d.Left,
		})
	}
	for _, r := range slices.Backward(w.Releases) {
		e.Releases = append(e.Releases, release(r))
	}
	return e, nil
}

// Log implements handlers.Environments.
func (p placeAPI) Log(ctx context.Context, project int64, name, pod, container string) (handlers.PodLog, error) {
	of, lines, err := p.podLog(ctx, project, name, pod, container)
	return handlers.PodLog{Pod: pod, Container: of, Lines: append([]string{}, lines...)}, asked(err)
}

// asked makes of an error what whoever asked may read.
func asked(err error) error {
	failure, ok := pipeline.AsFailure(err)
	switch {
	case errors.Is(err, errNoEnvironment):
		return handlers.NotFound("there is no such environment, pod or container")
	case ok:
		return &handlers.Refusal{Status: http.StatusBadGateway, Reason: failure.Detail, Err: err}
	}
	return err
}

func summary(w *whereabouts) handlers.EnvironmentSummary {
	s := handlers.EnvironmentSummary{
		Project: handlers.ProjectRef{ID: w.Project, Path: w.project.Path, URL: w.project.URL}, Name: w.Name, Application: w.application,
		Cluster: w.rules.Cluster, Namespace: w.rules.Namespace, Tier: w.rules.Tier, URL: w.rules.URL, Queue: []handlers.Claim{}, Problem: w.problem,
	}
	if r := w.LastGood(); r != nil {
		known := release(*r)
		s.Release = &known
	}
	if u := w.Unsure; u != nil {
		s.Unsure = &handlers.Unsure{Since: u.Since, Delivery: u.Of, By: u.By, LastGood: s.Release}
		s.Release = nil
	}
	if w.Holder != nil {
		holder := claim(*w.Holder)
		s.Holder = &holder
	}
	for _, c := range w.Queue {
		s.Queue = append(s.Queue, claim(c))
	}
	return s
}

func claim(c pipeline.Claim) handlers.Claim {
	return handlers.Claim{Delivery: c.Delivery, Name: c.Name, Stage: c.Stage, Back: c.Back, Since: c.Since}
}

func release(r pipeline.Release) handlers.Release {
	out := handlers.Release{
		ID: r.ID, Delivery: r.Delivery, SHA: r.SHA, Ref: r.Ref, Title: r.Title, Images: []handlers.Image{}, By: r.By, At: r.At, Bad: r.Bad,
	}
	for _, i := range r.Images {
		out.Images = append(out.Images, handlers.Image(i))
	}
	return out
}

func linked(links []deploy.Link) []handlers.Link {
	all := []handlers.Link{}
	for _, l := range links {
		all = append(all, handlers.Link(l))
	}
	return all
}

func objects(nodes []*deploy.Node) []handlers.Resource {
	all := []handlers.Resource{}
	for _, n := range nodes {
		r := handlers.Resource{
			Kind: n.Kind, Name: n.Name, Health: string(n.Health), Words: n.Words, Images: n.Images, Containers: n.Containers,
			Version: n.Version, Track: n.Track, Release: n.Release, Commit: n.Commit, Restarts: n.Restarts, Created: n.Created,
			Drifted: n.Drifted,
		}
		for _, l := range n.Links {
			r.Links = append(r.Links, handlers.Link(l))
		}
		for _, e := range n.Events {
			r.Events = append(r.Events, handlers.Event(e))
		}
		if len(n.Children) > 0 {
			r.Children = objects(n.Children)
		}
		all = append(all, r)
	}
	return all
}
