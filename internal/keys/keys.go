// Package keys names every Redis key of tiwsnap's own, so that the whole schema
// can be read in one place. All keys share one hash tag: every script works on
// Redis Cluster. asynq's keys ("asynq:…") are asynq's business and not here.
package keys

import "strconv"

// Prefix begins every key. The braces are the hash tag.
const Prefix = "{tiwsnap}:"

const (
	// Batches is a sorted set of batch ids by creation time (Unix ms).
	Batches = Prefix + "batches"
	// Running is a sorted set of the ids of batches that have not ended, by creation
	// time (Unix ms).
	Running = Prefix + "running"
	// Ring is a list of the batches that still have rooms to feed, in turn.
	Ring = Prefix + "ring"
	// Paused is a set of the batches that were paused, and may be still.
	Paused = Prefix + "paused"
	// Transit is a sorted set of snapshot ids that the feeder has taken from
	// the backlog and no worker has begun, by the time they were taken (ms).
	Transit = Prefix + "transit"
	// Feeder is a string: the process that feeds at the moment. It expires.
	Feeder = Prefix + "feeder"
	// Breaker is a hash that exists while not everything may be sent: why, since
	// when, what opens it. Only the pass that its field "turn" names may be used.
	// From "feed_from" (ms) on it wants "feed" rooms on their way to the queue.
	Breaker = Prefix + "breaker"
	// Gate is a hash of what the gate remembers: failures in a row, the last
	// outcomes, how many requests were accepted, the newest TaskID.
	Gate = Prefix + "gate"
	// Apps is a hash of SdkAppId to how many requests for it were accepted.
	Apps = Prefix + "apps"
	// Refused is a hash of snapshot id to how many requests had been accepted
	// when this one's was refused by a code of the account, and the code.
	Refused = Prefix + "refused"
	// Suspended is a sorted set of the SdkAppIds that are suspended, or whose
	// waiting snapshots are being released, by when that goes on (ms).
	Suspended = Prefix + "suspended"
	// Open is a sorted set of snapshot ids that were begun and are neither
	// accepted nor ended, by the time of their last change (ms).
	Open = Prefix + "open"
	// Confirm is a sorted set of snapshot ids by the time (ms) of their next
	// DescribeSnapshotTask: accepted ones, and unknown ones whose callback
	// named a TaskID.
	Confirm = Prefix + "confirm"
	// Early is a sorted set of snapshot ids by the time (ms) from which on they
	// may be polled, where quota is free, before their time in Confirm. Ids that
	// are not in Confirm mean nothing. It expires.
	Early = Prefix + "early"
	// Notices is a sorted set of what is to be told by webhook, by when it is
	// due to be handed on (ms): "snapshot:MS:ID" and "batch:MS:ID" with the time
	// of the end, "schedule:MS:TICK" of a tick that failed.
	Notices = Prefix + "notices"
	// Tell is a hash of what is told by webhook: "snapshot", "batch" and
	// "schedule", each 1 or 0. It expires unless a worker that tells renews it.
	Tell = Prefix + "tell"
	// Totals is a hash of counters over everything that ever ran here.
	Totals = Prefix + "totals"
	// Replicated is an empty string, written to see that a replica has it and
	// so everything before it. It expires at once.
	Replicated = Prefix + "replicated"
	// Probe is a string, written to see whether Redis takes our scripts. It is
	// gone at once.
	Probe = Prefix + "probe"
)

// Batch is a hash: what the batch is and how many of its snapshots are in
// which state.
func Batch(id string) string { return Prefix + "batch:" + id }

// Rows is a hash of chunk number to chunk: the rooms of a batch, compressed.
func Rows(batch string) string { return Prefix + "rows:" + batch }

// Loading is a Rows hash of a batch that is still being pushed. It expires.
func Loading(token string) string { return Prefix + "loading:" + token }

// Snapshot is a hash, the record of one snapshot. It exists from the first
// attempt until it has ended and is packed.
func Snapshot(id string) string { return Prefix + "snapshot:" + id }

// Again is a list of the snapshot ids of a batch that are to be fed again.
func Again(batch string) string { return Prefix + "again:" + batch }

// Failed is a sorted set of the failed snapshots of a batch by when they ended
// (ms); those without a batch are under "".
func Failed(batch string) string { return Prefix + "failed:" + batch }

// Waiting is a sorted set of the snapshots of a batch whose outcome is unknown
// and that wait for a person to decide, by since when (ms); those without a
// batch are under "".
func Waiting(batch string) string { return Prefix + "waiting:" + batch }

// Suspension is a hash: why calls for an SdkAppId are not made, since when, and
// which snapshot may be sent to see whether they work again; or since when its
// snapshots fail.
func Suspension(app uint64) string { return Prefix + "suspension:" + strconv.FormatUint(app, 10) }

// SuspendedRooms is a list of the snapshot ids that wait for a suspended
// SdkAppId.
func SuspendedRooms(app uint64) string { return Suspended + ":" + strconv.FormatUint(app, 10) }

// Packed is a hash of row number to the packed record of an ended snapshot of a
// batch; those without a batch are under "", by their ids.
func Packed(batch string) string { return Prefix + "packed:" + batch }

// Expiring is a list of the ids in Packed(""), by when they were packed.
const Expiring = Prefix + "expiring"

// Unpacked is a sorted set of the ended snapshots whose records are to be
// packed, by when they ended (ms).
const Unpacked = Prefix + "unpacked"

// Index is a hash of words to the snapshots that have them, see package ledger: of
// those whose record was made, or that were answered, on one day (UTC), counted
// since 1970. It expires.
func Index(day int64) string { return Prefix + "index:" + strconv.FormatInt(day, 10) }

// Indexes is a sorted set of the days that have an Index, by themselves.
const Indexes = Prefix + "indexes"

// Claim is a string: the snapshot that has claimed, of late, the task of that
// TaskID. It expires.
func Claim(taskID string) string { return Prefix + "claim:" + taskID }

// LoggedOut is an empty string: the session of that id was ended before it
// expired. It expires.
func LoggedOut(session string) string { return Prefix + "loggedout:" + session }

// Schedule is a hash: the last tick of a schedule, what became of it, and the
// tick that is being tried.
func Schedule(name string) string { return Prefix + "schedule:" + name }

// Ticking is a string: the worker that makes the ticks of a schedule at the
// moment. It expires.
func Ticking(schedule string) string { return Prefix + "ticking:" + schedule }

// FailedTick is a string: what became of a tick of which a webhook tells that
// it failed (JSON). It expires.
func FailedTick(tick string) string { return Prefix + "failedtick:" + tick }

// Limit is the prefix of the keys of one rate limit bucket: the quota of one
// API action of one account.
func Limit(account, action string) string { return Prefix + "limit:" + account + ":" + action }

// Idempotency is a hash: what a client of the HTTP API has asked for under a
// key of its own, and what it was answered. It expires after a day.
func Idempotency(hash string) string { return Prefix + "idempotency:" + hash }
