package pipeline

import "time"

// StartedJob is a Kubernetes Job that was made, and that the cluster tells from another one of its name by the UID.
type StartedJob struct {
	Name string    `json:"name"`
	UID  string    `json:"uid"`
	At   time.Time `json:"at"`
}

// Ran is how a Kubernetes Job ended.
type Ran struct {
	Job      string `json:"job"` // its name in the cluster
	ExitCode int32  `json:"exit_code"`
	Log      string `json:"log,omitempty"` // blob: the last lines, redacted; "" if there are none
}

// JobHandle is the GitLab job that a stage plays.
type JobHandle struct {
	ID     int64  `json:"id,omitempty"`
	Status string `json:"status,omitempty"`
	URL    string `json:"url,omitempty"`
}
