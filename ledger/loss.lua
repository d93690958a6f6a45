-- Records that Redis has lost data, and what is missing. Reports of several processes
-- within a minute are one loss.
--
-- KEYS[1] loss     hash of the last loss: kind, at (ms), told (1: it has a notice)
-- KEYS[2] missing  set of the ids of missing batches and single snapshots
-- KEYS[3] outbox   sorted set of notices
-- ARGV[1] kind     emptied | older
-- ARGV[2] shown    ms that the loss is shown
-- ARGV[3] notify   "1" to make a notice
-- ARGV[4] ...      missing ids
-- Returns the time of the first report (ms).
local MINUTE, DAY = 60 * 1000, 24 * 60 * 60 * 1000 -- ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kind, at = unpack(redis.call('HMGET', KEYS[1], 'kind', 'at'))
if kind ~= ARGV[1] or now - at > MINUTE then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'at', now)
  at = now
end
for i = 4, #ARGV do
  redis.call('SADD', KEYS[2], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if ARGV[3] == '1' and redis.call('HSETNX', KEYS[1], 'told', 1) == 1 then
  redis.call('ZADD', KEYS[3], now, 'loss:' .. at .. ':redis')
  redis.call('PEXPIRE', KEYS[3], 2 * DAY)
end
return tonumber(at)
