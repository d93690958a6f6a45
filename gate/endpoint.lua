-- Compares the endpoint of a process with the stored one of the namespace.
--
-- KEYS[1] endpoint  string: the stored one
-- KEYS[2] gate      hash: has "accepted" once a request of the namespace was accepted
-- ARGV[1] endpoint of the process
-- ARGV[2] check  store nothing
--         use    store it, unless another one has accepted requests
--         moved  store it
-- Returns the stored endpoint if it is another one and has accepted requests, else "".
local known = redis.call('GET', KEYS[1])
local worked = redis.call('HEXISTS', KEYS[2], 'accepted') == 1
if ARGV[2] ~= 'moved' and known and known ~= ARGV[1] and worked then
  return known
end
if ARGV[2] ~= 'check' then
  redis.call('SET', KEYS[1], ARGV[1])
end
return ''
