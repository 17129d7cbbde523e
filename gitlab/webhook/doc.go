// Package webhook proves that a GitLab hook is genuine and reads the few of its fields that Slipway uses.
//
// Nothing here does I/O. [Verifier] checks the signature or the secret token of a request, [DeliveryKey]
// names the delivery so that a repeated one is recognised, and [Parse] turns the body into one of a closed
// set of [Hook] kinds. GitLab adds fields and changes types between versions, so Parse never fails because
// of a field: what is missing where it is needed gives an [Ignored] that says which field it was.
//
// Source: GitLab's webhook documentation up to 19.4, and the Standard Webhooks specification for the signature.
package webhook
