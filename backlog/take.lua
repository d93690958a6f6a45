-- Takes snapshots from the open batches, one from each in turn, until enough
-- are in transit. Those that are to be fed again come first in their batch.
-- What has been in transit for long lies with a worker that has died or hangs:
-- it does not count, up to a bound, or nothing would be fed until it is back.
--
-- KEYS[1] ring     list of ids of the batches that have rooms left
-- KEYS[2] transit  sorted set of snapshot ids taken and not begun, by when (ms)
-- KEYS[3] feeder   the owner who feeds at the moment
-- KEYS[4] breaker  of the gate: exists while not everything may be sent; from
--                  its "feed_from" (ms) on it wants "feed" rooms to send
-- KEYS[5] takers   the latest turn that was given to an owner who does not feed (ms)
-- ARGV[1] owner    who asks
-- ARGV[2] depth    how many may be in transit
-- ARGV[3] lease    ms until another owner may feed
-- ARGV[4] stale    ms after which a snapshot in transit is handed out again
-- ARGV[5] prefix of the batch hashes (same hash tag as the keys)
-- ARGV[6] prefix of the lists of snapshots to feed again (the same)
-- ARGV[7] late     ms after which a snapshot in transit does not count
-- ARGV[8] bound    how many may be in transit, those that do not count included
-- Returns {wait, snapshot id to enqueue ...}: wait is after how many ms it is this
-- owner's turn to ask again, 0 if it feeds, -1 if no batch has rooms left. Those
-- who do not feed have their turns 100 ms apart, but after three seconds at the
-- latest: soon enough after the lease, and together not too often.
local ring, transit = KEYS[1], KEYS[2]
local depth, lease = tonumber(ARGV[2]), tonumber(ARGV[3])

local BETWEEN, LATEST = 100, 3000

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- turn is the wait of an owner who does not feed, and is not to ask before soonest.
local function turn(soonest)
  local latest = tonumber(redis.call('GET', KEYS[5]) or 0)
  local at = math.max(soonest, math.min(latest + BETWEEN, now + LATEST))
  redis.call('SET', KEYS[5], at, 'PX', LATEST)
  return at - now
end

local feeder = redis.call('GET', KEYS[3])
if feeder and feeder ~= ARGV[1] then
  return {turn(now + math.max(1, redis.call('PTTL', KEYS[3])))}
end

local stopped, feed, feed_from = unpack(redis.call('HMGET', KEYS[4], 'cause', 'feed', 'feed_from'))
if stopped then
  if not feed_from or now < tonumber(feed_from) then
    return {turn(now + lease)}
  end
  depth = math.min(depth, tonumber(feed))
end

local late = now - ARGV[7]
local stale = redis.call('ZRANGEBYSCORE', transit, '-inf', now - ARGV[4], 'LIMIT', 0, depth)
if #stale == 0 and redis.call('EXISTS', ring) == 0 then
  return {-1}
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', lease)

local reply = {0}
for _, id in ipairs(stale) do
  redis.call('ZADD', transit, late, id)
  reply[#reply + 1] = id
end

local room = math.min(
  depth - redis.call('ZCOUNT', transit, '(' .. late, '+inf'),
  ARGV[8] - redis.call('ZCARD', transit)
)
while room > 0 do
  local batch = redis.call('RPOPLPUSH', ring, ring)
  if not batch then
    break
  end
  local key, again = ARGV[5] .. batch, ARGV[6] .. batch
  local total, fed, paused = unpack(redis.call('HMGET', key, 'total', 'fed', 'paused'))
  total, fed = tonumber(total or 0), tonumber(fed or 0)
  local id = not paused and redis.call('LPOP', again)
  if not id and not paused and fed < total then
    fed = redis.call('HINCRBY', key, 'fed', 1)
    id = batch .. '.' .. fed
  end
  if id then
    redis.call('ZADD', transit, now, id)
    reply[#reply + 1] = id
    room = room - 1
  end
  if paused or fed >= total and redis.call('EXISTS', again) == 0 then
    redis.call('LREM', ring, 1, batch)
  end
end
if redis.call('EXISTS', ring) == 0 then
  reply[1] = -1
end
return reply
