package gitlab

import (
	"context"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Project asks GitLab for a project by its number. What a hook says of its path is not
// believed: the operator's rules go by it.
func (c *Client) Project(ctx context.Context, id int64) (pipeline.Project, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	p, resp, err := c.api.Projects.GetProject(id, nil, api.WithContext(ctx))
	if err != nil {
		return pipeline.Project{}, c.failed(ctx, call{doing: "read the project", needs: "Reporter"}, resp, err)
	}
	return project(p), nil
}
