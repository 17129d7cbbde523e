// Package analysis looks at the canaries of canary stages: it asks the metrics sources for the samples of baseline and
// canary, and the cluster whether the pods of both are fit to be compared. It judges nothing: that is the core's.
package analysis
