-- Lets snapshots go on that wait for an application: those of a batch are fed
-- again in the batch's turn, the others are returned. The application is due
-- until none is left, so that a release that is broken off is made good by the
-- next one. If it is suspended again meanwhile they go on waiting.
--
-- KEYS[3] suspended   sorted set of suspended SdkAppIds by when they go on (ms)
-- KEYS[4] suspension  hash of this SdkAppId
-- KEYS[5] rooms       list of the snapshots that wait for it
-- KEYS[6] open        sorted set of snapshots begun and not accepted or ended
-- KEYS[7] ring        list of the batches that have rooms to feed
-- ARGV[2] SdkAppId
-- ARGV[3] number      at most so many
-- ARGV[4], ARGV[5], ARGV[6] prefixes of the records, of the batch hashes, and
--                     of the lists of snapshots to feed again (same hash tag)
-- Returns {how many are left, id to enqueue ...}.
if redis.call('HEXISTS', KEYS[4], 'since') == 1 then
  return {0}
end
local singles = {}
for _ = 1, tonumber(ARGV[3]) do
  local id = redis.call('LPOP', KEYS[5])
  if not id then
    break
  end
  local state = redis.call('HGET', ARGV[4] .. id, 'state')
  local batch = string.match(id, '^(.+)%.%d+$')
  if state ~= 'queued' and state ~= 'unknown' then
    -- It was canceled, or accepted late, while it waited.
  elseif batch and redis.call('EXISTS', ARGV[5] .. batch) == 1 then
    redis.call('RPUSH', ARGV[6] .. batch, id)
    if not redis.call('LPOS', KEYS[7], batch) then
      redis.call('LPUSH', KEYS[7], batch)
    end
  else
    redis.call('ZADD', KEYS[6], NOW, id)
    singles[#singles + 1] = id
  end
end
local left = redis.call('LLEN', KEYS[5])
if left == 0 then
  redis.call('ZREM', KEYS[3], ARGV[2])
end
return {left, unpack(singles)}
