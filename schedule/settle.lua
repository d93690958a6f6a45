-- Records the outcome of a tick, unless it or a later tick is settled already: if several workers made the same
-- tick, the first one counts. A failed tick is added to the outbox, if any receiver wants its webhook.
--
-- KEYS[1] schedule       hash
-- KEYS[2] outbox         sorted set of events by time (ms)
-- KEYS[3] notifications  hash: kind of event to 1 if a receiver wants it
-- KEYS[4] failure        string, the failed tick for its webhook
-- ARGV[1] name of the field with the last tick (ms)
-- ARGV[2] tick      ms
-- ARGV[3] outcome   JSON
-- ARGV[4] batch     id of the batch that was made, or ""
-- ARGV[5] missed    number of ticks before it that were not made
-- ARGV[6] name of the field with the tick that is being retried
-- ARGV[7] failure   JSON, or "" if the tick did not fail
-- ARGV[8] lifetime  of KEYS[4], ms
-- ARGV[9] at        ms, when it failed
-- ARGV[10] id       of the batch that it should have made
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
  redis.call('PEXPIRE', KEYS[2], 2 * 24 * 60 * 60 * 1000) -- if no worker delivers webhooks any more
end
return 1
