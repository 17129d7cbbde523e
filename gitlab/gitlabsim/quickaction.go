package gitlabsim

import "strings"

// isQuickAction knows the commands that GitLab 19 takes out of a comment on a merge request.
func isQuickAction(name string) bool {
	switch name {
	case "approve", "unapprove", "merge", "rebase", "draft", "ready", "wip", "ship", "run_pipeline",
		"assign", "unassign", "reassign", "assign_reviewer", "reviewer", "request_review", "unassign_reviewer",
		"remove_reviewer", "reassign_reviewer", "request_changes", "submit_review",
		"label", "labels", "unlabel", "remove_label", "relabel", "milestone", "remove_milestone",
		"close", "reopen", "title", "todo", "done", "subscribe", "unsubscribe", "target_branch", "lock", "unlock",
		"estimate", "time_estimate", "remove_estimate", "spend", "spent", "spend_time", "remove_time_spent",
		"react", "award", "copy_metadata", "copy_metadata_from", "cc":
		return true
	}
	return false
}

// stripQuickActions returns the comment without its command lines, and the commands. Code blocks are left alone.
func stripQuickActions(body string) (rest string, commands []string) {
	var kept []string
	fenced := false
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if word, ok := strings.CutPrefix(line, "/"); ok && !fenced {
			name, _, _ := strings.Cut(strings.TrimRight(word, "\r "), " ")
			if isQuickAction(strings.ToLower(name)) {
				commands = append(commands, strings.ToLower(name))
				continue
			}
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n"), commands
}
