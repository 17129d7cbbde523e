// Package registry keeps the objects of the simulated cluster and holds every write to the API server's rules.
//
// It stands where a real API server has its registries and etcd: kinds, defaults, validation, field managers,
// generations, optimistic concurrency, finalizers, and one ordered log of changes that watches and controllers follow.
//
// Stored objects are never changed in place: each write stores a new one. Whoever gets an object from here
// may keep it and read it, and must copy it before changing it.
package registry
