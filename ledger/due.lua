-- Hands out the members of a sorted set whose time has come, and puts each off
-- so that nobody else gets it meanwhile.
--
-- KEYS[1] set      members by time (ms)
-- ARGV[1] age      ms: a member is due when its time is this long past
-- ARGV[2] number   at most so many
-- ARGV[3] lease    ms until a member that was handed out is due again
-- Returns {ms until the next is due or -1, member, score, member, score ...}.
local t = redis.call('TIME')
local limit = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', limit, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], limit + ARGV[3], due[i])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
table.insert(due, 1, first[2] and math.max(0, math.ceil(first[2] - limit)) or -1)
return due
