// Package gitlabsim is a GitLab in memory over HTTP, as strict as the real one, for the demo and for tests.
//
// It knows what Slipway's adapter needs of REST API v4 as GitLab 19 answers it: status codes, error bodies,
// permissions by the token's user, pagination and rate limits. It sends hooks with the real headers from a
// background worker, records every delivery, and switches a failing hook off as GitLab does. What it doesn't
// know it answers 404 and records as unknown, so that a test can insist on there being none.
//
// Scenario authors use the Go methods ([GitLab.AddProject], [GitLab.OpenMergeRequest], [GitLab.Merge], …), which act
// like people in the browser. [GitLab.Fail] makes calls go wrong, [GitLab.Requests] tells what was asked.
//
// Known differences: everything is private, there are no forks and no protected branches, one CI configuration per
// project, and quick actions are taken out of comments but not carried out.
package gitlabsim
