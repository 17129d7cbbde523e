package demo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const maxDeliveries = 20

// State is everything that the page shows.
type State struct {
	Ready         bool           `json:"ready"`   // the first release is delivered
	Broken        bool           `json:"broken"`  // the main branch holds a container that is broken
	Slipway       string         `json:"slipway"` // addresses, to tell links apart
	GitLab        string         `json:"gitlab"`
	MergeRequests []MergeRequest `json:"merge_requests"` // newest first
	Deliveries    []Delivery     `json:"deliveries"`     // newest first
	Slack         SlackState     `json:"slack"`
	Places        []Place        `json:"places"` // in the order of the pipeline
	Shop          Shop           `json:"shop"`
}

// MergeRequest is one of GitLab's, with what Slipway wrote to it.
type MergeRequest struct {
	IID         int64        `json:"iid"`
	Kind        kind         `json:"kind"`
	Title       string       `json:"title"`
	State       string       `json:"state"`   // opened, merged
	Blocked     bool         `json:"blocked"` // the main branch has to be repaired first
	Author      string       `json:"author"`
	SHA         string       `json:"sha"` // of the merge, "" before
	Notes       []Note       `json:"notes"`
	Jobs        []Status     `json:"jobs"`   // of the CI pipeline
	Stages      []Status     `json:"stages"` // Slipway's commit statuses
	Deployments []Deployment `json:"deployments"`
}

// Note is a comment, rendered.
type Note struct {
	ID     int64     `json:"id"`
	Author string    `json:"author"`
	HTML   string    `json:"html"`
	Emoji  []string  `json:"emoji"`
	Reply  bool      `json:"reply"`
	At     time.Time `json:"at"`
}

// Status is one CI job or commit status.
type Status struct {
	Name        string `json:"name"`
	Status      string `json:"status"` // GitLab's word
	Manual      bool   `json:"manual"`
	Description string `json:"description"`
}

// Deployment is one of GitLab's deployments.
type Deployment struct {
	ID          int64  `json:"id"`
	Environment string `json:"environment"`
	Status      string `json:"status"`
}

// Delivery is one of Slipway's, in short.
type Delivery struct {
	ID       string   `json:"id"`
	IID      int64    `json:"iid"`
	URL      string   `json:"url"`
	Status   string   `json:"status"`
	Reason   string   `json:"reason"`
	Rollback bool     `json:"rollback"` // it takes another one back
	Asking   bool     `json:"asking"`
	Finished bool     `json:"finished"`
	Seconds  int      `json:"seconds"` // that it took, 0 before the end
	Stages   []Stage  `json:"stages"`
	Decided  []string `json:"decided"` // who decided what
}

// Stage is one stage of a delivery.
type Stage struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Status   string `json:"status"`
	Says     string `json:"says"` // its progress or its reason
	Place    string `json:"place"`
	Previous string `json:"previous"` // short commits
	Now      string `json:"now"`
	Saw      string `json:"saw"` // what its checks saw last, "" while all is well
	// Standby is until when what ran before is ready to take the traffic back, in
	// milliseconds since 1970; 0 if it isn't.
	Standby int64 `json:"standby"`
}

// SlackState is the channel, with what single people see.
type SlackState struct {
	Channel    string             `json:"channel"`
	Users      []slacksim.User    `json:"users"`
	Messages   []slacksim.Message `json:"messages"` // oldest first
	Ephemerals []slacksim.Message `json:"ephemerals"`
	Views      []slacksim.View    `json:"views"`
}

// Place is one environment in the cluster.
type Place struct {
	Environment string                 `json:"environment"`
	Namespace   string                 `json:"namespace"`
	Workloads   []kubesim.WorkloadView `json:"workloads"`
	Traffic     []string               `json:"traffic"` // names of the pods that the Service sends it to
}

var environments = []struct{ name, namespace string }{{"staging", "shop-staging"}, {"production", "shop"}}

func (s *stage) state(ctx context.Context) (State, error) {
	st := State{
		Slipway: "http://" + s.app.Addr(), GitLab: s.world.GitLab.URL(), Broken: s.mainIsBroken(),
		MergeRequests: s.mergeRequests(), Slack: s.slack(), Places: s.places(), Shop: s.shop(ctx),
	}
	select {
	case <-s.ready:
		st.Ready = true
	default:
	}
	views, err := s.app.Deliveries(ctx, maxDeliveries)
	if err != nil {
		return State{}, fmt.Errorf("read the deliveries: %w", err)
	}
	for _, v := range views {
		st.Deliveries = append(st.Deliveries, s.delivery(v))
	}
	return st, nil
}

