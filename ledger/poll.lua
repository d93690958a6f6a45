-- Leases snapshots to poll to an owner: first those that are due, the earliest first,
-- then those that may be polled early. Without an answer they may be polled early
-- again before the lease ends. Only a few owners poll, so that each can report and
-- reserve much in one round trip; another takes over if one stops calling.
--
-- KEYS[1] confirm  sorted set of snapshots by their next poll (ms)
-- KEYS[2] early    sorted set of snapshots by when they may be polled early (ms)
-- KEYS[3] standby  the latest call that was scheduled for an owner that does not poll (ms)
-- KEYS[4] pollers  sorted set of the owners that poll, by until when (ms)
-- ARGV[1] number   of snapshots, at most
-- ARGV[2] lease    ms
-- ARGV[3] hedge    ms until a snapshot may be polled early if no answer has come
-- ARGV[4] owner    the caller
-- ARGV[5] owners   number of them that may poll at a time
-- ARGV[6] hold     ms without a call after which an owner does not poll any more
-- Returns {now, wait, standby, due, id ...}
--   now      time (ms)
--   wait     ms until another snapshot may be polled; -1: none is planned, or others poll
--   standby  ms until this owner is to call again, 0 if it polls. The others call one
--            after another, four times a second in total if one polls, else ten times,
--            each at least every ten seconds
--   due      how many of the ids are due; the rest may be polled early
local CONFIRM, EARLY, STANDBY, POLLERS, NUMBER = KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[1])
local OWNER = ARGV[4]
local STALE = 100 -- obsolete members of early to drop in one call
local BETWEEN = {poll = 250, idle = 100} -- ms between standby calls, while others poll and while none does
local LATEST = 10000 -- ms until the next standby call of an owner

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

-- Schedules the next call of an owner that does not poll, at the earliest at soonest
-- (ms), and returns how long that is (ms).
local function standby(soonest, between)
  local at = math.max(soonest, math.min(tonumber(redis.call('GET', STANDBY) or 0) + between, NOW + LATEST))
  redis.call('SET', STANDBY, at, 'PX', LATEST)
  return at - NOW
end

redis.call('ZREMRANGEBYSCORE', POLLERS, '-inf', NOW)
redis.call('ZREM', POLLERS, OWNER) -- added again below unless there are enough others
if redis.call('ZCARD', POLLERS) >= tonumber(ARGV[5]) then
  return {NOW, -1, standby(tonumber(redis.call('ZRANGE', POLLERS, 0, 0, 'WITHSCORES')[2]), BETWEEN.poll), 0}
end

local ids = redis.call('ZRANGEBYSCORE', CONFIRM, '-inf', NOW, 'LIMIT', 0, NUMBER)
local due = #ids
if due < NUMBER then
  local taken = {}
  for _, id in ipairs(ids) do
    taken[id] = true
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', EARLY, '-inf', NOW, 'LIMIT', 0, NUMBER + STALE)) do
    if not redis.call('ZSCORE', CONFIRM, id) then
      redis.call('ZREM', EARLY, id)
    elseif #ids < NUMBER and not taken[id] then
      ids[#ids + 1] = id
    end
  end
end
for _, id in ipairs(ids) do
  redis.call('ZADD', CONFIRM, NOW + ARGV[2], id)
  redis.call('ZADD', EARLY, NOW + ARGV[3], id)
end
if #ids > 0 then
  redis.call('PEXPIRE', EARLY, 60 * 60 * 1000) -- in case polling ends
end

local wait = -1
for _, key in ipairs({CONFIRM, EARLY}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first then
    local left = math.max(0, math.ceil(first - NOW))
    wait = wait < 0 and left or math.min(wait, left)
  end
end

local reply = {NOW, wait, 0, due}
if wait < 0 then
  redis.call('ZREM', POLLERS, OWNER)
  reply[3] = standby(NOW, BETWEEN.idle)
else
  redis.call('ZADD', POLLERS, NOW + ARGV[6], OWNER)
  redis.call('PEXPIRE', POLLERS, 60 * 60 * 1000)
end
for _, id in ipairs(ids) do
  reply[#reply + 1] = id
end
return reply
