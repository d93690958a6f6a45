-- Removes the ids of tasks that do not exist from a list or sorted set of asynq.
--
-- KEYS[1]  list or sorted set of task ids (asynq:{QUEUE}:STATE)
-- KEYS[2]  sorted set of leases (asynq:{QUEUE}:lease)
-- KEYS[3…] the hashes of the tasks
-- ARGV[1…] their ids, in the same order
--
-- Returns the removed ids.
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
