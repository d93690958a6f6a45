-- Writes what became of one request.
--
-- KEYS[1] snapshot  the record
-- KEYS[2] batch     hash of its batch (an empty id where it has none)
-- KEYS[3] rows      rows of its batch
-- KEYS[4] open      sorted set of snapshots begun and not accepted or ended
-- KEYS[5] confirm   sorted set of accepted snapshots by their next Describe (ms)
-- KEYS[6] totals
-- ARGV[1] snapshot id
-- ARGV[2] attempt   that sent the request: the fence
-- ARGV[3] state     queued | unknown | accepted | failed
-- ARGV[4] cost      1 if the outcome counts against the attempts allowed
-- ARGV[5] TaskID    of an accepted request, else ""
-- ARGV[6] RequestId or ""
-- ARGV[7] error code or ""
-- ARGV[8] error message or ""
-- ARGV[9] confirm   ms until the first Describe
-- ARGV[10] retention ms after the end
-- ARGV[11] made     1 if the request has made a task, or may have
-- Returns "ok"; "late" if a newer attempt or an end stands in the record and
-- this outcome changed nothing but the list of extra tasks.
local id, to, task = ARGV[1], ARGV[3], ARGV[5]
local now = now_ms()
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'batch', 'task_id')
local state, batch_id = record[1], record[3] or ''

local known = false -- this request was counted as one that may have made a task
local ours = state == 'sending' and record[2] == ARGV[2]
if record[2] == ARGV[2] and state == to then
  return 'ok' -- written before, the reply was lost
end
if not ours and to == 'accepted' then
  if record[4] == task then
    return 'ok' -- the same, and settled since
  end
  if state == 'unknown' or state == 'queued' then
    ours = true -- the answer came after all, and nothing is on its way
    known = true
  elseif state then
    -- A second task exists for certain. Keep its id: it is paid for.
    redis.call('HSET', KEYS[1], 'extra_task:' .. ARGV[2], task)
    redis.call('HINCRBY', KEYS[6], 'extra_tasks', 1)
  end
end
if not ours then
  return 'late'
end

redis.call('HSET', KEYS[1], 'state', to)
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'request_id', ARGV[6])
end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'code', ARGV[7], 'message', ARGV[8])
end
if ARGV[4] == '1' then
  redis.call('HINCRBY', KEYS[1], 'failures', 1)
end
if ARGV[11] == '1' and not known then
  may_have_made_task(KEYS[1], KEYS[2], KEYS[6])
end
if to == 'accepted' then
  redis.call('HSET', KEYS[1], 'task_id', task, 'accepted_at', now)
  redis.call('HDEL', KEYS[1], 'code', 'message', 'token')
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZADD', KEYS[5], now + ARGV[9], id)
  redis.call('HINCRBY', KEYS[6], 'accepted', 1)
elseif to == 'failed' then
  redis.call('HSET', KEYS[1], 'ended_at', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[10])
  redis.call('ZREM', KEYS[4], id)
  redis.call('HINCRBY', KEYS[6], 'failed', 1)
else
  redis.call('ZADD', KEYS[4], now, id)
end
if batch_id ~= '' then
  count(KEYS[2], KEYS[3], state, to, now, ARGV[10])
end
return 'ok'
