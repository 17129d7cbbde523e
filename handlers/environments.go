package handlers

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// Environments tells what runs where.
type Environments interface {
	// List is all environments that anything was delivered to, and those that the operator has configured.
	List(ctx context.Context) (EnvironmentList, error)
	// Environment is one of them; an unknown one is a NotFound.
	Environment(ctx context.Context, project int64, name string) (Environment, error)
	// Log is the end of a container's log, its first one's if container is "". Secrets are redacted.
	Log(ctx context.Context, project int64, name, pod, container string) (PodLog, error)
}

// EnvironmentList is the answer of GET /api/environments. docs/api.md tells of every field.
type EnvironmentList struct {
	Environments []EnvironmentSummary    `json:"environments"`
	Configured   []ConfiguredEnvironment `json:"configured"`
	More         bool                    `json:"more,omitempty"` // there are more than are listed
}

// ConfiguredEnvironment is what the operator's file says.
type ConfiguredEnvironment struct {
	Name      string   `json:"name"`
	Projects  []string `json:"projects"`
	Cluster   string   `json:"cluster"`
	Namespace string   `json:"namespace"`
	Tier      string   `json:"tier"`
	URL       string   `json:"url,omitempty"`
	Judged    bool     `json:"judged"`
	Drift     string   `json:"drift"`
}

// EnvironmentSummary is one environment of one project, as the store has it.
type EnvironmentSummary struct {
	Project     ProjectRef `json:"project"`
	Name        string     `json:"name"`
	Application string     `json:"application"`
	Cluster     string     `json:"cluster,omitempty"`
	Namespace   string     `json:"namespace,omitempty"`
	Tier        string     `json:"tier,omitempty"`
	URL         string     `json:"url,omitempty"`
	Release     *Release   `json:"release"` // null if none is known, or if it is unsure
	Unsure      *Unsure    `json:"unsure"`  // null if it is known what runs
	Holder      *Claim     `json:"holder"`  // null if nothing is being delivered
	Queue       []Claim    `json:"queue"`
	Problem     string     `json:"problem,omitempty"` // why more is not known
}

// Unsure says why nobody knows what runs: a rollback has failed half-way.
type Unsure struct {
	Since    time.Time `json:"since"`
	Delivery string    `json:"delivery"`            // that was to be taken back
	By       string    `json:"by"`                  // whose rollback it was, for people
	LastGood *Release  `json:"last_good,omitempty"` // what a rollback goes to
}

// ProjectRef is a GitLab project.
type ProjectRef struct {
	ID   int64  `json:"id"`
	Path string `json:"path,omitempty"`
	URL  string `json:"url,omitempty"`
}

// Release is what was delivered.
type Release struct {
	ID       string    `json:"id"`
	Delivery string    `json:"delivery"`
	SHA      string    `json:"sha"`
	Ref      string    `json:"ref,omitempty"`
	Title    string    `json:"title,omitempty"`
	Images   []Image   `json:"images"`
	By       string    `json:"by,omitempty"`
	At       time.Time `json:"at"`
	Bad      bool      `json:"bad"` // it failed or was rolled back
}

// Image is a container image of a release.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
}

// Claim is a delivery that has an environment or waits for it.
type Claim struct {
	Delivery string    `json:"delivery"`
	Name     string    `json:"name"`
	Stage    string    `json:"stage"`
	Back     bool      `json:"back"` // it goes back to an earlier release
	Since    time.Time `json:"since"`
}

// Environment is the answer of GET /api/environments/{project}/{name}.
type Environment struct {
	EnvironmentSummary
	Tree     Tree      `json:"tree"`
	Drift    Drift     `json:"drift"`
	Releases []Release `json:"releases"` // newest first
}

// Tree is what is in the cluster.
type Tree struct {
	Health  string     `json:"health"`
	Words   string     `json:"words"`
	Links   []Link     `json:"links"`
	Objects []Resource `json:"objects"`
	Notes   []string   `json:"notes"`             // what may not be seen
	Trouble string     `json:"trouble,omitempty"` // why the tree may be old or not whole
	More    int        `json:"more,omitempty"`    // objects that were left out
}

