-- Drops the ids of tasks that do not exist from a set or list of asynq's.
--
-- KEYS[1]  set or list of ids (asynq:{QUEUE}:STATE)
-- KEYS[2]  its leases (asynq:{QUEUE}:lease)
-- KEYS[3…] the hashes of the tasks
-- ARGV[1…] their ids, in the same order
--
-- Returns the ids that were dropped.
local stale = {}
local list = redis.call('TYPE', KEYS[1]).ok == 'list'
for i = 1, #ARGV do
  local id = ARGV[i]
  if redis.call('EXISTS', KEYS[2 + i]) == 0 then
    if list then
      redis.call('LREM', KEYS[1], 0, id)
    else
      redis.call('ZREM', KEYS[1], id)
    end
    redis.call('ZREM', KEYS[2], id)
    stale[#stale + 1] = id
  end
end
return stale
