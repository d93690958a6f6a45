-- Takes snapshots from the open batches, one from each in turn, until enough are in
-- flight. Snapshots to feed again come first in their batch. A snapshot that has been
-- in flight for long is with a worker that is lost or hangs. Up to a bound it does not
-- count; else nothing would be fed until its worker is back.
--
-- A script must declare its keys, but only Redis knows which batches come next. So the
-- caller names the batches that came next after its last call. If others come next
-- now, the reply names them for another call.
--
-- KEYS[1] ring     list of the batches that have rooms to feed
-- KEYS[2] in flight sorted set of snapshots taken and not begun, by the time of taking (ms)
-- KEYS[3] feeder   string: the owner that feeds at the moment; expires
-- KEYS[4] breaker  hash of the gate, exists while sending is stopped; from "feed_from"
--                  (ms) on, "feed" rooms are wanted for trials
-- KEYS[5] standby  the latest call that was scheduled for an owner that does not feed (ms)
-- KEYS[6] totals   hash of counters of the namespace
-- KEYS[7] ...      three for each named batch: its hash, its list of snapshots to feed
--                  again, and its rows
-- ARGV[1] owner    the caller
-- ARGV[2] depth    how many snapshots may be in flight
-- ARGV[3] lease    ms until another owner may feed
-- ARGV[4] stale    ms after which a snapshot in flight is taken again
-- ARGV[5] late     ms after which a snapshot in flight does not count
-- ARGV[6] bound    how many may be in flight, late ones included
-- ARGV[7] next     how many batches to name for the next call, at most
-- ARGV[8] ...      ids of the named batches
-- Returns {wait, more, {batch id ...}, {snapshot id to enqueue ...}}
--   wait     ms until this owner is to call again; 0: it feeds; -1: no batch has rooms
--            left. Owners that do not feed call 100 ms apart, each at least every ten
--            seconds: soon after the end of a lease, and in total not too often
--   more     1 if another call can take more at once
--   batches  to name in the next call
local ring, in_flight = KEYS[1], KEYS[2]
local depth, lease = tonumber(ARGV[2]), tonumber(ARGV[3])

local BETWEEN, LATEST = 100, 10000 -- ms between standby calls; until the next one of an owner
local ROWS = 1000 -- rows that one call processes at most, canceled ones included

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
local stale = redis.call('ZRANGEBYSCORE', in_flight, '-inf', now - ARGV[4], 'LIMIT', 0, depth)
local empty = redis.call('EXISTS', ring) == 0
if empty and (redis.call('HGET', KEYS[6], 'waiting') or '0') ~= '0' then
  redis.call('HSET', KEYS[6], 'waiting', 0) -- corrects any drift of the counter
end
if #stale == 0 and empty then
  return {-1, 0, {}, {}}
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', lease)

local ids = {}
for _, id in ipairs(stale) do
  redis.call('ZADD', in_flight, late, id)
  ids[#ids + 1] = id
end

local named = {} -- batch id to the index of its first key
for i = 8, #ARGV do
  named[ARGV[i]] = 7 + 3 * (i - 8)
end
local room = math.min(
  depth - redis.call('ZCOUNT', in_flight, '(' .. late, '+inf'),
  ARGV[6] - redis.call('ZCARD', in_flight)
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
    redis.call('ZADD', in_flight, now, id)
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
