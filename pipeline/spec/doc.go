// Package spec reads the pipeline file .slipway.yml: it parses it strictly, checks
// it, and compiles it into the plan that a delivery is frozen to. Every error says
// where it is in the file and what to write instead.
//
// Parse needs nothing but the file. Compile adds what only the operator and GitLab
// know: the rules of the environments, the commit, the merge request. Both collect
// all problems instead of stopping at the first. Expressions are CEL; what does not
// ask for earlier stages is evaluated by Compile, the rest by Evaluator when the
// stage's turn comes.
//
// Where to look: file.go (the file's types, which the JSON Schema is generated
// from), parse.go, decode.go and scalar.go (YAML to types), text.go and outside.go
// (texts with rules of their own), check.go, stage.go, checks.go and graph.go (what
// the types cannot say), language.go, template.go and track.go (CEL), compile.go, convert.go and canaryplan.go
// (the plan), rules.go (the operator's rules), eachtext.go (what a plan may still ask
// for), loader.go, evaluator.go and rollback.go (the executors).
package spec
