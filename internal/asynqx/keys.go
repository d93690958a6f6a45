// Package asynqx contains everything that depends on the internals of asynq:
// key names, scripts and task messages. It is written for one release of asynq;
// contract_test.go fails if another release differs.
package asynqx

import "strings"

// Prefix begins asynq's keys of one queue. The braces are their hash tag.
func Prefix(queue string) string { return "asynq:{" + queue + "}:" }

// Pending is a list of the ids of the tasks that may be taken, the next one last.
func Pending(queue string) string { return Prefix(queue) + "pending" }

// TaskPrefix begins the keys of the hashes of tasks; the id follows.
func TaskPrefix(queue string) string { return Prefix(queue) + "t:" }

// Shared reports whether a key is one of asynq's that belong to no queue: what all its servers on this Redis tell.
func Shared(key string) bool {
	for _, name := range []string{"queues", "servers", "workers", "schedulers"} {
		if rest, ok := strings.CutPrefix(key, "asynq:"+name); ok && (rest == "" || rest[0] == ':') {
			return true
		}
	}
	return false
}
