// Package boltstore keeps Slipway's state in one bbolt file, for one process.
//
// Every write goes through one goroutine, the committer. It takes what has
// queued up while the disk was busy, checks each request, writes those that
// pass in one transaction, and tells everybody after the fsync. So the price of
// an fsync is shared, and a request that fails its own check costs only its caller.
//
// What can be claimed is known in memory: a queue of aggregates and effects that
// are ready, and a heap of those that will be. It is rebuilt from the file at
// open and changed only after a transaction was durable, so nobody polls.
//
// Claims live in memory too, since the file has one owner. Their fences grow
// over restarts: the upper half is the epoch, which each open raises.
//
// The ext4 option fast_commit of Linux 5.10 corrupts bbolt files; don't use it there.
package boltstore
