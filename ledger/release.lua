-- Lets snapshots go on that were parked because their SdkAppId was held: those
-- of a batch are fed again in the batch's turn, the others are returned.
--
-- KEYS[1] parked  list of snapshot ids
-- KEYS[2] ring    list of the batches that have rooms to feed
-- KEYS[3] open    sorted set of snapshots begun and not accepted or ended
-- ARGV[1] number  at most so many
-- ARGV[2] prefix of the lists of snapshots to feed again (same hash tag)
-- Returns {how many were taken off the list, id to enqueue ...}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local singles = {0}
for _ = 1, ARGV[1] do
  local id = redis.call('LPOP', KEYS[1])
  if not id then
    break
  end
  singles[1] = singles[1] + 1
  local batch = string.match(id, '^(.+)%.%d+$')
  if batch then
    redis.call('RPUSH', ARGV[2] .. batch, id)
    if not redis.call('LPOS', KEYS[2], batch) then
      redis.call('LPUSH', KEYS[2], batch)
    end
  else
    redis.call('ZADD', KEYS[3], now, id)
    singles[#singles + 1] = id
  end
end
return singles
