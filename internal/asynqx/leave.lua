-- Puts a task that was just taken among those to be retried later, as it was.
--
-- KEYS[1] active  asynq's list of active task ids, the newest first
-- KEYS[2] lease   asynq's sorted set of their leases by expiry (Unix s)
-- KEYS[3] retry   asynq's sorted set of the tasks to be retried by when (Unix s)
-- KEYS[4] task    hash of the task
-- ARGV[1] id
-- ARGV[2] when    it is on the queue again
-- Returns 1, or 0 where it is not active.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'retry')
return 1
