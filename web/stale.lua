-- Drops the ids of tasks that do not exist from a set or list of asynq's.
--
-- KEYS[1]  set or list of ids (asynq:{QUEUE}:STATE)
-- KEYS[2]  its leases (asynq:{QUEUE}:lease)
-- ARGV[1]  what the key of a task begins with (asynq:{QUEUE}:t:)
-- ARGV[2…] ids
--
-- Returns the ids that were dropped.
local stale = {}
local list = redis.call('TYPE', KEYS[1]).ok == 'list'
for i = 2, #ARGV do
  local id = ARGV[i]
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
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
