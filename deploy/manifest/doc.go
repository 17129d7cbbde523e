// Package manifest renders the Kubernetes objects of a commit: from a YAML or JSON file, a folder of them, or a
// kustomization.
//
// Everything comes from the files that it is given: no remote bases, no plugins, no programs. Text of manifests is
// written by people and values of Secrets are in it, so errors name files, lines, kinds, names and fields, and never
// show a value.
package manifest
