-- Leases the members of a sorted set that are due.
--
-- KEYS[1] set      sorted set of members by time (ms)
-- ARGV[1] age      a member is due this long after its time (ms)
-- ARGV[2] number   of members, at most
-- ARGV[3] lease    ms until a leased member is due again
-- Returns {member, member ...}.
local t = redis.call('TIME')
local limit = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', limit, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZADD', KEYS[1], limit + ARGV[3], member)
end
return due
