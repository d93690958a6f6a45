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
-- KEYS[8] ...         of each id that is given: its record, the hash of its batch,
--                     and its batch's list of snapshots to feed again
-- ARGV[2] SdkAppId
-- ARGV[3] ...         ids that were at the head of the list; what is not there any
--                     more is another call's
-- Returns {how many are left, id to enqueue ...}.
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
    -- It was canceled, or accepted late, while it waited.
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
