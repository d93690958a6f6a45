-- Releases snapshots that wait for an application: those of a batch are fed again
-- with the batch, the others are returned. The application stays due until none is
-- left, so that an interrupted release is completed by the next one. If it is
-- suspended again meanwhile, they keep waiting.
--
-- KEYS[3] suspended   sorted set of suspended SdkAppIds by their next step (ms)
-- KEYS[4] suspension  hash of this SdkAppId, see report.lua
-- KEYS[5] rooms       list of the snapshots that wait for it
-- KEYS[6] open        sorted set of snapshots begun and not accepted or ended
-- KEYS[7] ring        list of the batches that have rooms to feed
-- KEYS[8] ...         three for each given id: its record, the hash of its batch, and
--                     the list of snapshots of its batch to feed again
-- ARGV[2] SdkAppId
-- ARGV[3] ...         ids read from the head of the list; another call may have
--                     released some of them meanwhile
-- Returns {number left, id to enqueue ...}.
if redis.call('HEXISTS', KEYS[4], 'since') == 1 then
  return {0}
end
local singles = {}
for i = 3, #ARGV do
  local id, key = ARGV[i], 8 + 3 * (i - 3)
  if redis.call('LINDEX', KEYS[5], 0) ~= id then
    break
  end
  redis.call('LPOP', KEYS[5])
  local state = redis.call('HGET', KEYS[key], 'state')
  local batch = string.match(id, '^(.+)%.%d+$')
  if state ~= 'queued' and state ~= 'unknown' then
    -- It was canceled, or accepted late, while it waited: nothing to release.
  elseif batch and redis.call('EXISTS', KEYS[key + 1]) == 1 then
    redis.call('RPUSH', KEYS[key + 2], id)
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
