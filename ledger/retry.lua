-- Queues a failed or canceled snapshot again, or releases a held one, which stays
-- unknown until it is sent. Failures count from 0. A snapshot of a batch is fed again
-- with the batch.
--
-- ARGV[5] room JSON, for a snapshot that was canceled before it had a record
-- Returns 1; 0 if the snapshot is in none of these states; or "packed" if its record
-- has to be unpacked first.
local state, held = get('state', 'held')
if not state then
  state = packed_state()
  if state then
    return state ~= 'succeeded' and 'packed' or 0
  end
end
if not state and canceled_unfed() then
  create(ARGV[5])
  state = 'canceled'
end
if state ~= 'failed' and state ~= 'canceled' and not held then
  return 0
end
redis.call('HDEL', SNAPSHOT, 'failures', 'ended_at', 'cancel')
set('retried_at', NOW)
redis.call('PERSIST', SNAPSHOT)
redis.call('ZREM', FAILED, ID)
redis.call('ZREM', UNPACKED, ID)
if held then
  release_hold()
  set('release', 1)
  redis.call('ZADD', OPEN, NOW, ID)
else
  transition(state, 'queued')
end
local total, cancels = unpack(redis.call('HMGET', BATCH, 'total', 'cancels'))
if total then
  set('cancels', cancels or 0)
  redis.call('HDEL', BATCH, 'ended_at')
  redis.call('ZADD', RUNNING, redis.call('HGET', BATCH, 'created_at'), BATCH_ID)
  for _, key in ipairs({BATCH, ROWS, FAILED, PACKED}) do
    redis.call('PERSIST', key)
  end
  redis.call('ZREM', OPEN, ID) -- the backlog is responsible for it until it is begun
  redis.call('RPUSH', REFEED, ID)
  if not redis.call('LPOS', RING, BATCH_ID) then
    redis.call('LPUSH', RING, BATCH_ID)
  end
end
return 1
