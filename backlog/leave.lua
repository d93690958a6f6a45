-- Ends the lease of the feeder.
--
-- KEYS[1] feeder  string: the owner that feeds at the moment
-- ARGV[1] owner   the caller
-- Returns 1, or 0 if the caller is not the feeder.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
