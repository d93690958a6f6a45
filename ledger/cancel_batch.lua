-- Cancels a batch: rows that were not fed are canceled at once, and workers cancel the
-- others when they begin them. If every snapshot is accepted or has ended, nothing is
-- canceled. It also ends a pause.
--
-- Returns the number of rows canceled at once, or -1 if there is no such batch.
local total, fed, accepted, succeeded, failed, canceled, ahead, paused =
  unpack(redis.call('HMGET', BATCH, 'total', 'fed', 'accepted', 'succeeded', 'failed', 'canceled', 'ahead', 'paused'))
if not total then
  return -1
end
redis.call('HDEL', BATCH, 'paused')
if (accepted or 0) + (succeeded or 0) + (failed or 0) + (canceled or 0) >= tonumber(total) then
  redis.call('UNLINK', REFEED) -- its snapshots were canceled or accepted late meanwhile
  return 0
end
local rest = total - fed - (ahead or 0) -- rows "ahead" were canceled and counted one by one
redis.call('HINCRBY', TOTALS, paused and 'waiting_paused' or 'waiting', 0 - rest)
redis.call('HDEL', BATCH, 'ahead')
redis.call('HINCRBY', BATCH, 'cancels', 1)
redis.call('HSETNX', BATCH, 'canceled_from', fed + 1)
redis.call('HSET', BATCH, 'fed', total)
redis.call('HINCRBY', BATCH, 'canceled', rest)
redis.call('HINCRBY', TOTALS, 'canceled', rest)
redis.call('LREM', RING, 0, BATCH_ID)
-- Snapshots to feed again have records: workers cancel them one by one.
if redis.call('EXISTS', REFEED) == 1 then
  redis.call('LPUSH', RING, BATCH_ID)
end
end_batch()
return rest
