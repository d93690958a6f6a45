-- Gives a failed, canceled or held snapshot a new life: as queued, with its
-- attempts counted anew. One of a batch is fed again in the batch's turn.
--
-- Returns "queued", or the state that stands.
local state, held = get('state', 'held')
if state ~= 'failed' and state ~= 'canceled' and not held then
  return state or 'gone'
end
redis.call('HDEL', SNAPSHOT, 'failures', 'ended_at', 'held', 'cancel')
redis.call('PERSIST', SNAPSHOT)
redis.call('ZREM', FAILED, ID)
if held then
  set('release', 1) -- from the wait for a person; it stays unknown until sent
  redis.call('ZADD', OPEN, NOW, ID)
else
  move(state, 'queued')
end
if BATCH_ID ~= '' and redis.call('EXISTS', BATCH) == 1 then
  redis.call('HDEL', BATCH, 'ended_at', 'canceled_at')
  for _, key in ipairs({BATCH, ROWS, FAILED}) do
    redis.call('PERSIST', key)
  end
  redis.call('RPUSH', AGAIN, ID)
  if not redis.call('LPOS', RING, BATCH_ID) then
    redis.call('LPUSH', RING, BATCH_ID)
  end
end
return 'queued'
