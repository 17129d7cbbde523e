package webhook

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const corpusDir = "../testdata/hooks"

// corpus reads every payload, by its path below the corpus' folder.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(corpusDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		body, err := os.ReadFile(path)
		files[strings.TrimPrefix(filepath.ToSlash(path), corpusDir+"/")] = body
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d payloads in %s", len(files), corpusDir)
	}
	return files
}

func TestParseReadsWhatSlipwayUses(t *testing.T) {
	files := corpus(t)
	docs := Project{ID: 2, Path: "flightjs/flight-management", WebURL: "http://gitlab.example.com/flightjs/flight-management", DefaultBranch: "main"}
	alex := User{ID: 1, Username: "agarcia", Name: "Alex Garcia"}
	merged := MergeRequest{
		Project: docs, Action: "merge", IID: 16, State: "merged", Title: "Add input validation to booking form",
		URL:          "http://gitlab.example.com/flightjs/flight-management/-/merge_requests/16",
		SourceBranch: "feature/booking-validation", TargetBranch: "main",
		MergeSHA: "78a76ee6b4992a6baf64c59fc4c44c7323d60438", MergeSource: FromMergeCommit,
		HeadSHA: "e59094b8de0f2f91abbe4760a52d9137260252d8", SourceProject: 2, UpdatedAt: "2026-01-16 05:56:25 UTC", AuthorID: 1, User: alex,
	}
	squashed := merged
	squashed.MergeSHA, squashed.MergeSource = "1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c", FromSquashCommit
	deployed := Project{ID: 30, Path: "root/test-deployment-webhooks", WebURL: "http://10.126.0.2:3000/root/test-deployment-webhooks"}
	admin := User{ID: 1, Username: "root", Name: "Administrator"}
	approved := Deployment{
		Project: deployed, ID: 15, Status: "approved", Environment: "production", Tier: "production", ShortSHA: "279484c0", JobID: 796,
		User: admin, Approver: User{ID: 5, Username: "ops_lead", Name: "Ops Lead"}, ApprovalComment: "LGTM",
	}
	tests := []struct {
		name string
		file string
		want Hook
	}{
		{"a merge names its merge commit", "docs-19.x/mr_merge.derived.json", merged},
		{"a merge without merge commit names its squash commit", "docs-19.x/mr_merge_ff_squash.derived.json", squashed},
		{"a merge of 2017 names nobody by id", "captured/merge_request_merge.json", MergeRequest{
			Project: Project{ID: 4861503, Path: "gitlab-org/hello-world", WebURL: "https://gitlab.com/gitlab-org/hello-world", DefaultBranch: "master"},
			Action:  "merge", IID: 1, State: "merged", Title: "update readme", URL: "https://gitlab.com/gitlab-org/hello-world/merge_requests/1",
			SourceBranch: "feature", TargetBranch: "master", MergeSHA: "78a76ee6b4992a6baf64c59fc4c44c7323d60438", MergeSource: FromMergeCommit,
			HeadSHA: "c4c79227ed610f1151f05bbc5be33b4f340d39c8", SourceProject: 4861503, UpdatedAt: "2017-12-10 17:08:07 UTC", AuthorID: 51764, User: User{Username: "sytses", Name: "Sid Sijbrandij"},
		}},
		{"a CI pipeline knows its merge request", "client-go/pipeline.json", Pipeline{
			Project: Project{ID: 1, Path: "gitlab-org/gitlab-test", WebURL: "http://192.168.64.1:3005/gitlab-org/gitlab-test", DefaultBranch: "master"},
			ID:      31, SHA: "bcbb5ec396a2c0f828686f14fac9b80b780504f2", Ref: "master", Source: "merge_request_event", Status: "success",
			MergeRequestIID: 1, User: User{ID: 42, Username: "user1", Name: "User1"},
		}},
		{"a job names its environment", "client-go/job.json", Job{
			Project: Project{ID: 1, Path: "gitlab-org/gitlab-test", WebURL: "http://192.168.64.1:3005/gitlab-org/gitlab-test", DefaultBranch: "master"},
			ID:      3580121225, Name: "auto_deploy:start", Stage: "coordinated:tag", Status: "success", FailureReason: "unknown_failure",
			PipelineID: 743121198, SHA: "95d49d1efbd941908580e79d65e4b5ecaf4a8305", Ref: "main", Environment: "production",
			User: User{ID: 2967854, Username: "jsmithy2", Name: "John Smith"},
		}},
		{"a job of an older server has only its project's id", "client-go/build.json", Job{
			Project: Project{ID: 380}, ID: 1977, Name: "test", Stage: "test", Status: "created", FailureReason: "script_failure",
			PipelineID: 2366, SHA: "2293ada6b400935a1378653304eaf6221e0fdb8f", Ref: "gitlab-script-trigger",
			User: User{ID: 42, Username: "user1", Name: "User1"},
		}},
		{"a comment on a merge request", "client-go/note_merge_request.json", Note{
			Project: Project{ID: 5, Path: "gitlab-org/gitlab-test", WebURL: "http://example.com/gitlab-org/gitlab-test", DefaultBranch: "master"},
			ID:      1244, DiscussionID: "e1c5835f5f99414806f6fe45b28s48cfebb89ee1", Body: "This MR needs work.", AuthorID: 1, Author: admin,
			URL: "http://example.com/gitlab-org/gitlab-test/merge_requests/1#note_1244", MergeRequestIID: 1,
		}},
		{"an approval says who approved", "docs-19.x/deployment_approved.json", approved},
		{"a deployment made through the API has no job", "docs-19.x/deployment_api_success.derived.json", Deployment{
			Project: deployed, ID: 15, Status: "success", Environment: "production", Tier: "production", ShortSHA: "279484c0", User: admin,
		}},
		{"a comment on an issue is ignored", "client-go/note_issue.json", Ignored{KindNote, "the comment is not on a merge request"}},
		{"a comment of a server that doesn't tell new from edited is ignored", "atlantis/gitlab-merge-request-comment-event.json",
			Ignored{KindNote, "its field object_attributes.action is missing or of another type"}},
		{"a merge request without number is ignored", "client-go/group_merge_request.json",
			Ignored{KindMergeRequest, "its field project.id is missing or of another type"}},
		{"an emoji is ignored", "client-go/emoji_note_merge_request.json", Ignored{KindEmoji, "Slipway does nothing with hooks of this kind"}},
		{"a push is ignored", "client-go/push.json", Ignored{KindPush, "Slipway does nothing with hooks of this kind"}},
		{"a system event without object_kind is known by its event_name", "client-go/member.json", Ignored{KindMember, "Slipway does nothing with hooks of this kind"}},
		{"a kind that nobody has heard of is ignored", "client-go/wiki_page.json", Ignored{KindOther, "Slipway does nothing with hooks of this kind"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(http.Header{"X-Gitlab-Event": {"System Hook"}}, files[tt.file])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseOfSmallBodies(t *testing.T) {
	const sha1, sha2 = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	mr := func(rest string) string {
		return `{"object_kind":"merge_request","project":{"id":7},"object_attributes":{"iid":3,"target_branch":"main","action":"merge",` + rest + `}}`
	}
	tests := []struct {
		name   string
		header string
		body   string
		want   Hook
	}{
		{"a fast-forward merge is known by its last commit", "", mr(`"merge_commit_sha":null,"squash_commit_sha":null,"last_commit":{"id":"` + sha1 + `"}`),
			MergeRequest{Project: Project{ID: 7}, Action: "merge", IID: 3, TargetBranch: "main", MergeSHA: sha1, MergeSource: FromLastCommit, HeadSHA: sha1}},
		{"new commits name the one before", "", `{"object_kind":"merge_request","project":{"id":7},"object_attributes":{"iid":3,"action":"update","oldrev":"` + sha1 + `","source_project_id":8,"updated_at":"2026-01-16 05:56:25 UTC","last_commit":{"id":"` + sha2 + `"}}}`,
			MergeRequest{Project: Project{ID: 7}, Action: "update", IID: 3, OldRev: sha1, HeadSHA: sha2, SourceProject: 8, UpdatedAt: "2026-01-16 05:56:25 UTC"}},
		{"a merge commit wins over a squash commit", "", mr(`"merge_commit_sha":"` + sha1 + `","squash_commit_sha":"` + sha2 + `"`),
			MergeRequest{Project: Project{ID: 7}, Action: "merge", IID: 3, TargetBranch: "main", MergeSHA: sha1, MergeSource: FromMergeCommit}},
		{"a merge without any commit is ignored with the reason", "", mr(`"title":"x"`),
			Ignored{KindMergeRequest, "its field object_attributes.merge_commit_sha is missing or of another type"}},
		{"a sha that isn't one counts as missing", "", mr(`"merge_commit_sha":"main; rm -rf"`),
			Ignored{KindMergeRequest, "its field object_attributes.merge_commit_sha is missing or of another type"}},
		{"a link that isn't http is left out", "", `{"object_kind":"merge_request","project":{"id":7,"web_url":"javascript:alert(1)"},"object_attributes":{"iid":3,"action":"open","url":7}}`,
			MergeRequest{Project: Project{ID: 7}, Action: "open", IID: 3}},
		{"the header helps where the body names no kind", "Note Hook", `{"object_kind":7,"object_attributes":{"noteable_type":"Issue"}}`,
			Ignored{KindNote, "the comment is not on a merge request"}},
		{"the header can't turn one kind into another", "Push Hook", `{"object_kind":"note","object_attributes":{"noteable_type":"Issue"}}`,
			Ignored{KindNote, "the comment is not on a merge request"}},
		{"the header can't name a kind that the body names otherwise", "Note Hook", `{"object_kind":"wiki_page"}`,
			Ignored{KindOther, "Slipway does nothing with hooks of this kind"}},
		{"an edited comment is ignored", "", `{"object_kind":"note","object_attributes":{"noteable_type":"MergeRequest","action":"update"}}`,
			Ignored{KindNote, "the comment is not new"}},
		{"a comment of which the author and the user differ is ignored", "", `{"object_kind":"note","user":{"id":1},"project_id":7,"merge_request":{"iid":3},
			"object_attributes":{"noteable_type":"MergeRequest","action":"create","id":5,"author_id":2}}`,
			Ignored{KindNote, "the comment's author is not the user of the hook"}},
		{"a system note says so", "", `{"object_kind":"note","user":{"id":1},"project_id":7,"merge_request":{"iid":3},
			"object_attributes":{"noteable_type":"MergeRequest","action":"create","id":5,"author_id":1,"system":true,"note":"approved\u0000"}}`,
			Note{Project: Project{ID: 7}, ID: 5, AuthorID: 1, Author: User{ID: 1}, System: true, Body: "approved\uFFFD", MergeRequestIID: 3}},
		{"a blocked deployment", "Deployment Hook", `{"object_kind":"deployment","status":"blocked","deployment_id":4,"environment":"production","project":{"id":7},"user":"nobody"}`,
			Deployment{Project: Project{ID: 7}, ID: 4, Status: "blocked", Environment: "production"}},
		{"an empty object is ignored", "", `{}`, Ignored{KindOther, "Slipway does nothing with hooks of this kind"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(http.Header{"X-Gitlab-Event": {tt.header}}, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesWhatIsNoHook(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)
	tests := []struct {
		name string
		body string
		want error
	}{
		{"nothing", "", errBadJSON},
		{"half an object", `{"object_kind":"note"`, errBadJSON},
		{"two objects", `{}{}`, errBadJSON},
		{"an array", `[{"object_kind":"note"}]`, errBadJSON},
		{"null", `null`, errBadJSON},
		{"text", `object_kind=note`, errBadJSON},
		{"an object that is nested too deep", deep, errTooDeep},
		{"more than GitLab sends", `{"a":"` + strings.Repeat("x", maxBytes) + `"}`, errTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(nil, []byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParseBoundsTheCommentOnARuneBoundary(t *testing.T) {
	body := `{"object_kind":"note","user":{"id":1},"project_id":7,"merge_request":{"iid":3},"object_attributes":{"noteable_type":"MergeRequest",
		"action":"create","id":5,"author_id":1,"note":"x` + strings.Repeat("é", MaxNoteBytes) + `"}}`
	got, err := Parse(nil, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	n, ok := got.(Note)
	if !ok || !n.BodyCut || len(n.Body) != MaxNoteBytes-1 || !utf8.ValidString(n.Body) {
		t.Errorf("got %T, cut %v, %d bytes", got, n.BodyCut, len(n.Body))
	}
}
