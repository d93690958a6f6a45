-- Counts a failed task of a queue, as asynq does.
--
-- KEYS[1] day   counter of this day (UTC)
-- KEYS[2] total
-- ARGV[1] when the day's counter expires (Unix s)
if redis.call('INCR', KEYS[1]) == 1 then
  redis.call('EXPIREAT', KEYS[1], ARGV[1])
end
return redis.call('INCR', KEYS[2])
