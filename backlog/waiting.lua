-- Counts the rooms that wait in the batches that are not complete.
--
-- KEYS[1] ring    list of ids of the batches that have rooms left
-- KEYS[2] paused  set of ids of batches that were paused; those that are not
--                 any more are taken out
-- ARGV[1] prefix of the batch hashes (same hash tag as the keys)
-- Returns {rooms in turn, rooms of paused batches}.
local in_turn, paused = 0, 0
for _, batch in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local n = redis.call('HMGET', ARGV[1] .. batch, 'total', 'fed')
  in_turn = in_turn + (n[1] or 0) - (n[2] or 0)
end
for _, batch in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local total, fed, is_paused, ended_at =
    unpack(redis.call('HMGET', ARGV[1] .. batch, 'total', 'fed', 'paused', 'ended_at'))
  if is_paused and not ended_at then
    paused = paused + (total or 0) - (fed or 0)
  else
    redis.call('SREM', KEYS[2], batch)
  end
end
return {in_turn, paused}
