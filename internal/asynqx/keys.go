// Package asynqx is what tiwsnap knows of asynq's insides: the names of its keys, the form of its scripts and of its
// task messages. Each relies on one release of asynq; contract_test.go runs asynq itself and fails on another one that
// differs.
package asynqx

// Prefix begins asynq's keys of one queue. The braces are their hash tag.
func Prefix(queue string) string { return "asynq:{" + queue + "}:" }

// Pending is a list of the ids of the tasks that may be taken, the next one last.
func Pending(queue string) string { return Prefix(queue) + "pending" }

// TaskPrefix begins the keys of the hashes of tasks; the id follows.
func TaskPrefix(queue string) string { return Prefix(queue) + "t:" }
