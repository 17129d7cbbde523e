// Package gitlab is Slipway's side of GitLab: hooks become events, effects become calls, and
// what happened is written where people already look.
//
// One [Client] does all of it:
//
//   - [Client.Events] turns a verified hook into events for deliveries,
//   - [Client.Describe], [Client.PipelineFile] and [Client.Files] read a merged commit,
//   - [Client.Execute] carries out the effects that are GitLab's: it looks at CI pipelines and
//     people, plays jobs, starts CI pipelines, and makes the note, the commit statuses and the
//     deployments true,
//   - [Client.TestReport] reads what a CI pipeline's tests said.
//
// Whatever is made once is looked for before it is made: the note and the answers by a hidden
// marker and their author, a deployment by environment, commit and age, a commit status by name,
// a CI pipeline by a variable.
// Errors are *pipeline.Failure with words for people.
package gitlab
