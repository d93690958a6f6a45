-- Writes the result of an accepted snapshot's task.
--
-- KEYS[1] snapshot  the record
-- KEYS[2] batch     hash of its batch (an empty id where it has none)
-- KEYS[3] rows      rows of its batch
-- KEYS[4] confirm   sorted set of accepted snapshots by their next Describe
-- KEYS[5] totals
-- ARGV[1] snapshot id
-- ARGV[2] TaskID    that the result is of: the fence
-- ARGV[3] state     succeeded | failed
-- ARGV[4] images    JSON list of URLs
-- ARGV[5] number of images
-- ARGV[6] error code or ""
-- ARGV[7] error message or ""
-- ARGV[8] retention ms
-- Returns "ok", or "late" if the record is not waiting for this task.
local id, to = ARGV[1], ARGV[3]
local record = redis.call('HMGET', KEYS[1], 'state', 'task_id', 'batch')
redis.call('ZREM', KEYS[4], id)
if record[1] ~= 'accepted' or record[2] ~= ARGV[2] then
  return 'late'
end
local now = now_ms()
redis.call('HSET', KEYS[1], 'state', to, 'ended_at', now, 'images', ARGV[4])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'code', ARGV[6], 'message', ARGV[7])
end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('HINCRBY', KEYS[5], to, 1)
redis.call('HINCRBY', KEYS[5], 'images', ARGV[5])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HINCRBY', KEYS[2], 'images', ARGV[5])
  count(KEYS[2], KEYS[3], 'accepted', to, now, ARGV[8])
end
return 'ok'
