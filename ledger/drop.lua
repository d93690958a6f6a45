-- Deletes the remains of an expired batch.
--
-- KEYS[1] batch    hash of the batch; if it exists, nothing is deleted
-- KEYS[2] batches  sorted set of all batches
-- KEYS[3] running  sorted set of the batches that have not ended
-- KEYS[4] ...      other keys of the batch
-- ARGV[1] batch id
-- Returns 1, or 0 if the batch has not expired.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 4, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
