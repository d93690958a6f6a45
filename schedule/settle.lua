-- Writes what became of a tick, unless it or a later one is settled already: of
-- several workers that made the same tick the first one tells.
--
-- KEYS[1] schedule hash
-- ARGV[1] name of the field that holds the last tick (ms)
-- ARGV[2] tick     ms
-- ARGV[3] outcome  JSON
-- ARGV[4] batch    that was made, or ""
-- ARGV[5] missed   how many ticks were not made
-- ARGV[6] name of the field that holds the tick that is tried
-- Returns 1, or 0 if it was settled before.
local last = redis.call('HGET', KEYS[1], ARGV[1])
if last and tonumber(last) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'outcome', ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'batch', ARGV[4])
end
redis.call('HINCRBY', KEYS[1], 'missed', ARGV[5])
redis.call('HDEL', KEYS[1], ARGV[6])
return 1
