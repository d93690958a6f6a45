-- Gives or renews a lease, of which a few of many owners may have one at a time.
--
-- KEYS[1] holders  sorted set of the owners, by until when (ms)
-- KEYS[2] turn     the latest turn that an owner without a lease was given (ms)
-- ARGV[1] owner    who asks
-- ARGV[2] number   of leases
-- ARGV[3] hold     ms that one lasts
-- Returns -1 if the owner has a lease; else ms until its turn to ask again. The
-- turns are 250 ms apart, but after ten seconds at the latest: soon enough where
-- a lease has run out, and together not too often.
local HOLDERS, TURN, OWNER, NUMBER, HOLD = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local BETWEEN, LATEST = 250, 10000

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

redis.call('ZREMRANGEBYSCORE', HOLDERS, '-inf', NOW)
-- The server's clock may have been set back: no lease lasts longer than a new one.
redis.call('ZREMRANGEBYSCORE', HOLDERS, '(' .. (NOW + HOLD), '+inf')
redis.call('ZREM', HOLDERS, OWNER) -- it does without its lease where there are enough others
if redis.call('ZCARD', HOLDERS) < NUMBER then
  redis.call('ZADD', HOLDERS, NOW + HOLD, OWNER)
  redis.call('PEXPIRE', HOLDERS, HOLD)
  return -1
end
local at = math.max(NOW, math.min(tonumber(redis.call('GET', TURN) or 0) + BETWEEN, NOW + LATEST))
redis.call('SET', TURN, at, 'PX', LATEST)
return at - NOW
