-- Ends the hold of an SdkAppId for which nothing waits any more: what was
-- parked has been canceled, or was accepted late.
--
-- KEYS[1] parked   list of snapshot ids
-- KEYS[2] held     hash of the SdkAppIds that are held
-- ARGV[1] SdkAppId
-- ARGV[2] number   at most so many are looked at
-- ARGV[3] prefix of the records (same hash tag)
-- Returns 1 if it is not held any more, else 0.
for _ = 1, tonumber(ARGV[2]) do
  local id = redis.call('LINDEX', KEYS[1], 0)
  if not id then
    redis.call('HDEL', KEYS[2], ARGV[1])
    return 1
  end
  local state = redis.call('HGET', ARGV[3] .. id, 'state')
  if state == 'queued' or state == 'unknown' then
    return 0
  end
  redis.call('LPOP', KEYS[1])
end
return 0
