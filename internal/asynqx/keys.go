// Package asynqx is what tiwsnap knows of asynq's insides, beyond its public interface.
package asynqx

// Prefix begins asynq's keys of one queue. The braces are their hash tag.
func Prefix(queue string) string { return "asynq:{" + queue + "}:" }
