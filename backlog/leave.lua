-- Lets another feeder begin at once.
--
-- KEYS[1] feeder  the owner who feeds at the moment
-- ARGV[1] owner   who stops
-- Returns 1, or 0 if it was not the feeder.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
