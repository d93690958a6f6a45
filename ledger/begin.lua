-- Writes the intent to send one request for a snapshot, if one may be sent.
--
-- KEYS[1] snapshot  the record; made here at the first attempt
-- KEYS[2] batch     hash of its batch (an empty id where it has none)
-- KEYS[3] rows      rows of its batch
-- KEYS[4] transit   sorted set of snapshots taken and not begun
-- KEYS[5] open      sorted set of snapshots begun and not accepted or ended
-- KEYS[6] pause     exists while the queues are paused
-- KEYS[7] totals
-- ARGV[1] snapshot id
-- ARGV[2] batch id or ""
-- ARGV[3] room      JSON
-- ARGV[4] token     of this intent: beginning twice with it is beginning once
-- ARGV[5] busy      ms that a request may be on its way
-- Returns {verdict, ...}:
--   {"send", attempt, failures}  the intent is written; attempt fences the outcome
--   {"busy", ms}                 another worker's request is still on its way
--   {"paused", ms}               the queues are paused for so long
--   {"done", state}              accepted or ended: nothing to send
local id, batch_id = ARGV[1], ARGV[2]
local now = now_ms()
local record = redis.call('HMGET', KEYS[1], 'state', 'sent_at', 'token', 'attempt', 'failures')
local state = record[1]

redis.call('ZREM', KEYS[4], id)
if state == 'accepted' or ended[state] then
  return {'done', state}
end
if state == 'sending' then
  if record[3] == ARGV[4] then
    return {'send', tonumber(record[4]), tonumber(record[5] or 0)}
  end
  local left = record[2] + ARGV[5] - now
  if left > 0 then
    return {'busy', left}
  end
  -- The worker died or was cut off with the request on its way: nobody knows
  -- whether the task was made.
  may_have_made_task(KEYS[1], KEYS[2], KEYS[7])
end
local paused = redis.call('PTTL', KEYS[6])
if paused > 0 then
  if state == 'sending' then
    redis.call('HSET', KEYS[1], 'state', 'unknown')
    if batch_id ~= '' then
      count(KEYS[2], KEYS[3], state, 'unknown', now, 0)
    end
  elseif not state then
    redis.call('HSET', KEYS[1], 'state', 'queued', 'batch', batch_id, 'room', ARGV[3], 'created_at', now)
  end
  redis.call('ZADD', KEYS[5], now, id)
  return {'paused', paused}
end

local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
if not state then
  redis.call('HSET', KEYS[1], 'batch', batch_id, 'room', ARGV[3], 'created_at', now)
end
redis.call('HSET', KEYS[1], 'state', 'sending', 'sent_at', now, 'token', ARGV[4])
redis.call('ZADD', KEYS[5], now, id)
if batch_id ~= '' then
  count(KEYS[2], KEYS[3], state, 'sending', now, 0)
end
return {'send', attempt, tonumber(record[5] or 0)}
