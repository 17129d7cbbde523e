// Package pipeline is the core: what a delivery and an environment are, what can
// happen to them, and what follows. Step and StepEnvironment are pure functions:
// no clock, no I/O, no context, no logger. Everything that they decide comes from
// their arguments, so that a history replayed gives the same state, and a process
// may be killed between any two steps.
//
// Two aggregates live here. A Delivery is one run of a pipeline for one commit. An
// Environment owns the lock on one GitLab environment, the queue of deliveries that
// want it and the history of its releases. They talk by events, never by calls.
//
//	event ──► Step(plan, state, event, now) ──► state, effects
//	  ▲                                            │
//	  └────────── outcome ◄── executor ◄───────────┘
//
// Where to look: plan.go (what shall be done), delivery.go and environment.go (the
// states), event.go (what can happen), effect.go (what can be asked of the outside
// world), step.go and the step_*.go files beside it (what follows from what), and
// view.go (the one summary that notes, messages and pages are rendered from).
package pipeline
