// Package keys names every Redis key of tiwsnap, so that the schema is in one place.
//
// All keys of a namespace share one hash tag, so every script works on Redis Cluster. Times are in Unix milliseconds
// unless said otherwise. Keys of asynq ("asynq:…") are in package asynqx.
package keys

import (
	"cmp"
	"errors"
	"strconv"

	"tiwsnap/tasks"
)

// Namespace is the name of an installation. It is in every key and queue name, so that two installations on one Redis
// share nothing. The empty one is Default.
type Namespace string

// Default is the namespace if none is named.
const Default Namespace = tasks.DefaultNamespace

// Parse returns the namespace of that name: 1 to 32 of a-z, 0-9 and "-".
func Parse(name string) (Namespace, error) {
	valid := len(name) >= 1 && len(name) <= 32
	for _, c := range []byte(name) {
		valid = valid && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !valid {
		return "", errors.New("must be 1 to 32 of a-z, 0-9 and -")
	}
	return Namespace(name), nil
}

// String returns the name of the namespace.
func (ns Namespace) String() string { return string(cmp.Or(ns, Default)) }

// key is a key of the namespace. The braces are the hash tag.
func (ns Namespace) key(name string) string { return "{" + ns.String() + "}:" + name }

// QueueInteractive is the asynq queue of single rooms.
func (ns Namespace) QueueInteractive() string { return tasks.QueueInteractive(ns.String()) }

// QueueBulk is the asynq queue of rooms that the feeder takes from batches.
func (ns Namespace) QueueBulk() string { return tasks.QueueBulk(ns.String()) }

// QueueWebhooks is the asynq queue of webhooks.
func (ns Namespace) QueueWebhooks() string { return tasks.QueueWebhooks(ns.String()) }

// Queues returns all queues of the namespace.
func (ns Namespace) Queues() []string {
	return []string{ns.QueueInteractive(), ns.QueueBulk(), ns.QueueWebhooks()}
}

// Batches is a sorted set of batch ids by creation time (Unix ms).
func (ns Namespace) Batches() string { return ns.key("batches") }

// Running is a sorted set of the ids of batches that have not ended, by creation time.
func (ns Namespace) Running() string { return ns.key("running") }

// Ring is a list of the batches that have rooms to feed, in the order in which they take turns.
func (ns Namespace) Ring() string { return ns.key("ring") }

// InFlight is a sorted set of snapshot ids that the feeder has taken from the backlog and no worker has begun, by the
// time they were taken.
func (ns Namespace) InFlight() string { return ns.key("transit") }

// Feeder is a string: the process that feeds at present. It expires.
func (ns Namespace) Feeder() string { return ns.key("feeder") }

// FeederStandby is a string: the latest time at which another process will try to become the feeder. It expires.
func (ns Namespace) FeederStandby() string { return ns.key("feeder-turn") }

// Breaker is a hash that exists while the circuit breaker is not closed: why, since when, what opens it. Only the pass
// in its field "pass" is valid. From "feed_from" on the queue needs "feed" rooms.
func (ns Namespace) Breaker() string { return ns.key("breaker") }

// Unreplicated is a string: since when no replica of Redis confirms writes. It expires.
func (ns Namespace) Unreplicated() string { return ns.key("unreplicated") }

// Gate is a hash of the state of the gate: failures in a row, the last outcomes, how many requests were accepted, the
// newest TaskID.
func (ns Namespace) Gate() string { return ns.key("gate") }

// Endpoint is a string: the URL of the API that the namespace uses.
func (ns Namespace) Endpoint() string { return ns.key("endpoint") }

// Apps is a hash of SdkAppId to the number of its accepted requests.
func (ns Namespace) Apps() string { return ns.key("apps") }

// Refused is a hash of snapshot id to the number of requests that had been accepted when its own was refused with a
// code of the account, and that code.
func (ns Namespace) Refused() string { return ns.key("refused") }

// Suspended is a sorted set of SdkAppIds that are suspended or whose waiting snapshots are being released, by the time
// of their next step.
func (ns Namespace) Suspended() string { return ns.key("suspended") }

// Open is a sorted set of snapshot ids that were begun and are neither accepted nor ended, by the time of their last
// change.
func (ns Namespace) Open() string { return ns.key("open") }

// Confirm is a sorted set of snapshot ids by the time of their next DescribeSnapshotTask: accepted ones, and unknown
// ones whose callback named a TaskID.
func (ns Namespace) Confirm() string { return ns.key("confirm") }

// Early is a sorted set of snapshot ids by the time from which they may be polled with spare quota, before their time
// in Confirm. Ids that are not in Confirm are ignored. It expires.
func (ns Namespace) Early() string { return ns.key("early") }

// PollerStandby is a string: the latest time at which another process will try to become a poller. It expires.
func (ns Namespace) PollerStandby() string { return ns.key("poll-turn") }

// Pollers is a sorted set of the processes that poll for results, by the end of their leases.
func (ns Namespace) Pollers() string { return ns.key("pollers") }

// Lease is a sorted set of the processes that do a task for all, by the end of their leases. It expires.
func (ns Namespace) Lease(what string) string { return ns.key("lease:" + what) }

// LeaseTurn is a string: the latest time at which another process will try to get a lease. It expires.
func (ns Namespace) LeaseTurn(what string) string { return ns.key("lease-turn:" + what) }

// Outbox is a sorted set of events for webhooks by the time at which they are due: "snapshot:MS:ID" and "batch:MS:ID"
// with the time of the end, "images:MS:BATCH" for a batch whose images are copied, "schedule:MS:TICK" for a tick that
// failed.
func (ns Namespace) Outbox() string { return ns.key("notices") }

// Notifications is a hash of the events that receivers want: "snapshot", "batch", "images" and "schedule", each 1 or
// 0. It expires unless a worker renews it.
func (ns Namespace) Notifications() string { return ns.key("tell") }

// WebhooksQueued is a sorted set of the webhooks for one host that are in asynq, by the time they were enqueued. It
// expires.
func (ns Namespace) WebhooksQueued(host string) string { return ns.key("webhooks:" + host) }

// WebhooksGone is a sorted set of the receivers that have answered 410, by that time: batch, host and a hash of the
// URL. It expires.
func (ns Namespace) WebhooksGone() string { return ns.key("webhooks-gone") }

// Copies is a sorted set of the batches with images to copy, by the time at which the first of their snapshots is due.
// "" stands for snapshots without a batch.
func (ns Namespace) Copies() string { return ns.key("copies") }

// Archives is a sorted set of the batches with copies or images to copy, by the time of the next check of their lists.
func (ns Namespace) Archives() string { return ns.key("archives") }

// Folders is a sorted set of the folders of copies by the time of the last write.
func (ns Namespace) Folders() string { return ns.key("folders") }

// CopyTrouble is a hash: why no image can be copied at present, and since when. It expires.
func (ns Namespace) CopyTrouble() string { return ns.key("copytrouble") }

// Totals is a hash of counters since the namespace began, and of current ones: "waiting" and "waiting_paused" rooms in
// batches, "images_pending".
func (ns Namespace) Totals() string { return ns.key("totals") }

// Audit is a stream: the audit log.
func (ns Namespace) Audit() string { return ns.key("audit") }

// Journal is a hash of what the logs of the workers have reported: the creation time of the last batch, and the id of
// the last entry of Audit.
func (ns Namespace) Journal() string { return ns.key("journal") }

// Logged is a string: a worker has logged an event, and when a batch was begun. It expires.
func (ns Namespace) Logged(what string) string { return ns.key("logged:" + what) }

// Workers is a hash of the id of a worker to its description (JSON).
func (ns Namespace) Workers() string { return ns.key("workers") }

// Draft is a hash: a list of rooms that a person has uploaded and not enqueued yet. It expires.
func (ns Namespace) Draft(id string) string { return ns.key("draft:" + id) }

// Owner is a string: who enqueued a single room, for users that see only their own. It expires.
func (ns Namespace) Owner(snapshot string) string { return ns.key("owner:" + snapshot) }

// Replicated is an empty string, written to wait until a replica has it and everything before it. It expires at once.
func (ns Namespace) Replicated() string { return ns.key("replicated") }

// Batch is a hash: the batch, and the number of its snapshots in each state.
func (ns Namespace) Batch(id string) string { return ns.key("batch:" + id) }

// Rows is a hash of chunk number to chunk: the rooms of a batch, compressed. It also has "canceled:ROW" for rows that
// were canceled before they were fed, and the bars of the chart, "sent:N" and "ended:N".
func (ns Namespace) Rows(batch string) string { return ns.key("rows:" + batch) }

// Loading is the Rows hash of a batch that is still being enqueued. It expires.
func (ns Namespace) Loading(token string) string { return ns.key("loading:" + token) }

// Snapshot is a hash: the record of a snapshot, from its first attempt until it has ended and is packed.
func (ns Namespace) Snapshot(id string) string { return ns.key("snapshot:" + id) }

// CopiesOf is a hash of rows of a batch to the state of their images. A snapshot without a batch has its own, with one
// field "0".
func (ns Namespace) CopiesOf(batchOrID string) string { return ns.key("copies:" + batchOrID) }

// Copying is a sorted set of the snapshots of a batch with images to copy, by the time at which they are due. "" has
// the snapshots without a batch.
func (ns Namespace) Copying(batch string) string { return ns.key("copying:" + batch) }

// LostImages is a sorted set of the snapshots of a batch with lost images, by the time they were given up. "" has the
// snapshots without a batch.
func (ns Namespace) LostImages(batch string) string { return ns.key("lost-images:" + batch) }

// Refeed is a list of the snapshot ids of a batch that must be fed again.
func (ns Namespace) Refeed(batch string) string { return ns.key("again:" + batch) }

// Failed is a sorted set of the failed snapshots of a batch by the time of their end. "" has the snapshots without a
// batch.
func (ns Namespace) Failed(batch string) string { return ns.key("failed:" + batch) }

// Held is a sorted set of the snapshots of a batch whose unknown outcome waits for a decision of a person, by the time
// since when. "" has the snapshots without a batch.
func (ns Namespace) Held(batch string) string { return ns.key("waiting:" + batch) }

// Suspension is a hash: why an SdkAppId is suspended, since when, and which snapshot may be sent as a trial; or since
// when its snapshots fail.
func (ns Namespace) Suspension(app uint64) string {
	return ns.key("suspension:" + strconv.FormatUint(app, 10))
}

// SuspendedRooms is a list of the snapshot ids that wait for a suspended SdkAppId.
func (ns Namespace) SuspendedRooms(app uint64) string {
	return ns.Suspended() + ":" + strconv.FormatUint(app, 10)
}

// LoggedOut is an empty string: the session of that id was ended before it expired. It expires.
func (ns Namespace) LoggedOut(session string) string { return ns.key("loggedout:" + session) }

// Schedule is a hash: the last tick of a schedule, its outcome, and the tick that is being retried.
func (ns Namespace) Schedule(name string) string { return ns.key("schedule:" + name) }

// Ticking is a string: the worker that makes the ticks of a schedule at present. It expires.
func (ns Namespace) Ticking(schedule string) string { return ns.key("ticking:" + schedule) }

// FailedTick is a string: a failed tick for its webhook (JSON). It expires.
func (ns Namespace) FailedTick(tick string) string { return ns.key("failedtick:" + tick) }

// Limit is the prefix of the keys of a rate limit bucket: the quota of one API action.
func (ns Namespace) Limit(action string) string { return ns.key("limit:" + action) }

// Idempotency is a hash: a request of an HTTP client under its idempotency key, and the response. It expires after a
// day.
func (ns Namespace) Idempotency(hash string) string { return ns.key("idempotency:" + hash) }

// Probe is a string, written to check that Redis runs our scripts. It is deleted at once.
func (ns Namespace) Probe() string { return ns.key("probe") }

// Packed is a hash of row number to the packed record of an ended snapshot of a batch. "" has the snapshots without a
// batch, by their ids.
func (ns Namespace) Packed(batch string) string { return ns.key("packed:" + batch) }

// Expiring is a list of the ids in Packed(""), by the time they were packed.
func (ns Namespace) Expiring() string { return ns.key("expiring") }

// Unpacked is a sorted set of ended snapshots whose records must be packed, by the time of their end.
func (ns Namespace) Unpacked() string { return ns.key("unpacked") }

// Index is a hash of words to the snapshots that have them, see package ledger. It covers the snapshots whose record
// was made or that got a TaskID on one day (UTC), counted since 1970. It expires.
func (ns Namespace) Index(day int64) string { return ns.key("index:" + strconv.FormatInt(day, 10)) }

// Indexes is a sorted set of the days that have an Index.
func (ns Namespace) Indexes() string { return ns.key("indexes") }

// Epoch is a hash that shows whether Redis has lost its data: an id that is made once, and a heartbeat that only
// grows.
func (ns Namespace) Epoch() string { return ns.key("epoch") }

// Loss is a hash: when Redis was last found to have lost data, and how. It expires.
func (ns Namespace) Loss() string { return ns.key("loss") }

// Missing is a set of the batches, and the snapshots without a batch, that were missing then. It expires.
func (ns Namespace) Missing() string { return ns.key("missing") }

// Claim is a string: the snapshot that has recently claimed the task of that TaskID. It expires.
func (ns Namespace) Claim(taskID string) string { return ns.key("claim:" + taskID) }
