// Package world builds the small company that the demo and the end-to-end tests play
// in: a GitLab with one project and a few people, a Slack with one channel, and a
// cluster, all simulated at the wire, and the configuration that lets Slipway work
// for them.
package world

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/metricsim"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

//go:embed shop
var shop embed.FS

// Names in the company. Tokens are the simulators', so nothing here is a secret.
const (
	ProjectPath    = "shop/web"
	Channel        = "shop-deploys"
	PipelineFile   = ".slipway.yml"
	GitLabToken    = "glpat-world-slipway"                                //nolint:gosec // of a simulator
	SigningToken   = "whsec_d29ybGQtc2lnbmluZy10b2tlbi0wMTIzNDU2Nzg5YWI=" //nolint:gosec // of a simulator
	SlackToken     = "xoxb-world"
	SlackSecret    = "world-slack-secret" //nolint:gosec // of a simulator
	SlackAda       = "U0ADA"
	SlackBen       = "U0BEN"
	SlackMallory   = "U0MALLORY"
	crashContainer = `        - name: sessions
          image: registry.example.com/sessions:2.0-crash
`
)

// Options for New.
type Options struct {
	Dir string // for the kubeconfig, the configuration and the database; required
	// Kubeconfig of a real cluster, with the namespaces in Staging and Production; ""
	// starts a simulated one.
	Kubeconfig          string
	Staging, Production string        // namespaces; "shop-staging" and "shop"
	Review              string        // namespace of the review environments; "" for none
	PodStart            time.Duration // of the simulated cluster; 0 is a second
	JobTime             time.Duration // of each CI job; 0 is a second
	Standby             time.Duration // of production; 0 is a second
	Canary              time.Duration // how long production's canary is judged; 0 is none
	// A simulated cluster is looked at by itself. For a real one Serving tells the images of the pods that production's
	// traffic goes to, and, if there is a canary, Tracks what is available beside them, and Changed when to ask again.
	Serving func() []string
	Tracks  func() []Track
	Changed func() (changed <-chan struct{}, stop func())
}

// World is the company.
type World struct {
	GitLab  *gitlabsim.GitLab
	Slack   *slacksim.Sim
	Cluster *kubesim.Sim   // nil with a real one
	Metrics *metricsim.Sim // nil without a canary
	// Project, Ada (a maintainer), Ben (a developer, who writes the changes), Mallory (a
	// reporter) and Bot are GitLab's numbers.
	Project, Ada, Ben, Mallory, Bot int64
	ChannelID                       string
	ShopURL                         string // of the shop that customers see

	o    Options
	shop *http.Server
}

// New builds the company and starts it on the loopback. Close it.
func New(o Options) (*World, error) {
	if o.Dir == "" {
		return nil, errors.New("new world: a folder is required")
	}
	if o.Canary > 0 && o.Kubeconfig != "" && (o.Tracks == nil || o.Changed == nil) {
		return nil, errors.New("new world: to measure a canary in a real cluster, its tracks have to be told")
	}
	if o.Staging == "" {
		o.Staging, o.Production = "shop-staging", "shop"
	}
	w := &World{o: o}
	for _, build := range []func() error{w.startShop, w.buildGitLab, w.buildSlack, w.buildCluster, w.startMetrics} {
		if err := build(); err != nil {
			w.Close()
			return nil, fmt.Errorf("new world: %w", err)
		}
	}
	return w, nil
}

// Close stops what New started.
func (w *World) Close() {
	if w.shop != nil {
		_ = w.shop.Close() // nothing of it is to be kept
	}
	if w.Metrics != nil {
		w.Metrics.Close()
	}
	if w.Cluster != nil {
		_ = w.Cluster.Close() // a simulator on its way out has nothing to lose
	}
	if w.Slack != nil {
		_ = w.Slack.Close()
	}
	if w.GitLab != nil {
		w.GitLab.Close()
	}
}

