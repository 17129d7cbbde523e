package webhook

// Kind is what a hook is about. The set is closed, so that a kind can label a metric.
type Kind string

// The kinds that [Parse] tells apart; KindOther is every one that isn't listed.
const (
	KindMergeRequest Kind = "merge_request"
	KindPipeline     Kind = "pipeline"
	KindJob          Kind = "build"
	KindNote         Kind = "note"
	KindDeployment   Kind = "deployment"
	KindEmoji        Kind = "emoji"
	KindPush         Kind = "push"
	KindTagPush      Kind = "tag_push"
	KindIssue        Kind = "issue"
	KindRelease      Kind = "release"
	KindMember       Kind = "member"
	KindProject      Kind = "project"
	KindOther        Kind = "other"
)

// Hook is one of [MergeRequest], [Pipeline], [Job], [Note], [Deployment] and [Ignored].
type Hook interface {
	Kind() Kind
	sealed()
}

// Project is the GitLab project that a hook comes from. ID is always set.
type Project struct {
	ID            int64
	Path          string // with namespace, e.g. "shop/backend"
	WebURL        string
	DefaultBranch string
}

// User is somebody who did something. ID is zero where GitLab left it out (before 13).
type User struct {
	ID       int64
	Username string
	Name     string
}

// MergeSource says which field of the hook the merge commit was taken from.
type MergeSource string

// The fields in the order in which they are asked.
const (
	FromMergeCommit  MergeSource = "merge_commit_sha"
	FromSquashCommit MergeSource = "squash_commit_sha"
	FromLastCommit   MergeSource = "last_commit.id"
)

// MergeRequest is a merge request that changed. Action and IID are always set; with [ActionMerge] MergeSHA and
// TargetBranch are too. Title is text that people wrote.
type MergeRequest struct {
	Project      Project
	Action       string // open, update, approved, merge, close, …
	IID          int64
	State        string // opened, closed, locked, merged
	Title        string
	URL          string
	SourceBranch string
	TargetBranch string
	// MergeSHA is the commit on the target branch after a merge, and empty for every other action. Where MergeSource
	// is not FromMergeCommit it is an inference: confirm it at the API before acting on it.
	MergeSHA    string
	MergeSource MergeSource
	HeadSHA     string // last commit of the source branch
	OldRev      string // the one before, if this hook tells of new commits
	// SourceProject is the project of the source branch, 0 where GitLab left it out.
	SourceProject int64
	UpdatedAt     string // as GitLab writes it: the same in all hooks of one change
	AuthorID      int64
	User          User // who did this, e.g. who merged
	System        bool // GitLab did it, not a person
}

// Actions of a [MergeRequest].
const (
	ActionOpen   = "open"
	ActionReopen = "reopen"
	ActionUpdate = "update"
	ActionClose  = "close"
	ActionMerge  = "merge" // it has just been merged
)

// Pipeline is a CI pipeline that changed its status. ID, SHA, Ref and Status are always set.
type Pipeline struct {
	Project         Project
	ID              int64
	SHA             string
	Ref             string
	Tag             bool
	Source          string // push, merge_request_event, …
	Status          string // created, pending, running, success, failed, canceled, skipped, manual, …
	MergeRequestIID int64  // zero where it belongs to none
	User            User
}

// Job is a CI job that changed its status. ID, Name, Status and PipelineID are always set.
type Job struct {
	Project       Project // Path and WebURL may be empty: older servers send the id only
	ID            int64
	Name          string
	Stage         string
	Status        string // created, pending, running, success, failed, canceled, skipped, manual, …
	FailureReason string
	AllowFailure  bool
	PipelineID    int64
	SHA           string
	Ref           string
	Environment   string
	User          User
}

// Note is a new comment on a merge request. ID, MergeRequestIID and AuthorID are always set.
// Body is text that people wrote.
type Note struct {
	Project         Project
	ID              int64
	DiscussionID    string // the thread; empty on servers that don't send it
	Body            string // at most [MaxNoteBytes]
	BodyCut         bool   // Body is the beginning of a longer one
	AuthorID        int64
	Author          User // who commented; the same person as AuthorID
	System          bool // written by GitLab, e.g. "approved this merge request"
	Internal        bool // visible to members only
	URL             string
	MergeRequestIID int64
}

// Deployment is a GitLab deployment that changed its status. ID, Status and Environment are always set.
type Deployment struct {
	Project         Project
	ID              int64
	Status          string // running, success, failed, canceled, blocked, approved, rejected, …
	Environment     string
	Tier            string
	ShortSHA        string // all that GitLab sends; the API has the whole
	Ref             string
	JobID           int64 // the CI job that owns it; zero for one made through the API
	User            User  // who triggered it
	Approver        User  // set for approved and rejected
	ApprovalComment string
}

// Ignored is a genuine hook that Slipway does nothing with. Reason is a sentence for a log line and holds no
// text from the hook.
type Ignored struct {
	Of     Kind
	Reason string
}

// Kind is [KindMergeRequest].
func (MergeRequest) Kind() Kind { return KindMergeRequest }

// Kind is [KindPipeline].
func (Pipeline) Kind() Kind { return KindPipeline }

// Kind is [KindJob].
func (Job) Kind() Kind { return KindJob }

// Kind is [KindNote].
func (Note) Kind() Kind { return KindNote }

// Kind is [KindDeployment].
func (Deployment) Kind() Kind { return KindDeployment }

// Kind is what the hook was about.
func (i Ignored) Kind() Kind { return i.Of }

func (MergeRequest) sealed() {}
func (Pipeline) sealed()     {}
func (Job) sealed()          {}
func (Note) sealed()         {}
func (Deployment) sealed()   {}
func (Ignored) sealed()      {}
