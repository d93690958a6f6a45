-- Gives a lease to the tasks of an asynq queue that are active, have none, and
-- had none at the last look.
--
-- KEYS[1] active  asynq's list of active task ids, the newest first
-- KEYS[2] lease   asynq's sorted set of their leases by expiry (Unix s)
-- ARGV[1] expiry  of the leases that are given
-- ARGV[2] number  at most so many active tasks are looked at, the oldest ones
-- ARGV[3] ...     ids that had no lease at the last look
-- Returns {ids that were given a lease}, {ids that have none now}.
local seen = {}
for i = 3, #ARGV do
  seen[ARGV[i]] = true
end
local leased, without = {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], -ARGV[2], -1)) do
  if not redis.call('ZSCORE', KEYS[2], id) then
    if seen[id] then
      redis.call('ZADD', KEYS[2], 'NX', ARGV[1], id)
      leased[#leased + 1] = id
    else
      without[#without + 1] = id
    end
  end
end
return {leased, without}
