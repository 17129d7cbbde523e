// Package check runs the checks of stages: it asks an address, reads the test report of the commit's CI pipeline,
// compares a metric with its bounds, or runs a Kubernetes Job.
//
// A check that ran and was not satisfied is an outcome that says what it saw. An error says that it could not be run.
//
// Addresses come from the pipeline file, which a developer can change in the very merge that it delivers. So the
// operator names the hosts that may be asked, and addresses of this machine and of cloud metadata are refused when the
// connection is made, whatever a name resolves to at that moment.
package check
