-- Packs the record of a snapshot that has ended, if it is as it was read.
--
-- KEYS[20] expiring  list of the snapshots without a batch, by when they were packed
-- ARGV[5] packed   the record, packed
-- ARGV[6] ...      what it was when it was read: the number of its fields, ended_at,
--                  attempt, callbacks and retried_at, each "" where there was none
-- Returns 1, or 0 if it is not to be packed, or has changed.
local state, ended_at, attempt, callbacks, retried_at = get('state', 'ended_at', 'attempt', 'callbacks', 'retried_at')
if not ENDED[state] then
  redis.call('ZREM', UNPACKED, ID)
  return 0
end
if redis.call('HLEN', SNAPSHOT) ~= tonumber(ARGV[6]) or (ended_at or '') ~= ARGV[7] or (attempt or '') ~= ARGV[8]
  or (callbacks or '') ~= ARGV[9] or (retried_at or '') ~= ARGV[10] then
  return 0
end
if ROW then
  local left = redis.call('PTTL', BATCH)
  if left ~= -2 then
    redis.call('HSET', PACKED, ROW, ARGV[5])
    if left >= 0 and redis.call('PTTL', PACKED) == -1 then
      redis.call('PEXPIRE', PACKED, left + OUTLIVE)
    end
  end -- else the batch has expired, and its records with it
else
  redis.call('HSET', PACKED, ID, ARGV[5])
  redis.call('RPUSH', KEYS[20], ID)
end
redis.call('UNLINK', SNAPSHOT)
redis.call('ZREM', UNPACKED, ID)
-- The average of the last ones: older ones count half as much each time.
local n, bytes = unpack(redis.call('HMGET', TOTALS, 'packed', 'packed_bytes'))
n, bytes = (n or 0) + 1, (bytes or 0) + #ARGV[5]
if n >= 2000 then
  n, bytes = n / 2, math.floor(bytes / 2)
end
redis.call('HSET', TOTALS, 'packed', n, 'packed_bytes', bytes)
return 1
