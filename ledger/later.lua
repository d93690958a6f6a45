-- Puts off the next Describe of an accepted snapshot.
--
-- KEYS[1] confirm   sorted set of accepted snapshots by their next Describe
-- KEYS[2] snapshot  the record
-- ARGV[1] snapshot id
-- ARGV[2] delay     ms
-- Returns how often it has been put off.
redis.call('ZADD', KEYS[1], 'XX', now_ms() + ARGV[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
return redis.call('HINCRBY', KEYS[2], 'asked', 1)
