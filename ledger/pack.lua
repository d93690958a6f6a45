-- Packs the record of a snapshot that has ended, unless it has changed since it was
-- read.
--
-- KEYS[20] expiring  list of single snapshots in the order of their packing
-- ARGV[5] packed   the packed record
-- ARGV[6] ...      of the record as it was read: the number of its fields, ended_at,
--                  attempt, callbacks and retried_at, each "" if missing
-- Returns 1, or 0 if the snapshot has not ended, or the record has changed.
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
  end -- else the batch has expired with its records
else
  redis.call('HSET', PACKED, ID, ARGV[5])
  redis.call('RPUSH', KEYS[20], ID)
end
redis.call('UNLINK', SNAPSHOT)
redis.call('ZREM', UNPACKED, ID)
-- For the average size: halving both sums lets older records count less.
local n, bytes = unpack(redis.call('HMGET', TOTALS, 'packed', 'packed_bytes'))
n, bytes = (n or 0) + 1, (bytes or 0) + #ARGV[5]
if n >= 2000 then
  n, bytes = n / 2, math.floor(bytes / 2)
end
redis.call('HSET', TOTALS, 'packed', n, 'packed_bytes', bytes)
return 1
