-- Takes snapshots from the open batches, one from each in turn, until enough
-- are in transit. Those that are to be fed again come first in their batch.
-- What has been in transit for long lies with a worker that has died or hangs:
-- it does not count, up to a bound, or nothing would be fed until it is back.
--
-- Whose turn it is only Redis knows, and each key has to be named: so the caller
-- names the batches that were next at its last call. Where others are next now
-- nothing is taken from them before the next call, which names them.
--
-- KEYS[1] ring     list of ids of the batches that have rooms left
-- KEYS[2] transit  sorted set of snapshot ids taken and not begun, by when (ms)
-- KEYS[3] feeder   the owner who feeds at the moment
-- KEYS[4] breaker  of the gate: exists while not everything may be sent; from
--                  its "feed_from" (ms) on it wants "feed" rooms to send
-- KEYS[5] standby  the latest call that was scheduled for an owner that does not feed (ms)
-- KEYS[6] totals   hash of counters
-- KEYS[7] ...      of each batch that is named: its hash, list of snapshots to
--                  feed again, and rows
-- ARGV[1] owner    who asks
-- ARGV[2] depth    how many may be in transit
-- ARGV[3] lease    ms until another owner may feed
-- ARGV[4] stale    ms after which a snapshot in transit is handed out again
-- ARGV[5] late     ms after which a snapshot in transit does not count
-- ARGV[6] bound    how many may be in transit, those that do not count included
-- ARGV[7] next     how many batches are to be named at the next call
-- ARGV[8] ...      the batches that are named
-- Returns {wait, more, {batch id ...}, {snapshot id to enqueue ...}}: wait is after
-- how many ms it is this owner's turn to ask again, 0 if it feeds, -1 if no batch
-- has rooms left; more is 1 where the next call, at once, will take more; the
-- batches are those to name then. Those who do not feed have their turns 100 ms
-- apart, but after ten seconds at the latest: soon enough after the lease, and
-- together not too often.
local ring, transit = KEYS[1], KEYS[2]
local depth, lease = tonumber(ARGV[2]), tonumber(ARGV[3])

local BETWEEN, LATEST = 100, 10000
local ROWS = 1000 -- that one call goes over, canceled ones included

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- Schedules the next call of an owner that does not feed, at the earliest at soonest (ms).
local function standby(soonest)
  local latest = tonumber(redis.call('GET', KEYS[5]) or 0)
  local at = math.max(soonest, math.min(latest + BETWEEN, now + LATEST))
  redis.call('SET', KEYS[5], at, 'PX', LATEST)
  return {at - now, 0, {}, {}}
end

local feeder = redis.call('GET', KEYS[3])
if feeder and feeder ~= ARGV[1] then
  return standby(now + math.max(1, redis.call('PTTL', KEYS[3])))
end

local stopped, feed, feed_from = unpack(redis.call('HMGET', KEYS[4], 'cause', 'feed', 'feed_from'))
if stopped then
  if not feed_from or now < tonumber(feed_from) then
    return standby(now + lease)
  end
  depth = math.min(depth, tonumber(feed))
end

local late = now - ARGV[5]
local stale = redis.call('ZRANGEBYSCORE', transit, '-inf', now - ARGV[4], 'LIMIT', 0, depth)
local empty = redis.call('EXISTS', ring) == 0
if empty and (redis.call('HGET', KEYS[6], 'waiting') or '0') ~= '0' then
  redis.call('HSET', KEYS[6], 'waiting', 0) -- whatever was counted
end
if #stale == 0 and empty then
  return {-1, 0, {}, {}}
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', lease)

local ids = {}
for _, id in ipairs(stale) do
  redis.call('ZADD', transit, late, id)
  ids[#ids + 1] = id
end

local named = {} -- where the keys of a batch begin
for i = 8, #ARGV do
  named[ARGV[i]] = 7 + 3 * (i - 8)
end
local room = math.min(
  depth - redis.call('ZCOUNT', transit, '(' .. late, '+inf'),
  ARGV[6] - redis.call('ZCARD', transit)
)
local rows, more, waiting = 0, 0, 0
while room > 0 do
  local batch = redis.call('LINDEX', ring, -1)
  if not batch then
    break
  end
  local key = named[batch]
  if not key or rows >= ROWS then
    more = 1
    break
  end
  redis.call('RPOPLPUSH', ring, ring)
  local total, fed, paused, ahead = unpack(redis.call('HMGET', KEYS[key], 'total', 'fed', 'paused', 'ahead'))
  total, fed, ahead = tonumber(total or 0), tonumber(fed or 0), tonumber(ahead or 0)
  local id = not paused and redis.call('LPOP', KEYS[key + 1])
  while not id and not paused and fed < total and rows < ROWS do
    fed, rows = redis.call('HINCRBY', KEYS[key], 'fed', 1), rows + 1
    if ahead > 0 and redis.call('HDEL', KEYS[key + 2], 'canceled:' .. fed) == 1 then
      ahead = redis.call('HINCRBY', KEYS[key], 'ahead', -1)
    else
      id, waiting = batch .. '.' .. fed, waiting + 1
    end
  end
  if id then
    redis.call('ZADD', transit, now, id)
    ids[#ids + 1] = id
    room = room - 1
  end
  if paused or fed >= total and redis.call('EXISTS', KEYS[key + 1]) == 0 then
    redis.call('LREM', ring, 1, batch)
  end
end
if waiting > 0 then
  redis.call('HINCRBY', KEYS[6], 'waiting', -waiting)
end
local next = {}
for i, batch in ipairs(redis.call('LRANGE', ring, -ARGV[7], -1)) do
  next[i] = batch
end
return {#next == 0 and -1 or 0, more, next, ids}
