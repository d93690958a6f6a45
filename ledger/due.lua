-- Hands out the members of a sorted set whose time has come, and puts each off
-- so that nobody else gets it meanwhile.
--
-- KEYS[1] set      members by time (ms)
-- ARGV[1] age      ms: a member is due when its time is this long past
-- ARGV[2] number   at most so many
-- ARGV[3] lease    ms until a member that was handed out is due again
-- Returns {member, member ...}.
local t = redis.call('TIME')
local limit = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', limit, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZADD', KEYS[1], limit + ARGV[3], member)
end
return due
