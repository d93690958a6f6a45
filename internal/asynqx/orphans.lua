-- Gives a lease to the active tasks of an asynq queue that have none now and had none in the previous scan.
--
-- KEYS[1] active  asynq's list of active task ids, the newest first
-- KEYS[2] lease   asynq's sorted set of their ids by expiry of the lease (Unix s)
-- ARGV[1] expiry  of the new leases (Unix s)
-- ARGV[2] number  of active tasks to check at most, the oldest ones
-- ARGV[3] ...     ids that had no lease in the previous scan
-- Returns {ids that got a lease}, {ids that have no lease}.
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
