package web

import (
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// look is how a status is shown: always a colour, a glyph and a word together.
type look struct {
	Tone  string // names a colour in the style sheet
	Glyph string // names a symbol in the layout
	Word  string
}

func deliveryLook(v pipeline.View) look {
	switch v.Status {
	case pipeline.StatusLoading:
		return look{"wait", "clock", "Reading the pipeline file"}
	case pipeline.StatusWaiting:
		return look{"wait", "clock", "Waiting"}
	case pipeline.StatusRunning:
		if len(v.Questions) > 0 {
			return look{"ask", "ask", "Waiting for people"}
		}
		return look{"run", "run", "Under way"}
	case pipeline.StatusSucceeded:
		switch {
		case v.TearDownOf != "":
			return look{"off", "check", "Removed"}
		case v.Review:
			return look{"ok", "check", "Ready for review"}
		}
		return look{"ok", "check", "Delivered"}
	case pipeline.StatusFailed:
		return look{"bad", "cross", "Failed"}
	case pipeline.StatusRolledBack:
		return look{"back", "back", "Rolled back"}
	case pipeline.StatusRejected:
		return look{"bad", "ban", "Rejected"}
	case pipeline.StatusCanceled:
		return look{"off", "stop", "Canceled"}
	case pipeline.StatusSuperseded:
		return look{"off", "skip", "Superseded"}
	case pipeline.StatusInvalid:
		return look{"bad", "file", "Not started"}
	case pipeline.StatusNone:
		return look{"off", "minus", "No delivery"}
	}
	return look{"off", "minus", line(string(v.Status), maxLabel)}
}

func stageLook(s pipeline.StageView) look {
	switch s.Status {
	case pipeline.StagePending:
		return look{"idle", "dot", "Pending"}
	case pipeline.StageQueued:
		return look{"wait", "clock", "Queued"}
	case pipeline.StageRunning:
		switch {
		case unchecked(s):
			return look{"run", "run", "Checking"}
		case !s.Standby.IsZero():
			return look{"run", "clock", "On standby"}
		}
		return look{"run", "run", "Running"}
	case pipeline.StageAsking:
		return look{"ask", "ask", "Asking"}
	case pipeline.StageRollingBack:
		return look{"back", "run", "Rolling back"}
	case pipeline.StageSucceeded:
		if s.Kind == pipeline.KindJudgement {
			return look{"ok", "check", "Approved"}
		}
		return look{"ok", "check", "Succeeded"}
	case pipeline.StageFailed:
		return look{"bad", "cross", "Failed"}
	case pipeline.StageRolledBack:
		return look{"back", "back", "Rolled back"}
	case pipeline.StageRejected:
		return look{"bad", "ban", "Rejected"}
	case pipeline.StageExpired:
		return look{"bad", "clock", "Expired"}
	case pipeline.StageCanceled:
		return look{"off", "stop", "Canceled"}
	case pipeline.StageSkipped:
		return look{"off", "minus", "Skipped"}
	case pipeline.StageSuperseded:
		return look{"off", "skip", "Superseded"}
	}
	return look{"off", "minus", line(s.Word, maxLabel)}
}

// checkLook is how a check stands.
func checkLook(c pipeline.CheckView) look {
	words := capital(line(c.Word, maxLabel))
	switch c.Word {
	case "passed":
		return look{"ok", "check", words}
	case "failed":
		return look{"bad", "cross", words}
	case "stopped":
		return look{"off", "stop", words}
	}
	return look{"run", "run", words}
}

// decisionLook is how a decision is shown; back tells that it was about a rollback.
func decisionLook(v pipeline.Verb, back bool) look {
	switch {
	case back && v == pipeline.VerbApprove:
		return look{"back", "back", "Rolled back"}
	case back:
		return look{"off", "ban", "Left as it is"}
	}
	switch v {
	case pipeline.VerbApprove:
		return look{"ok", "check", "Approved"}
	case pipeline.VerbReject:
		return look{"bad", "ban", "Rejected"}
	case pipeline.VerbCancel:
		return look{"off", "stop", "Canceled"}
	case pipeline.VerbRetry:
		return look{"run", "again", "Retried"}
	case pipeline.VerbRollback:
		return look{"back", "back", "Rolled back"}
	case pipeline.VerbPromote:
		return look{"ok", "skip", "Promoted"}
	case pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown:
	}
	return look{"off", "minus", line(string(v), maxLabel)}
}

func kindWord(k pipeline.StageKind) string {
	switch k {
	case pipeline.KindDeploy:
		return "Deploy"
	case pipeline.KindCanary:
		return "Canary"
	case pipeline.KindJudgement:
		return "Question to people"
	case pipeline.KindWait:
		return "Wait"
	case pipeline.KindJob:
		return "CI job"
	case pipeline.KindValidate:
		return "Checks"
	case pipeline.KindRun:
		return "Kubernetes Job"
	case pipeline.KindTrigger:
		return "CI pipeline"
	case pipeline.KindNotify:
		return "Message"
	case pipeline.KindTearDown:
		return "Removal"
	case pipeline.KindRollback:
		return "Rollback"
	}
	return line(string(k), maxLabel)
}

// why is what there is to add to the status's word, "" if nothing. It may go on where
// the word ends: "Rejected" with "by @ada: too risky".
func why(v pipeline.View, word string) (words string, goesOn bool) {
	if len(v.Questions) > 0 && !v.Status.Finished() {
		return waitsFor(v.Questions[0]), false
	}
	sentence, _ := reason(v.Reason)
	if rest, ok := cutPrefixFold(sentence, word+" "); ok {
		return rest, true
	}
	switch {
	case strings.EqualFold(sentence, word) || sentence == "done":
		return "", false
	case sentence == "" && v.Status == pipeline.StatusRunning:
		return underWay(v), false
	}
	return sentence, false
}

func waitsFor(q pipeline.Question) string {
	words := line(q.Stage, maxLabel) + " asks"
	if q.Back {
		words += " whether to roll back"
	} else if q.Environment != "" {
		words += " before " + line(q.Environment, maxLabel)
	}
	switch {
	case q.Recording:
		words += ", an answer is being looked at"
	case q.Quorum > 1:
		words += fmt.Sprintf(", %d of %d approvals so far", len(q.Approvals), q.Quorum)
	}
	return words
}

// underWay says what the first stage that works is doing.
func underWay(v pipeline.View) string {
	for _, s := range v.Stages {
		if s.Status.Finished() || s.Status == pipeline.StagePending {
			continue
		}
		doing, _ := reason(s.Reason)
		return line(s.Name, maxLabel) + ": " + firstOf(line(s.Progress, maxWords), doing, line(s.Word, maxLabel))
	}
	return ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}
