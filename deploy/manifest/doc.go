// Package manifest renders the Kubernetes objects of a commit: from a YAML or JSON file, a folder of them, a
// kustomization, or a Helm chart.
//
// Everything comes from the files that it is given: no remote bases, no plugins, no programs. Text of manifests is
// written by people and values of Secrets are in it, so errors name files, lines, kinds, names and fields, and never
// show a value.
//
// What anybody may have written must not take the server's memory or time: aliases.go counts what YAML aliases make,
// kustomization.go builds only what is plainly small here and leaves the rest to Limits.Apart, helmfiles.go and helmguard.go
// bound charts and their templates.
//
// Where to look: render.go (how it goes), plain.go, kustomize.go and helm.go (the sources; helmrun.go runs templates),
// check.go, kinds.go and fence.go (what is refused), image.go and review.go (what is changed), set.go (the result).
package manifest