// Link is an http or https address.
type Link struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Resource is one object of the cluster.
type Resource struct {
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	Health     string     `json:"health"`
	Words      string     `json:"words,omitempty"`
	Images     []string   `json:"images,omitempty"`
	Containers []string   `json:"containers,omitempty"`
	Version    string     `json:"version,omitempty"`
	Track      string     `json:"track,omitempty"`
	Release    string     `json:"release,omitempty"`
	Commit     string     `json:"commit,omitempty"`
	Restarts   int32      `json:"restarts,omitempty"`
	Created    time.Time  `json:"created,omitzero"`
	Events     []Event    `json:"events,omitempty"`
	Links      []Link     `json:"links,omitempty"`
	Drifted    bool       `json:"drifted,omitempty"`
	Children   []Resource `json:"children,omitempty"`
}

// Event is a warning that the cluster gave about an object.
type Event struct {
	Reason string    `json:"reason"`
	Words  string    `json:"words"`
	Count  int32     `json:"count"`
	At     time.Time `json:"at"`
}

// Drift is how the cluster differs from what the release recorded.
type Drift struct {
	Mode        string       `json:"mode"`               // show, correct or ignore
	Checked     time.Time    `json:"checked,omitzero"`   // zero if it was not compared
	Corrected   time.Time    `json:"corrected,omitzero"` // when Slipway last corrected something
	Problem     string       `json:"problem,omitempty"`  // why it was not compared
	Differences []Difference `json:"differences"`
}

// Difference is one field, or an object that is missing.
type Difference struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Missing  bool      `json:"missing,omitempty"`
	Field    string    `json:"field,omitempty"`
	Live     string    `json:"live"`
	Recorded string    `json:"recorded"`
	By       string    `json:"by,omitempty"`
	At       time.Time `json:"at,omitzero"`
	Trouble  string    `json:"trouble,omitempty"`
	Left     string    `json:"left,omitempty"` // why it is never corrected
}

// PodLog is the answer of GET /api/environments/{project}/{name}/pods/{pod}/log.
type PodLog struct {
	Pod       string   `json:"pod"`
	Container string   `json:"container"`
	Lines     []string `json:"lines"`
}

// NotFound is something that is not there (404).
func NotFound(reason string) error { return &Refusal{Status: http.StatusNotFound, Reason: reason} }

// apiTime bounds one answer: a cluster that is away makes nobody wait.
const apiTime = 20 * time.Second

func (s *server) api(r *gin.Engine) {
	looked := []string{http.MethodGet, http.MethodHead}
	r.Match(looked, "/api/environments", s.guarded, s.environments)
	r.Match(looked, "/api/environments/:project/*rest", s.guarded, s.environment)
}

// guarded lets only those through who may read the pages.
func (s *server) guarded(c *gin.Context) {
	c.Header("Cache-Control", "private, no-store")
	if s.o.Guard == nil {
		return
	}
	passed := false
	c.Status(http.StatusOK)
	s.o.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(c.Writer, c.Request)
	if !passed {
		c.Abort()
	}
}

func (s *server) environments(c *gin.Context) { answer(s, c, s.o.Environments.List) }

func (s *server) environment(c *gin.Context) {
	at, ok := environmentAt(c.Request.URL.EscapedPath())
	switch {
	case !ok:
		s.refuse(c, NotFound("there is no such environment; its address is /api/environments/{project's number}/{name}"))
	case at.pod != "":
		answer(s, c, func(ctx context.Context) (PodLog, error) {
			return s.o.Environments.Log(ctx, at.project, at.name, at.pod, c.Query("container"))
		})
	default:
		answer(s, c, func(ctx context.Context) (Environment, error) {
			return s.o.Environments.Environment(ctx, at.project, at.name)
		})
	}
}

func answer[T any](s *server, c *gin.Context, ask func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), apiTime)
	defer cancel()
	v, err := ask(ctx)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, v)
}

// address is what a path names.
type address struct {
	project int64
	name    string
	pod     string // of a log, "" for the environment itself
}

// environmentAt reads /api/environments/{project}/{name} and …/pods/{pod}/log. A name may hold slashes, as they are or
// as %2F.
func environmentAt(escaped string) (address, bool) {
	rest, ok := strings.CutPrefix(escaped, "/api/environments/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return address{}, false
	}
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil || p == "" || len(p) > 1024 {
			return address{}, false
		}
	}
	project, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || project <= 0 {
		return address{}, false
	}
	a, n := address{project: project}, len(parts)
	if n >= 5 && parts[n-3] == "pods" && parts[n-1] == "log" {
		a.pod, parts = parts[n-2], parts[:n-3]
	}
	a.name = strings.Join(parts[1:], "/")
	return a, true
}
