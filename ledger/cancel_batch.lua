-- Cancels a batch: what was not fed is canceled at once and all together, what
-- was fed is canceled when a worker comes to it.
--
-- Returns how many were canceled at once, or -1 if there is no such batch.
local total, fed = unpack(redis.call('HMGET', BATCH, 'total', 'fed'))
if not total then
  return -1
end
redis.call('LREM', RING, 0, BATCH_ID)
if redis.call('HSETNX', BATCH, 'canceled_at', NOW) == 0 then
  return 0
end
local rest = total - fed
redis.call('HSET', BATCH, 'fed', total, 'canceled_from', fed + 1)
redis.call('HINCRBY', BATCH, 'canceled', rest)
redis.call('HINCRBY', TOTALS, 'canceled', rest)
-- Snapshots that were to be fed again are begun and canceled one by one.
if redis.call('LLEN', AGAIN) > 0 then
  redis.call('LPUSH', RING, BATCH_ID)
end
end_batch()
return rest
