-- Hands out snapshots to poll: those that are due, the earliest first, and
-- where they are fewer than wanted those that may be polled early. Nobody else
-- gets them until the lease is over; without an answer they may be polled
-- early again before that. A few owners poll, so that each has much to report and
-- to reserve in one round trip; the others take over where one looks no more.
--
-- KEYS[1] confirm  sorted set of snapshots by their next poll (ms)
-- KEYS[2] early    sorted set of them by when they may be polled early (ms)
-- KEYS[3] standby  the latest call that was scheduled for an owner that does not poll (ms)
-- KEYS[4] pollers  sorted set of the owners who poll, by until when (ms)
-- ARGV[1] number   at most so many
-- ARGV[2] lease    ms
-- ARGV[3] hedge    ms until one may be polled early if no answer has come
-- ARGV[4] owner    who asks
-- ARGV[5] owners   so many may poll at a time
-- ARGV[6] hold     ms until another may poll instead of an owner who looks no more
-- Returns {now, wait, turn, due, id...}: the time (ms); ms until there is more, as
-- far as is known now (-1: nothing waits, or others poll it); ms until it is the
-- owner's turn to look again, 0 if it polls: the others look one after the other,
-- all together ten times a second, but each after ten seconds at the latest; how
-- many of the ids, from the first one on, are due.
local CONFIRM, EARLY, STANDBY, POLLERS, NUMBER = KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[1])
local OWNER = ARGV[4]
local STALE = 100 -- members of early without meaning that are dropped in one go
local BETWEEN, LATEST = 100, 10000 -- two turns; the next turn of an owner

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

-- Schedules the next call of an owner that does not poll, at the earliest at soonest
-- (ms), and returns how long that is (ms).
local function standby(soonest)
  local at = math.max(soonest, math.min(tonumber(redis.call('GET', STANDBY) or 0) + BETWEEN, NOW + LATEST))
  redis.call('SET', STANDBY, at, 'PX', LATEST)
  return at - NOW
end

redis.call('ZREMRANGEBYSCORE', POLLERS, '-inf', NOW)
redis.call('ZREM', POLLERS, OWNER) -- and there again unless there are enough without it
if redis.call('ZCARD', POLLERS) >= tonumber(ARGV[5]) then
  return {NOW, -1, standby(tonumber(redis.call('ZRANGE', POLLERS, 0, 0, 'WITHSCORES')[2])), 0}
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
  redis.call('PEXPIRE', EARLY, 60 * 60 * 1000) -- where nobody polls any more
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
  reply[3] = standby(NOW)
else
  redis.call('ZADD', POLLERS, NOW + ARGV[6], OWNER)
  redis.call('PEXPIRE', POLLERS, 60 * 60 * 1000)
end
for _, id in ipairs(ids) do
  reply[#reply + 1] = id
end
return reply
