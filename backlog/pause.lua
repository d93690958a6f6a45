-- Pauses or resumes a batch. A batch that has ended is not changed: else a snapshot
-- that is retried later would wait forever.
--
-- KEYS[1] batch  hash of the batch
-- KEYS[2] ring   list of the batches that have rooms to feed
-- KEYS[3] refeed list of snapshots of the batch to feed again
-- KEYS[4] totals hash of counters of the namespace
-- ARGV[1] batch id
-- ARGV[2] "1" to pause, "0" to resume
-- Returns 1, or 0 if there is no such batch.
local total, fed, ended_at, paused, ahead =
  unpack(redis.call('HMGET', KEYS[1], 'total', 'fed', 'ended_at', 'paused', 'ahead'))
if not total then
  return 0
end
if ended_at then
  return 1
end
if (ARGV[2] == '1') ~= (paused and true or false) then
  local waiting = total - fed - (ahead or 0)
  redis.call('HINCRBY', KEYS[4], 'waiting', paused and waiting or 0 - waiting)
  redis.call('HINCRBY', KEYS[4], 'waiting_paused', paused and 0 - waiting or waiting)
end
redis.call('LREM', KEYS[2], 0, ARGV[1])
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'paused', 1)
  return 1
end
redis.call('HDEL', KEYS[1], 'paused')
if tonumber(fed) < tonumber(total) or redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
return 1
