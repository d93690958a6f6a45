// Package keys names every Redis key of tiwsnap, so that the schema can be read
// in one place. All keys of a namespace share one hash tag, so every script
// works on Redis Cluster. Keys of asynq ("asynq:…") are in package asynqx.
package keys

import (
	"cmp"
	"errors"
	"strconv"

	"tiwsnap/tasks"
)

// Namespace is one installation: its name is in every key and queue name, so
// that two of them on one Redis share nothing. The empty one is Default.
type Namespace string

// Default is the namespace where none is named.
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

// String is the name of the namespace.
func (ns Namespace) String() string { return string(cmp.Or(ns, Default)) }

// key is a key of the namespace. The braces are the hash tag.
func (ns Namespace) key(name string) string { return "{" + ns.String() + "}:" + name }

// QueueInteractive is the asynq queue of single rooms.
func (ns Namespace) QueueInteractive() string { return tasks.QueueInteractive(ns.String()) }

// QueueBulk is the asynq queue of the next rooms of the batches.
func (ns Namespace) QueueBulk() string { return tasks.QueueBulk(ns.String()) }

// QueueWebhooks is the asynq queue of the webhooks.
func (ns Namespace) QueueWebhooks() string { return tasks.QueueWebhooks(ns.String()) }

// Queues are all queues of the namespace.
func (ns Namespace) Queues() []string {
	return []string{ns.QueueInteractive(), ns.QueueBulk(), ns.QueueWebhooks()}
}

// Batches is a sorted set of batch ids by creation time (Unix ms).
func (ns Namespace) Batches() string { return ns.key("batches") }

// Running is a sorted set of the ids of batches that have not ended, by creation
// time (Unix ms).
func (ns Namespace) Running() string { return ns.key("running") }

// Ring is a list of the batches that still have rooms to feed, in turn.
func (ns Namespace) Ring() string { return ns.key("ring") }

// InFlight is a sorted set of snapshot ids that the feeder has taken from
// the backlog and no worker has begun, by the time they were taken (ms).
func (ns Namespace) InFlight() string { return ns.key("transit") }

// Feeder is a string: the process that feeds at the moment. It expires.
func (ns Namespace) Feeder() string { return ns.key("feeder") }

// FeederStandby is when the last of those who do not feed is to ask again (ms). It
// expires.
func (ns Namespace) FeederStandby() string { return ns.key("feeder-turn") }

// Breaker is a hash that exists while not everything may be sent: why, since
// when, what opens it. Only the pass in its field "pass" is valid.
// From "feed_from" (ms) on it wants "feed" rooms on their way to the queue.
func (ns Namespace) Breaker() string { return ns.key("breaker") }

// Unreplicated is a string: since when replicas of Redis do not confirm what is to be
// sent (ms). It expires.
func (ns Namespace) Unreplicated() string { return ns.key("unreplicated") }

// Gate is a hash of what the gate remembers: failures in a row, the last
// outcomes, how many requests were accepted, the newest TaskID.
func (ns Namespace) Gate() string { return ns.key("gate") }

// Endpoint is a string: the URL of the API that the namespace works with.
func (ns Namespace) Endpoint() string { return ns.key("endpoint") }

// Apps is a hash of SdkAppId to how many requests for it were accepted.
func (ns Namespace) Apps() string { return ns.key("apps") }

// Refused is a hash of snapshot id to how many requests had been accepted
// when this one's was refused by a code of the account, and the code.
func (ns Namespace) Refused() string { return ns.key("refused") }

// Suspended is a sorted set of the SdkAppIds that are suspended, or whose
// waiting snapshots are being released, by when that goes on (ms).
func (ns Namespace) Suspended() string { return ns.key("suspended") }

// Open is a sorted set of snapshot ids that were begun and are neither
// accepted nor ended, by the time of their last change (ms).
func (ns Namespace) Open() string { return ns.key("open") }

// Confirm is a sorted set of snapshot ids by the time (ms) of their next
// DescribeSnapshotTask: accepted ones, and unknown ones whose callback
// named a TaskID.
func (ns Namespace) Confirm() string { return ns.key("confirm") }

// Early is a sorted set of snapshot ids by the time (ms) from which on they
// may be polled, where quota is free, before their time in Confirm. Ids that
// are not in Confirm mean nothing. It expires.
func (ns Namespace) Early() string { return ns.key("early") }

// PollerStandby is when the last of those who look for snapshots to poll is to look
// again (ms). It expires.
func (ns Namespace) PollerStandby() string { return ns.key("poll-turn") }

