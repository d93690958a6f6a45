-- Acquires or renews a lease for an owner. At most NUMBER owners hold one at a time.
--
-- KEYS[1] holders   sorted set: owner -> expiry of its lease (Unix ms)
-- KEYS[2] retry     string: the latest retry time that was given to an owner without a lease (Unix ms)
-- ARGV[1] owner
-- ARGV[2] number    of leases
-- ARGV[3] duration  of a lease (ms)
-- Returns -1 if the owner now holds a lease, else the ms until it should try again.
--
-- Retry times are 250 ms apart, and at most ten seconds ahead: a lease that expires is taken soon, and many processes
-- together do not call too often.
local HOLDERS, RETRY, OWNER, NUMBER, DURATION = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local RETRY_GAP, RETRY_MAX = 250, 10000

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

redis.call('ZREMRANGEBYSCORE', HOLDERS, '-inf', NOW)
-- After the clock of the server was set back, drop leases that end later than a new one would.
redis.call('ZREMRANGEBYSCORE', HOLDERS, '(' .. (NOW + DURATION), '+inf')
redis.call('ZREM', HOLDERS, OWNER) -- not renewed if NUMBER others hold one
if redis.call('ZCARD', HOLDERS) < NUMBER then
  redis.call('ZADD', HOLDERS, NOW + DURATION, OWNER)
  redis.call('PEXPIRE', HOLDERS, DURATION)
  return -1
end
local at = math.max(NOW, math.min(tonumber(redis.call('GET', RETRY) or 0) + RETRY_GAP, NOW + RETRY_MAX))
redis.call('SET', RETRY, at, 'PX', RETRY_MAX)
return at - NOW
