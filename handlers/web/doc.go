// Package web renders the pages that GitLab and Slack link to: the list of deliveries
// and one delivery, from the server, with live updates where there is a script.
//
// A page is a fragment in a layout. The fragment depends on nothing but the delivery:
// times in it are absolute, and the script says how long ago they were. So two renders
// of the same state are equal, and a stream sends a fragment only when it has changed.
package web