// Pollers is a sorted set of those who poll, by until when (ms).
func (ns Namespace) Pollers() string { return ns.key("pollers") }

// Lease is a sorted set of the processes that do something for all, by until when
// (ms). It expires.
func (ns Namespace) Lease(what string) string { return ns.key("lease:" + what) }

// LeaseTurn is when the last of the others is to ask for a lease again (ms). It
// expires.
func (ns Namespace) LeaseTurn(what string) string { return ns.key("lease-turn:" + what) }

// Outbox is a sorted set of what is to be told by webhook, by when it is
// due to be handed on (ms): "snapshot:MS:ID" and "batch:MS:ID" with the time
// of the end, "images:MS:BATCH" of a batch whose images are copied, "schedule:MS:TICK" of a tick that failed.
func (ns Namespace) Outbox() string { return ns.key("notices") }

// Notifications is a hash of what is told by webhook: "snapshot", "batch",
// "images" and "schedule", each 1 or 0. It expires unless a worker that tells renews it.
func (ns Namespace) Notifications() string { return ns.key("tell") }

// WebhooksQueued is a sorted set of the webhooks for one host that asynq has, by
// when they were put there (ms). It expires.
func (ns Namespace) WebhooksQueued(host string) string { return ns.key("webhooks:" + host) }

// WebhooksGone is a sorted set of the receivers that have answered 410, by when
// they did (ms): batch, host and a hash of the URL. It expires.
func (ns Namespace) WebhooksGone() string { return ns.key("webhooks-gone") }

// Copies is a sorted set of the batches that have images to copy, "" among them
// for snapshots without one, by when one of theirs is due (ms).
func (ns Namespace) Copies() string { return ns.key("copies") }

// Archives is a sorted set of the batches that have images to copy, or copies, by
// when it is looked whether their lists are to be written (ms).
func (ns Namespace) Archives() string { return ns.key("archives") }

// Folders is a sorted set of the folders of copies by when they were last
// written (ms).
func (ns Namespace) Folders() string { return ns.key("folders") }

// CopyTrouble is a hash: why no image can be copied at the moment, and since
// when (ms). It expires.
func (ns Namespace) CopyTrouble() string { return ns.key("copytrouble") }

// Totals is a hash of counters over everything that ever ran here, and of what
// waits: "waiting" and "waiting_paused" rooms in batches, "images_pending".
func (ns Namespace) Totals() string { return ns.key("totals") }

// Audit is a stream: who has changed what.
func (ns Namespace) Audit() string { return ns.key("audit") }

// Journal is a hash of how far the logs of the workers tell: the creation time of
// a batch (ms), and the id of an entry of Audit.
func (ns Namespace) Journal() string { return ns.key("journal") }

// Logged is a string that says that a worker's log tells of something, and when a
// batch was begun (ms). It expires.
func (ns Namespace) Logged(what string) string { return ns.key("logged:" + what) }

// Workers is a hash of the id of a worker to what it says of itself (JSON).
func (ns Namespace) Workers() string { return ns.key("workers") }

// Draft is a hash: a list of rooms that a person has uploaded and not enqueued
// yet. It expires.
func (ns Namespace) Draft(id string) string { return ns.key("draft:" + id) }

// Owner is a string: who has enqueued a single room and sees only what is its
// own. It expires.
func (ns Namespace) Owner(snapshot string) string { return ns.key("owner:" + snapshot) }

// Replicated is an empty string, written to see that a replica has it and
// so everything before it. It expires at once.
func (ns Namespace) Replicated() string { return ns.key("replicated") }

// Batch is a hash: what the batch is and how many of its snapshots are in
// which state.
func (ns Namespace) Batch(id string) string { return ns.key("batch:" + id) }

// Rows is a hash of chunk number to chunk: the rooms of a batch, compressed; and
// of "canceled:ROW" for those that were canceled before it was their turn, and of
// the bars of its chart, "sent:N" and "ended:N".
func (ns Namespace) Rows(batch string) string { return ns.key("rows:" + batch) }

// Loading is a Rows hash of a batch that is still being pushed. It expires.
func (ns Namespace) Loading(token string) string { return ns.key("loading:" + token) }

// Snapshot is a hash, the record of one snapshot. It exists from the first
// attempt until it has ended and is packed.
func (ns Namespace) Snapshot(id string) string { return ns.key("snapshot:" + id) }

// CopiesOf is a hash of rows of a batch to what became of their images; of a
// snapshot without a batch it is under its own id and has one field, "0".
func (ns Namespace) CopiesOf(batchOrID string) string { return ns.key("copies:" + batchOrID) }

