-- Puts off the next Describe of a snapshot.
--
-- ARGV[5] delay ms
-- Returns how often it has been put off.
redis.call('ZADD', CONFIRM, 'XX', NOW + ARGV[5], ID)
if redis.call('EXISTS', SNAPSHOT) == 0 then
  return 0
end
return redis.call('HINCRBY', SNAPSHOT, 'asked', 1)
