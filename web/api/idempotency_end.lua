-- Ends what a client has named by an idempotency key: with an answer, or so
-- that it can be begun again. The id stays in either case.
--
-- KEYS[1] record  as in idempotency.lua
-- ARGV[1] token   of the caller
-- ARGV[2] sum, ARGV[3] status, ARGV[4] location, ARGV[5] body: the answer; no
--                 status where there is none to keep
-- Returns 1, or 0 if another process has taken over.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'owner', 'until')
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'sum', ARGV[2], 'status', ARGV[3], 'location', ARGV[4], 'body', ARGV[5])
end
return 1
