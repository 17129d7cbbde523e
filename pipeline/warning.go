package pipeline

// Warning says that people could not be told somewhere, or that something is left over in a cluster.
type Warning struct {
	Effect string `json:"effect"`
	Detail string `json:"detail"`
}

// Words say what was not done, and why not.
func (w Warning) Words() string {
	switch w.Effect {
	case WriteNote{}.ActionKind():
		return "The merge request note could not be written: " + w.Detail
	case WriteMessage{}.ActionKind():
		return "The Slack message could not be written: " + w.Detail
	case WriteStatus{}.ActionKind():
		return "A commit status could not be written: " + w.Detail
	case WriteDeployment{}.ActionKind():
		return "A GitLab deployment could not be written: " + w.Detail
	case StopEnvironment{}.ActionKind():
		return "GitLab's environment could not be stopped: " + w.Detail
	case DrawChart{}.ActionKind():
		return "The canary's chart could not be drawn: " + w.Detail
	case WatchPair{}.ActionKind():
		return "The pods of the canary are not watched between the looks: " + w.Detail
	case Retire{}.ActionKind():
		return "What the release before left could not be removed: " + w.Detail
	}
	return w.Detail
}
