-- Lets snapshots go on that were parked because their SdkAppId was held: those
-- of a batch are fed again in the batch's turn, the others are returned. The
-- SdkAppId is held until none is left, so that a release that is broken off is
-- made good by the next one.
--
-- KEYS[1] parked   list of snapshot ids
-- KEYS[2] ring     list of the batches that have rooms to feed
-- KEYS[3] open     sorted set of snapshots begun and not accepted or ended
-- KEYS[4] held     hash of the SdkAppIds that are held
-- ARGV[1] SdkAppId
-- ARGV[2] number   at most so many
-- ARGV[3], ARGV[4], ARGV[5] prefixes of the records, of the batch hashes, and
--                  of the lists of snapshots to feed again (same hash tag)
-- Returns {how many are left, id to enqueue ...}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local singles = {}
for _ = 1, tonumber(ARGV[2]) do
  local id = redis.call('LPOP', KEYS[1])
  if not id then
    break
  end
  local state = redis.call('HGET', ARGV[3] .. id, 'state')
  local batch = string.match(id, '^(.+)%.%d+$')
  if state ~= 'queued' and state ~= 'unknown' then
    -- It was canceled, or accepted late, while it was parked.
  elseif batch and redis.call('EXISTS', ARGV[4] .. batch) == 1 then
    redis.call('RPUSH', ARGV[5] .. batch, id)
    if not redis.call('LPOS', KEYS[2], batch) then
      redis.call('LPUSH', KEYS[2], batch)
    end
  else
    redis.call('ZADD', KEYS[3], now, id)
    singles[#singles + 1] = id
  end
end
local left = redis.call('LLEN', KEYS[1])
if left == 0 then
  redis.call('HDEL', KEYS[4], ARGV[1])
end
return {left, unpack(singles)}
