-- Writes that Tencent has called the callback URL of an attempt. A callback is
-- a hint: it wakes the confirmation, which asks Tencent.
--
-- Where Redis has lost the record, it is kept if the snapshot was enqueued anew, or
-- if its answer is kept, too. Where a row stands for another room now, nobody knows.
--
-- ARGV[5] attempt  whose URL was called
-- ARGV[6] TaskID   found in the body, or ""
-- ARGV[7] body
-- ARGV[8] kept     bytes of it, unless it is to be handed on
-- Returns "ok"; "gone" if there is no such row: its batch has expired, or was
-- canceled before it was fed; or "packed" if the record has to be unpacked before.
local attempt, task = ARGV[5], ARGV[6]
local state, current, own_task, known, relay = get('state', 'attempt', 'task_id', 'task:' .. attempt, 'relay')
if not state then
  if packed_state() then
    return 'packed'
  end
  local total = tonumber(redis.call('HGET', BATCH, 'total') or 0)
  local waits = BATCH_ID == '' or ROW and ROW <= total and not canceled_unfed()
  if not waits and redis.call('EXISTS', SNAPSHOT) == 0 then
    return 'gone'
  end
end
redis.call('HINCRBY', SNAPSHOT, 'callbacks', 1)
local whole = relay or not state -- whether it is to be handed on nobody knows yet
set('callback:' .. attempt, whole and ARGV[7] or string.sub(ARGV[7], 1, tonumber(ARGV[8])))
if state == 'accepted' and (task == '' or task == own_task or known == own_task) then
  redis.call('ZADD', CONFIRM, 'XX', NOW, ID)
elseif task ~= '' and not known then
  -- The answer to that attempt was lost, or is still on its way.
  set('told:' .. attempt, task)
  if state == 'sending' and current == attempt then
    -- If its worker has died, nobody waits for the answer.
    redis.call('ZADD', CONFIRM, NOW + ARGV[4], ID)
  elseif state == 'queued' or state == 'unknown' or state == 'sending' then
    redis.call('ZADD', CONFIRM, NOW, ID)
  end
end
if not state then
  redis.call('PEXPIRE', SNAPSHOT, RETENTION) -- where it is not enqueued anew
end
return 'ok'
