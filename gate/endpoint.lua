-- Compares the endpoint of a process with the one that the namespace works with,
-- and remembers it.
--
-- KEYS[1] endpoint  string: the one that is remembered
-- KEYS[2] gate      hash: has "accepted" once a request was accepted here
-- ARGV[1] endpoint of the process
-- ARGV[2] look   remember nothing
--         work   remember it, unless requests were accepted by another one
--         moved  remember it
-- Returns the remembered endpoint where that is another one and has accepted
-- requests, otherwise an empty string.
local known = redis.call('GET', KEYS[1])
local worked = redis.call('HEXISTS', KEYS[2], 'accepted') == 1
if ARGV[2] ~= 'moved' and known and known ~= ARGV[1] and worked then
  return known
end
if ARGV[2] ~= 'look' then
  redis.call('SET', KEYS[1], ARGV[1])
end
return ''
