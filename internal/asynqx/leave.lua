-- Moves a task that was just taken to the retries, with its message unchanged.
--
-- KEYS[1] active  asynq's list of active task ids, the newest first
-- KEYS[2] lease   asynq's sorted set of their ids by expiry of the lease (Unix s)
-- KEYS[3] retry   asynq's sorted set of task ids by time of the retry (Unix s)
-- KEYS[4] task    hash of the task
-- ARGV[1] id      of the task
-- ARGV[2] time    of the retry (Unix s)
-- Returns 1, or 0 if the task is not active.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'retry')
return 1
