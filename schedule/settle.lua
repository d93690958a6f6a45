-- Writes what became of a tick, unless it or a later one is settled already: of
-- several workers that made the same tick the first one tells. Of one that
-- failed it leaves a notice, if that is to be told by webhook.
--
-- KEYS[1] schedule hash
-- KEYS[2] notices  sorted set of what is to be told
-- KEYS[3] tell     hash of what is told
-- KEYS[4] failure  what is told of this tick
-- ARGV[1] name of the field that holds the last tick (ms)
-- ARGV[2] tick     ms
-- ARGV[3] outcome  JSON
-- ARGV[4] batch    that was made, or ""
-- ARGV[5] missed   how many ticks were not made
-- ARGV[6] name of the field that holds the tick that is tried
-- ARGV[7] failure  JSON, or "" if it did not fail
-- ARGV[8] kept     ms that the failure is kept
-- ARGV[9] at       ms, when it failed
-- ARGV[10] id      of the batch that it should have made
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
if ARGV[7] ~= '' and redis.call('HGET', KEYS[3], 'schedule') == '1' then
  redis.call('SET', KEYS[4], ARGV[7], 'PX', ARGV[8])
  redis.call('ZADD', KEYS[2], ARGV[9], 'schedule:' .. ARGV[9] .. ':' .. ARGV[10])
  redis.call('PEXPIRE', KEYS[2], 2 * 24 * 60 * 60 * 1000) -- where nobody tells any more
end
return 1
