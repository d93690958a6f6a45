// Package asynqx contains everything that depends on the internals of asynq: key names, scripts and task messages.
// Taker replaces asynq's polling by blocking and saves round trips when a server is idle. Orphans, DropStale and
// CountFailed repair what asynq leaves inconsistent. The package is written for one release of asynq, and
// contract_test.go fails if another release differs.
package asynqx

import "strings"

// Prefix returns the prefix of all keys of a queue. The braces are the hash tag.
func Prefix(queue string) string { return "asynq:{" + queue + "}:" }

// Pending returns the key of the list of pending task ids, the next one last.
func Pending(queue string) string { return Prefix(queue) + "pending" }

// TaskPrefix returns the prefix of the keys of task hashes. The task id follows it.
func TaskPrefix(queue string) string { return Prefix(queue) + "t:" }

// Shared reports whether key is an asynq key that belongs to no queue: the registry of queues, servers and workers.
func Shared(key string) bool {
	for _, name := range []string{"queues", "servers", "workers", "schedulers"} {
		if rest, ok := strings.CutPrefix(key, "asynq:"+name); ok && (rest == "" || rest[0] == ':') {
			return true
		}
	}
	return false
}
