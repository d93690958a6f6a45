-- Writes that Tencent has called the callback URL of an attempt. A callback is
-- a hint: it wakes the confirmation, which asks Tencent.
--
-- ARGV[5] attempt  whose URL was called
-- ARGV[6] TaskID   found in the body, or ""
-- ARGV[7] body
-- ARGV[8] kept     bytes of it, unless it is to be handed on
-- Returns "ok"; "gone" if there is no record: it has expired; or "packed" if it has
-- to be unpacked before.
local attempt, task = ARGV[5], ARGV[6]
local state, current, own_task, known, relay = get('state', 'attempt', 'task_id', 'task:' .. attempt, 'relay')
if not state then
  return packed_state() and 'packed' or 'gone'
end
redis.call('HINCRBY', SNAPSHOT, 'callbacks', 1)
set('callback:' .. attempt, relay and ARGV[7] or string.sub(ARGV[7], 1, tonumber(ARGV[8])))
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
