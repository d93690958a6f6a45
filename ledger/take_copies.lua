-- Leases snapshots of one batch that have images to copy, and puts the batch behind
-- the other batches that have some.
--
-- KEYS[1] copying  sorted set of the snapshots of the batch by when they are due (ms)
-- KEYS[2] queues   sorted set of batches by when a snapshot of theirs is due (ms)
-- ARGV[1] batch id or ""
-- ARGV[2] number   of snapshots, at most
-- ARGV[3] lease    ms until a leased snapshot is due again
-- Returns {id, id ...}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], now + ARGV[3], id)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], math.max(tonumber(first[2]), now), ARGV[1])
end
return ids
