// Package storetest is the conformance suite of store.Store: each promise of the
// contract as a test whose name is the promise.
package storetest
