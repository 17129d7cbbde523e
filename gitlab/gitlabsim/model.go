package gitlabsim

import "time"

// The roles of a member, as GitLab numbers them.
const (
	NoAccess   = 0
	Guest      = 10
	Reporter   = 20
	Developer  = 30
	Maintainer = 40
	Owner      = 50
)

// User is a person or a bot.
type User struct {
	ID           int64 // chosen by the simulator where it is zero
	Username     string
	Name         string
	Email        string
	Unconfirmed  bool   // the e-mail address was never confirmed
	PrivateEmail bool   // not shown in the profile: only administrators find the user by it
	State        string // active (the default), blocked, deactivated
	Admin        bool
	Bot          bool
}

// Group is a namespace with members.
type Group struct {
	ID   int64
	Path string
}

// Project is a repository with what belongs to it.
type Project struct {
	ID            int64  // chosen by the simulator where it is zero
	Path          string // with namespace, "shop/backend"
	Name          string // the last part of Path where it is empty
	Description   string
	DefaultBranch string // "main" where it is empty
}

// Commit is one commit of a project.
type Commit struct {
	SHA      string
	Parents  []string
	Message  string
	AuthorID int64
	At       time.Time
}

// MergeRequest is one merge request.
type MergeRequest struct {
	ID              int64
	IID             int64
	Title           string
	Description     string
	State           string // opened, merged, closed
	SourceBranch    string
	TargetBranch    string
	AuthorID        int64
	HeadSHA         string
	MergeCommitSHA  string
	SquashCommitSHA string
	MergedSHA       string // the commit on the target branch after the merge, whatever its kind
	MergeUserID     int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
	MergedAt        time.Time
	ClosedAt        time.Time
	SourceProjectID int64 // of a fork; zero where the source branch is the project's own
	Notes           []*Note

	commits []string
}

// Note is one comment on a merge request.
type Note struct {
	ID           int64
	DiscussionID string
	Reply        bool // a later comment of its thread
	Body         string
	AuthorID     int64
	System       bool
	Internal     bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Emoji        []Emoji
}

// Emoji is one reaction to a note.
type Emoji struct {
	ID     int64
	Name   string
	UserID int64
	At     time.Time
}

// Pipeline is a CI pipeline.
type Pipeline struct {
	ID         int64
	IID        int64
	SHA        string
	Ref        string
	Source     string // push, external, web, api
	Status     string
	UserID     int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	Jobs       []*Job
	Variables  []Variable // that it was started with
}

// Variable is one that a CI pipeline was started with.
type Variable struct {
	Key   string
	Value string
	File  bool // its jobs get a file that holds the value
}

// Job is a CI job; a retried one stays with Retried set.
type Job struct {
	ID           int64
	PipelineID   int64
	Name         string
	Stage        string
	Status       string
	Manual       bool
	AllowFailure bool
	Environment  string
	Retried      bool
	UserID       int64
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time

	spec JobSpec
	stop func() bool
}

// Status is an external commit status, one row of the CI pipeline's "external" stage.
type Status struct {
	ID          int64
	PipelineID  int64
	SHA         string
	Ref         string
	Name        string
	Status      string
	Description string
	TargetURL   string
	UserID      int64
	Retried     bool // a newer row of the same name took its place
	CreatedAt   time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
}

// Deployment is one deployment of an environment.
type Deployment struct {
	ID          int64
	IID         int64
	Environment string
	SHA         string
	Ref         string
	Tag         bool
	Status      string
	UserID      int64
	JobID       int64 // the CI job that owns it, zero for one made through the API
	CreatedAt   time.Time
	UpdatedAt   time.Time
	FinishedAt  time.Time
	Approvals   []Approval
}

// Approval is one person's answer to a deployment into a protected environment.
type Approval struct {
	UserID    int64
	Status    string // approved, rejected
	Comment   string
	CreatedAt time.Time
}

// Environment is a place that deployments go to.
type Environment struct {
	ID                  int64
	Name                string
	Slug                string
	Tier                string
	State               string // available, stopped
	ExternalURL         string
	Description         string
	KubernetesNamespace string
	ClusterAgentID      int64
	FluxResourcePath    string
	AutoStopSetting     string
	CreatedAt           time.Time
	UpdatedAt           time.Time
}

// FreezePeriod is a time in which nothing is to be deployed, as two cron expressions.
type FreezePeriod struct {
	ID        int64
	Start     string
	End       string
	Timezone  string
	CreatedAt time.Time
}

// Upload is a file that was uploaded to a project for use in comments.
type Upload struct {
	ID       int64
	Secret   string
	Filename string
	Data     []byte
}

type commit struct {
	Commit
	files map[string]string
}

type group struct {
	Group
	members map[int64]int
	hooks   []*Hook
}

type project struct {
	Project
	createdAt    time.Time
	members      map[int64]int
	branches     map[string]string
	commits      map[string]*commit
	order        []string // commits as they were made
	mrs          []*MergeRequest
	pipelines    []*Pipeline
	statuses     []*Status
	deployments  []*Deployment
	environments []*Environment
	hooks        []*Hook
	freezes      []FreezePeriod
	uploads      []Upload
	ci           CI
}

func (p *project) mergeRequest(iid int64) *MergeRequest {
	for _, mr := range p.mrs {
		if mr.IID == iid {
			return mr
		}
	}
	return nil
}

func (p *project) pipeline(id int64) *Pipeline {
	for _, pl := range p.pipelines {
		if pl.ID == id {
			return pl
		}
	}
	return nil
}

func (p *project) job(id int64) (*Pipeline, *Job) {
	for _, pl := range p.pipelines {
		for _, j := range pl.Jobs {
			if j.ID == id {
				return pl, j
			}
		}
	}
	return nil, nil
}

func (p *project) environment(name string) *Environment {
	for _, e := range p.environments {
		if e.Name == name {
			return e
		}
	}
	return nil
}

func (mr *MergeRequest) note(id int64) *Note {
	for _, n := range mr.Notes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

func (mr *MergeRequest) thread(discussion string) []*Note {
	var notes []*Note
	for _, n := range mr.Notes {
		if n.DiscussionID == discussion {
			notes = append(notes, n)
		}
	}
	return notes
}
