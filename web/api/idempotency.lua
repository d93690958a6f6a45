-- Begins, or goes on with, what a client has named by an idempotency key.
--
-- KEYS[1] record  hash: id, and owner and until (ms) while it is under way, or
--                 sum, status, location and body when it is answered
-- ARGV[1] token   of the caller; empty only to look
-- ARGV[2] lease   ms until another caller may take over
-- ARGV[3] ttl     ms that the record is kept
-- ARGV[4] id      of what is going to be made, if there is none yet
-- Returns {"done", sum, status, location, body}, {"busy"} or {"go", id}.
local status, owner, till = unpack(redis.call('HMGET', KEYS[1], 'status', 'owner', 'until'))
if status then
  return {'done', unpack(redis.call('HMGET', KEYS[1], 'sum', 'status', 'location', 'body'))}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if owner and owner ~= ARGV[1] and tonumber(till) > now then
  return {'busy'}
end
redis.call('HSETNX', KEYS[1], 'id', ARGV[4])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'go', redis.call('HGET', KEYS[1], 'id')}