// Copying is a sorted set of the snapshots of a batch that have images to copy, by
// when they are due (ms); those without a batch are under "".
func (ns Namespace) Copying(batch string) string { return ns.key("copying:" + batch) }

// LostImages is a sorted set of the snapshots of a batch that have images that
// are lost, by when they were given up (ms); those without a batch are under "".
func (ns Namespace) LostImages(batch string) string { return ns.key("lost-images:" + batch) }

// Refeed is a list of the snapshot ids of a batch that are to be fed again.
func (ns Namespace) Refeed(batch string) string { return ns.key("again:" + batch) }

// Failed is a sorted set of the failed snapshots of a batch by when they ended
// (ms); those without a batch are under "".
func (ns Namespace) Failed(batch string) string { return ns.key("failed:" + batch) }

// Held is a sorted set of the snapshots of a batch whose outcome is unknown
// and that wait for a person to decide, by since when (ms); those without a
// batch are under "".
func (ns Namespace) Held(batch string) string { return ns.key("waiting:" + batch) }

// Suspension is a hash: why calls for an SdkAppId are not made, since when, and
// which snapshot may be sent to see whether they work again; or since when its
// snapshots fail.
func (ns Namespace) Suspension(app uint64) string {
	return ns.key("suspension:" + strconv.FormatUint(app, 10))
}

// SuspendedRooms is a list of the snapshot ids that wait for a suspended
// SdkAppId.
func (ns Namespace) SuspendedRooms(app uint64) string {
	return ns.Suspended() + ":" + strconv.FormatUint(app, 10)
}

// LoggedOut is an empty string: the session of that id was ended before it
// expired. It expires.
func (ns Namespace) LoggedOut(session string) string { return ns.key("loggedout:" + session) }

// Schedule is a hash: the last tick of a schedule, what became of it, and the
// tick that is being tried.
func (ns Namespace) Schedule(name string) string { return ns.key("schedule:" + name) }

// Ticking is a string: the worker that makes the ticks of a schedule at the
// moment. It expires.
func (ns Namespace) Ticking(schedule string) string { return ns.key("ticking:" + schedule) }

// FailedTick is a string: what became of a tick of which a webhook tells that
// it failed (JSON). It expires.
func (ns Namespace) FailedTick(tick string) string { return ns.key("failedtick:" + tick) }

// Limit is the prefix of the keys of one rate limit bucket: the quota of one
// API action.
func (ns Namespace) Limit(action string) string { return ns.key("limit:" + action) }

// Idempotency is a hash: what a client of the HTTP API has asked for under a
// key of its own, and what it was answered. It expires after a day.
func (ns Namespace) Idempotency(hash string) string { return ns.key("idempotency:" + hash) }

// Probe is a string, written to see whether Redis takes our scripts. It is
// gone at once.
func (ns Namespace) Probe() string { return ns.key("probe") }

// Packed is a hash of row number to the packed record of an ended snapshot of a
// batch; those without a batch are under "", by their ids.
func (ns Namespace) Packed(batch string) string { return ns.key("packed:" + batch) }

// Expiring is a list of the ids in Packed(""), by when they were packed.
func (ns Namespace) Expiring() string { return ns.key("expiring") }

// Unpacked is a sorted set of the ended snapshots whose records are to be
// packed, by when they ended (ms).
func (ns Namespace) Unpacked() string { return ns.key("unpacked") }

// Index is a hash of words to the snapshots that have them, see package ledger: of
// those whose record was made, or that were answered, on one day (UTC), counted
// since 1970. It expires.
func (ns Namespace) Index(day int64) string { return ns.key("index:" + strconv.FormatInt(day, 10)) }

// Indexes is a sorted set of the days that have an Index, by themselves.
func (ns Namespace) Indexes() string { return ns.key("indexes") }

// Epoch is a hash that tells a Redis that has lost its data from one that has not:
// an id that is made once, and a beat that only grows.
func (ns Namespace) Epoch() string { return ns.key("epoch") }

// Loss is a hash: when Redis was found to have lost data, last, and in which way.
// It expires.
func (ns Namespace) Loss() string { return ns.key("loss") }

// Missing is a set of the batches, and the snapshots without a batch, that were
// found to be missing then. It expires.
func (ns Namespace) Missing() string { return ns.key("missing") }

// Claim is a string: the snapshot that has claimed, of late, the task of that
// TaskID. It expires.
func (ns Namespace) Claim(taskID string) string { return ns.key("claim:" + taskID) }