func (w *World) buildGitLab() error {
	var err error
	if w.GitLab, err = gitlabsim.New(gitlabsim.Options{}); err != nil {
		return err
	}
	g := w.GitLab
	if err := g.Start("127.0.0.1:0"); err != nil {
		return err
	}
	for _, u := range []struct {
		id             *int64
		username, name string
		bot            bool
	}{
		{&w.Ada, "ada", "Ada Lindqvist", false}, {&w.Ben, "ben", "Ben Okafor", false},
		{&w.Mallory, "mallory", "Mallory Weiss", false}, {&w.Bot, "slipway", "Slipway", true},
	} {
		added, err := g.AddUser(gitlabsim.User{Username: u.username, Name: u.name, Email: u.username + "@example.com", Bot: u.bot})
		if err != nil {
			return err
		}
		*u.id = added.ID
	}
	project, err := g.AddProject(gitlabsim.Project{Path: ProjectPath, Description: "The web shop"})
	if err != nil {
		return err
	}
	w.Project = project.ID
	if _, err := g.AddGroup("shop/maintainers"); err != nil {
		return err
	}
	files, err := w.Files()
	if err != nil {
		return err
	}
	_, err = g.Commit(gitlabsim.CommitOptions{ProjectID: w.Project, Branch: "main", Files: files, Message: "Set the shop up", AuthorID: w.Ada})
	return errors.Join(err,
		g.AddGroupMember("shop/maintainers", w.Ada, 40),
		g.AddGroupMember("shop/maintainers", w.Bot, 20), // so that it can see who is in the group
		g.AddMember(w.Project, w.Ada, 40), g.AddMember(w.Project, w.Ben, 30),
		g.AddMember(w.Project, w.Mallory, 20), g.AddMember(w.Project, w.Bot, 40),
		g.AddToken(GitLabToken, w.Bot, gitlabsim.PersonalToken, "api"),
		g.SetCI(w.Project, gitlabsim.CI{Auto: true, JobTime: orElse(w.o.JobTime, time.Second), Jobs: []gitlabsim.JobSpec{
			{Name: "build", Stage: "build"}, {Name: "unit-test", Stage: "test"}, {Name: "smoke-test", Stage: "deploy", Manual: true},
		}}),
	)
}

func (w *World) buildSlack() error {
	var err error
	if w.Slack, err = slacksim.New(slacksim.Options{Token: SlackToken, SigningSecret: SlackSecret}); err != nil {
		return err
	}
	for _, u := range []slacksim.User{
		{ID: SlackAda, Name: "ada", RealName: "Ada Lindqvist", Email: "ada@example.com", EmailConfirmed: true},
		{ID: SlackBen, Name: "ben", RealName: "Ben Okafor", Email: "ben@example.com", EmailConfirmed: true},
		{ID: SlackMallory, Name: "mallory", RealName: "Mallory Weiss", Email: "mallory@example.com", EmailConfirmed: true},
	} {
		if _, err := w.Slack.AddUser(u); err != nil {
			return err
		}
	}
	c, err := w.Slack.AddChannel(slacksim.Channel{Name: Channel, BotMember: true})
	if err != nil {
		return err
	}
	w.ChannelID = c.ID
	return w.Slack.Start("127.0.0.1:0")
}

func (w *World) buildCluster() error {
	if w.o.Kubeconfig != "" {
		return nil
	}
	var err error
	w.Cluster, err = kubesim.New(kubesim.Options{
		PodStartTime: w.o.PodStart, Speed: 4, Namespaces: slices.DeleteFunc([]string{w.o.Staging, w.o.Production, w.o.Review}, func(name string) bool { return name == "" }),
	})
	if err != nil {
		return err
	}
	if err := w.Cluster.Start("127.0.0.1:0"); err != nil {
		return err
	}
	w.o.Kubeconfig = filepath.Join(w.o.Dir, "kubeconfig")
	return os.WriteFile(w.o.Kubeconfig, w.Cluster.Kubeconfig(), 0o600)
}

// Connect registers Slipway's address where GitLab and Slack call it.
func (w *World) Connect(url string) error {
	if _, err := w.GitLab.AddHook(w.Project, gitlabsim.Hook{URL: url + "/hooks/gitlab", SigningToken: SigningToken}); err != nil {
		return err
	}
	return errors.Join(w.Slack.SetInteractivityURL(url+"/slack/interactions"), w.Slack.SetCommandURL(url+"/slack/commands"))
}

