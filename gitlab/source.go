package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// FileName is the pipeline file's path in the repository.
const FileName = ".slipway.yml"

// MaxFileBytes bounds the pipeline file.
const MaxFileBytes = 256 << 10

// ErrNoFile: the commit has no pipeline file.
var ErrNoFile = errors.New("there is no " + FileName + " at this commit")

// PipelineFile reads the pipeline file at the commit. It returns [ErrNoFile] where the commit
// has none, and a *pipeline.Failure for everything else, also for a file over [MaxFileBytes].
func (c *Client) PipelineFile(ctx context.Context, project int64, sha string) ([]byte, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	k := call{doing: "read " + FileName, needs: "Reporter"}
	body, resp, err := c.api.RepositoryFiles.GetRawFileReader(project, FileName,
		&api.GetRawFileOptions{Ref: &sha}, api.WithContext(ctx))
	if err != nil {
		// A project that the token can't see is "not found" too, and isn't a missing file.
		if statusOf(err) == http.StatusNotFound && !strings.Contains(strings.ToLower(notFoundWords(resp)), "project") {
			return nil, ErrNoFile
		}
		return nil, c.failed(ctx, k, resp, err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, MaxFileBytes+1))
	if err != nil {
		return nil, c.failed(ctx, k, resp, err)
	}
	if len(data) > MaxFileBytes {
		return nil, &pipeline.Failure{
			Code: pipeline.ReasonInvalidFile, Permanent: true, Unchanged: true,
			Detail: fmt.Sprintf("%s is larger than %d KiB", FileName, MaxFileBytes>>10),
		}
	}
	return data, nil
}

// Describe asks GitLab what was merged, and confirms that sha is the commit which this merge
// request put on its target branch: a hook alone is not believed. A merge request that says
// otherwise is a permanent failure with [pipeline.ReasonStale].
func (c *Client) Describe(ctx context.Context, project, iid int64, sha string) (pipeline.Commit, pipeline.MergeRequest, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var none pipeline.Commit
	mr, resp, err := c.api.MergeRequests.GetMergeRequest(project, iid, nil, api.WithContext(ctx))
	if err != nil {
		return none, pipeline.MergeRequest{}, c.failed(ctx, call{doing: fmt.Sprintf("read merge request !%d", iid), needs: "Reporter"}, resp, err)
	}
	if err := mergedAs(mr, sha); err != nil {
		return none, pipeline.MergeRequest{}, err
	}
	commit, err := c.describeCommit(ctx, project, sha, mr.TargetBranch)
	return commit, describedMergeRequest(mr), err
}

// describeCommit reads a commit that is on a branch.
func (c *Client) describeCommit(ctx context.Context, project int64, sha, branch string) (pipeline.Commit, error) {
	full := false
	commit, resp, err := c.api.Commits.GetCommit(project, sha, &api.GetCommitOptions{Stats: &full}, api.WithContext(ctx))
	if err != nil {
		return pipeline.Commit{}, c.failed(ctx, call{doing: "read commit " + pipeline.Short(sha), needs: "Reporter"}, resp, err)
	}
	return pipeline.Commit{
		SHA: sha, ShortSHA: pipeline.Short(sha), Ref: branch, Title: clip(oneLine(commit.Title), 255),
		Author: clip(oneLine(commit.AuthorName), 255), AuthorEmail: commit.AuthorEmail, CommitterEmail: commit.CommitterEmail,
	}, nil
}

func describedMergeRequest(mr *api.MergeRequest) pipeline.MergeRequest {
	d := pipeline.MergeRequest{
		IID: mr.IID, Title: clip(oneLine(mr.Title), 255), URL: safeURL(mr.WebURL), SourceBranch: mr.SourceBranch, TargetBranch: mr.TargetBranch,
		Labels: mr.Labels,
	}
	if mr.Author != nil {
		d.AuthorID, d.AuthorUsername = mr.Author.ID, mr.Author.Username
	}
	if by := mr.MergeUser; by != nil {
		d.MergedByID, d.MergedBy = by.ID, by.Username
	}
	if mr.MergedAt != nil {
		d.MergedAt = mr.MergedAt.UTC()
	}
	return d
}

// mergedAs confirms the merge. A "locked" merge request is being merged right now.
func mergedAs(mr *api.MergeRequest, sha string) error {
	f := &pipeline.Failure{Code: pipeline.ReasonStale, Permanent: true, Unchanged: true}
	switch {
	case mr.State == "locked":
		f.Code, f.Permanent, f.Detail = pipeline.ReasonUnreachable, false, "GitLab is still merging the merge request"
		return f
	case mr.State != "merged":
		f.Detail = "the merge request says that it is " + clip(oneLine(mr.State), 40) + ", not merged"
		return f
	}
	// The commit on the target branch is the merge commit; without one the squash commit; without
	// either (fast-forward) the source branch's last. The others may never have been on the branch.
	as := mr.SHA
	switch {
	case mr.MergeCommitSHA != "":
		as = mr.MergeCommitSHA
	case mr.SquashCommitSHA != "":
		as = mr.SquashCommitSHA
	}
	if sha == "" || sha != as {
		f.Detail = fmt.Sprintf("the merge request says that it was not merged as %s", pipeline.Short(sha))
		return f
	}
	return nil
}

// CommitSHA finds the whole id of a commit.
func (c *Client) CommitSHA(ctx context.Context, project int64, short string) (string, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	full := false
	commit, resp, err := c.api.Commits.GetCommit(project, short, &api.GetCommitOptions{Stats: &full}, api.WithContext(ctx))
	if err != nil {
		return "", c.failed(ctx, call{doing: "read commit " + pipeline.Short(short), needs: "Reporter"}, resp, err)
	}
	return commit.ID, nil
}