func (s *stage) delivery(v pipeline.View) Delivery {
	d := Delivery{
		ID: v.ID, IID: v.MergeRequest.IID, URL: "http://" + s.app.Addr() + "/deliveries/" + v.ID, Status: string(v.Status),
		Reason: firstLine(v.Reason), Rollback: v.RollbackOf != "", Asking: len(v.Questions) > 0, Finished: v.Status.Finished(),
	}
	if !v.Ended.IsZero() && !v.Started.IsZero() {
		d.Seconds = max(1, int(v.Ended.Sub(v.Started).Round(time.Second).Seconds()))
	}
	for _, sv := range v.Stages {
		says := sv.Progress
		if says == "" || sv.Status.Finished() {
			says = sv.Reason
		}
		shown := Stage{
			Name: sv.Name, Kind: string(sv.Kind), Status: string(sv.Status), Says: firstLine(says), Place: sv.Environment,
			Previous: sv.Previous, Now: sv.Now,
		}
		if !sv.Standby.IsZero() && sv.Status == pipeline.StageRunning {
			shown.Standby = sv.Standby.UnixMilli()
		}
		for _, c := range sv.Checks {
			shown.Saw = cmp.Or(shown.Saw, c.Saw)
		}
		d.Stages = append(d.Stages, shown)
	}
	for _, by := range v.Decisions {
		d.Decided = append(d.Decided, fmt.Sprintf("%s: %s %s", by.By.Label(), by.What, by.Stage))
	}
	return d
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSuffix(line, ":")
}

func (s *stage) slack() SlackState {
	snapshot := s.world.Slack.Snapshot()
	st := SlackState{Channel: world.Channel, Users: snapshot.Users, Ephemerals: snapshot.Ephemerals, Views: snapshot.Views}
	for _, c := range snapshot.Channels {
		if c.ID == s.world.ChannelID {
			st.Messages = c.Messages
		}
	}
	return st
}

func (s *stage) places() []Place {
	running := map[string]kubesim.NamespaceView{}
	for _, ns := range s.world.Cluster.Snapshot().Namespaces {
		running[ns.Name] = ns
	}
	var all []Place
	for _, e := range environments {
		p := Place{Environment: e.name, Namespace: e.namespace, Workloads: withoutDigests(running[e.namespace].Workloads)}
		for _, service := range running[e.namespace].Services {
			if service.Name == "shop" {
				p.Traffic = service.Pods
			}
		}
		all = append(all, p)
	}
	return all
}

// withoutDigests shows images by their tags: what a canary has tested is deployed with its digest as well.
func withoutDigests(all []kubesim.WorkloadView) []kubesim.WorkloadView {
	bare := func(images []string) {
		for i := range images {
			images[i], _, _ = strings.Cut(images[i], "@")
		}
	}
	for _, wl := range all { // the snapshot is ours alone
		bare(wl.Images)
		for _, pod := range wl.Pods {
			bare(pod.Images)
		}
	}
	return all
}

func (s *stage) mergeRequests() []MergeRequest {
	names := map[int64]string{}
	for _, u := range s.world.GitLab.Snapshot().Users {
		names[u.ID] = u.Username
	}
	project := s.world.ProjectNow()
	var all []MergeRequest
	for _, mr := range project.MergeRequests {
		m := MergeRequest{
			IID: mr.IID, Kind: s.kind(mr.IID), Title: mr.Title, State: mr.State, Author: names[mr.AuthorID], SHA: mr.MergedSHA,
			Notes: s.notes(mr.Notes, names), Blocked: mr.State == "opened" && s.isBlocked(mr.IID),
		}
		if m.SHA != "" {
			m.at(project)
		}
		all = append(all, m)
	}
	slices.Reverse(all)
	return all
}

// at fills in what GitLab shows of the merge commit.
func (m *MergeRequest) at(project gitlabsim.ProjectSnapshot) {
	for _, ci := range project.Pipelines {
		if ci.SHA != m.SHA {
			continue
		}
		for _, j := range ci.Jobs {
			if !j.Retried {
				m.Jobs = append(m.Jobs, Status{Name: j.Name, Status: j.Status, Manual: j.Manual})
			}
		}
	}
	for _, st := range project.Statuses {
		if st.SHA == m.SHA && !st.Retried {
			m.Stages = append(m.Stages, Status{Name: st.Name, Status: st.Status, Description: st.Description})
		}
	}
	for _, d := range project.Deployments {
		if d.SHA == m.SHA {
			m.Deployments = append(m.Deployments, Deployment{ID: d.ID, Environment: d.Environment, Status: d.Status})
		}
	}
}

func (s *stage) notes(all []*gitlabsim.Note, names map[int64]string) []Note {
	var shown []Note
	for _, n := range all {
		if n.System {
			continue
		}
		note := Note{ID: n.ID, Author: names[n.AuthorID], HTML: s.markdown.render(n.Body), Reply: n.Reply, At: n.CreatedAt}
		for _, e := range n.Emoji {
			note.Emoji = append(note.Emoji, emoji(e.Name))
		}
		shown = append(shown, note)
	}
	return shown
}
