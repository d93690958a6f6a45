-- Increments the counters of failed tasks of a queue, as asynq does.
--
-- KEYS[1] day     counter of this day (UTC)
-- KEYS[2] total   counter of all days
-- ARGV[1] expiry  of the daily counter (Unix s)
-- Returns the new total.
if redis.call('INCR', KEYS[1]) == 1 then
  redis.call('EXPIREAT', KEYS[1], ARGV[1])
end
return redis.call('INCR', KEYS[2])
