// Package manifest renders the Kubernetes objects of a commit: from a YAML or JSON file, a folder of them, a
// kustomization, or a Helm chart.
//
// Everything comes from the files that it is given: no remote bases, no plugins, no programs. Text of manifests is
// written by people and values of Secrets are in it, so errors name files, lines, kinds, names and fields, and never
// show a value.
//
// Where to look: render.go (how it goes), plain.go, kustomize.go (kustomization.go builds) and helm.go (the sources; helmrun.go runs templates,
// helmguard.go keeps them from running for ever), check.go and kinds.go (what is refused), set.go (the result).
package manifest
