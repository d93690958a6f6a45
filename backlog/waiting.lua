-- Counts the rooms that wait in the open batches.
--
-- KEYS[1] ring   list of ids of the batches that have rooms left
-- ARGV[1] prefix of the batch hashes (same hash tag as the key)
-- Returns the number of rooms.
local rooms = 0
for _, batch in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local n = redis.call('HMGET', ARGV[1] .. batch, 'total', 'fed')
  rooms = rooms + (n[1] or 0) - (n[2] or 0)
end
return rooms
