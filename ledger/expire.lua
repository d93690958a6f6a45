-- Deletes the records of single snapshots whose retention is over.
--
-- KEYS[1] packed    hash of id to packed record
-- KEYS[2] expiring  list of ids in the order of their packing. An id without a packed
--                   record was retried; it is appended again when it is packed again
-- ARGV[1] retention  ms
-- ARGV[2] number     of ids to process, at most
-- Returns the number of ids processed.
local t = redis.call('TIME')
local over = t[1] - ARGV[1] / 1000 -- Unix s
for i = 1, tonumber(ARGV[2]) do
  local id = redis.call('LINDEX', KEYS[2], 0)
  if not id then
    return i - 1
  end
  local packed = redis.call('HGET', KEYS[1], id)
  if packed then
    local a, b, c, d = string.byte(packed, 3, 6) -- when it has ended
    if ((a * 256 + b) * 256 + c) * 256 + d > over then
      return i - 1
    end
    redis.call('HDEL', KEYS[1], id)
  end
  redis.call('LPOP', KEYS[2])
end
return tonumber(ARGV[2])
