-- Writes that Tencent has called the callback URL of an attempt. A callback is
-- a hint: it wakes the confirmation, which asks Tencent.
--
-- ARGV[5] attempt  whose URL was called
-- ARGV[6] TaskID   found in the body, or ""
-- ARGV[7] body     as far as it is kept
-- Returns "ok", or "gone" if there is no record: it has expired.
local attempt, task = ARGV[5], ARGV[6]
local state, current, own_task, known = get('state', 'attempt', 'task_id', 'task:' .. attempt)
if not state then
  return 'gone'
end
redis.call('HINCRBY', SNAPSHOT, 'callbacks', 1)
set('callback:' .. attempt, ARGV[7])
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
return 'ok'