// Config is the operator's file for a Slipway at the address, as YAML.
func (w *World) Config(listen string) ([]byte, error) {
	type m = map[string]any
	environments := []m{
		{"name": "staging", "projects": []string{"shop/*"}, "cluster": "main", "namespace": w.o.Staging, "tier": "staging", "url": "https://staging.shop.example.com"},
		{"name": "production", "projects": []string{"shop/*"}, "cluster": "main", "namespace": w.o.Production, "tier": "production", "url": w.ShopURL, "judged": true},
	}
	if w.o.Review != "" {
		environments = append(environments, m{
			"name": "review/*", "projects": []string{"shop/*"}, "cluster": "main", "namespace": w.o.Review, "tier": "development", "review": true,
			"url": "https://{slug}.review.shop.example.com", "hosts": []string{"*.review.shop.example.com"},
		})
	}
	file := m{
		"listen": listen, "url": "http://" + listen, "database": filepath.Join(w.o.Dir, "slipway.db"),
		"log": m{"format": "text"}, "console": m{"access": "open"},
		"gitlab": m{"url": w.GitLab.URL(), "token": GitLabToken, "signing_tokens": []string{SigningToken}},
		"slack": m{
			"token": SlackToken, "signing_secret": SlackSecret, "api_url": w.Slack.URL(),
			"people": m{SlackAda: "ada", SlackBen: "ben", SlackMallory: "mallory"},
		},
		"clusters":     []m{{"name": "main", "kubeconfig": w.o.Kubeconfig}},
		"environments": environments,
		"checks":       m{"hosts": []string{strings.TrimPrefix(w.ShopURL, "http://")}},
	}
	if w.Metrics != nil {
		file["metrics_sources"] = []m{{"name": "prometheus", "per_second": 100, "prometheus": m{"url": w.Metrics.URL()}}}
	}
	return yaml.Marshal(file)
}

// WriteConfig writes Config to a file in the world's folder and returns its path.
func (w *World) WriteConfig(listen string) (string, error) {
	data, err := w.Config(listen)
	if err != nil {
		return "", err
	}
	file := filepath.Join(w.o.Dir, "slipway.yml")
	return file, os.WriteFile(file, data, 0o600)
}

// Files are the files of the project, by path.
func (w *World) Files() (map[string]string, error) {
	standby := orElse(w.o.Standby, time.Second)
	proven := (standby / 10).Truncate(time.Second) // long before the standby ends, so that people can end it
	written := strings.NewReplacer(shopAddress, w.ShopURL, shopStandby, "standby: "+standby.String(), shopProven, "for: "+proven.String())
	files := map[string]string{}
	err := fs.WalkDir(shop, "shop", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, "shop/")
		if name == "canary.yml" { // a part of the pipeline file
			return nil
		}
		if name == "slipway.yml" {
			name = PipelineFile
		}
		data, err := shop.ReadFile(path)
		files[name] = written.Replace(string(data))
		return err
	})
	if err == nil && w.o.Canary > 0 {
		files[PipelineFile], err = w.withCanary(files[PipelineFile])
	}
	return files, err
}

// Change is a merge request of Ben's that changes files.
func (w *World) Change(title, description, branch string, files map[string]string) (int64, error) {
	return w.GitLab.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: w.Project, Title: title, Description: description, SourceBranch: branch, Files: files, AuthorID: w.Ben,
	})
}

// Good is a change that works: another greeting. It also mends what Bad broke, should
// that have been merged before.
func (w *World) Good(title, branch string) (int64, error) {
	files, err := w.Files()
	if err != nil {
		return 0, err
	}
	config, deployment := "deploy/base/config.yaml", "deploy/base/deployment.yaml"
	return w.Change(title, "", branch, map[string]string{
		config:     strings.Replace(files[config], "Welcome to the shop", title, 1),
		deployment: "# " + title + "\n" + files[deployment],
	})
}

// Bad is a change whose new container crashes as soon as it starts.
func (w *World) Bad(title, branch string) (int64, error) {
	files, err := w.Files()
	if err != nil {
		return 0, err
	}
	deployment := "deploy/base/deployment.yaml"
	return w.Change(title, "", branch, map[string]string{deployment: files[deployment] + crashContainer})
}

// Edited returns one of the project's files with a piece replaced.
func (w *World) Edited(path, old, with string) (map[string]string, error) {
	files, err := w.Files()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(files[path], old) {
		return nil, fmt.Errorf("edit %s: it does not contain %q", path, old)
	}
	return map[string]string{path: strings.Replace(files[path], old, with, 1)}, nil
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
