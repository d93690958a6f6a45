-- Tries every command that the scripts of tiwsnap and asynq use, without effect. The key is a string: commands for
-- other types fail on it, but only after Redis has checked the permissions of the user.
-- KEYS[1] a key without other use; deleted at the end, or after a second
-- Returns the names of the commands that the user may not run, or an error if Redis refuses writes.
local key = KEYS[1]
local refused = {}

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then
    return nil
  end
  local text = reply.err
  if string.find(text, 'NOPERM', 1, true) or string.find(text, 'run this command', 1, true)
      or string.find(text, 'of the keys', 1, true) then
    table.insert(refused, (select(1, ...)))
    return nil
  end
  return text
end

local failed = try('SET', key, '', 'PX', 1000)
if failed and not string.find(failed, 'OOM ', 1, true) then
  return redis.error_reply(failed)
end
try('TIME')
for name in string.gmatch('GET EXISTS HGETALL HKEYS HLEN HVALS LLEN SMEMBERS TYPE PTTL PERSIST ZCARD LPOP',
    '%u+') do
  try(name, key)
end
for name in string.gmatch('HDEL HEXISTS HGET HMGET LPOS LPUSH RPUSH RPOPLPUSH SADD SISMEMBER SREM ZREM ZSCORE ZRANK',
    '%u+') do
  try(name, key, key)
end
try('HSETNX', key, 'x', 0)
try('HSET', key, 'x', 0)
try('HINCRBY', key, 'x', 0)
try('INCR', key)
try('LINDEX', key, 0)
try('LRANGE', key, 0, 0)
try('LREM', key, 0, 'x')
try('PEXPIRE', key, 1000)
try('EXPIRE', key, 1)
try('EXPIREAT', key, 99999999999)
try('SETEX', key, 1, '')
try('ZADD', key, 0, 'x')
try('ZCOUNT', key, 0, 0)
try('ZRANGE', key, 0, 0)
try('ZREVRANGE', key, 0, 0)
try('ZREVRANGEBYSCORE', key, 0, 0)
try('ZRANGEBYSCORE', key, 0, 0)
try('ZREMRANGEBYSCORE', key, 0, 0)
try('ZREMRANGEBYRANK', key, 0, 0)
try('XADD', key, '*', 'x', 0)
try('XTRIM', key, 'MAXLEN', 1)
try('RENAME', key, key)
try('UNLINK', key)
try('DEL', key)
return refused
