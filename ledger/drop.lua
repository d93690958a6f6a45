-- Drops what is left of a batch that has expired.
--
-- KEYS[1] batch    its hash: while it is there nothing is dropped
-- KEYS[2] batches  sorted set of all batches
-- KEYS[3] running  sorted set of the batches that have not ended
-- KEYS[4] ...      what else it has
-- ARGV[1] batch id
-- Returns 1, or 0 if it has not expired.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 4, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
