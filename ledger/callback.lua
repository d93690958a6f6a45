-- Records that Tencent has called the callback URL of an attempt. A callback is only a
-- hint: it makes a poll due.
--
-- If Redis has lost the record, the callback is kept if the snapshot waits again, or
-- an outcome of it is kept, too.
--
-- ARGV[5] attempt  whose URL was called
-- ARGV[6] TaskID   from the body, or ""
-- ARGV[7] body
-- ARGV[8] stored   bytes of the body that are stored, unless it is to be forwarded
-- Returns "ok"; "gone" if there is no such snapshot: its batch has expired, or was
-- canceled before it was fed; or "packed" if the record has to be unpacked first.
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
local whole = relay or not state -- without a record it is unknown whether it is forwarded
set('callback:' .. attempt, whole and ARGV[7] or string.sub(ARGV[7], 1, tonumber(ARGV[8])))
if state == 'accepted' and (task == '' or task == own_task or known == own_task) then
  redis.call('ZADD', CONFIRM, 'XX', NOW, ID)
elseif task ~= '' and not known then
  -- The answer to that attempt was lost, or has not arrived yet.
  set('told:' .. attempt, task)
  if state == 'sending' and current == attempt then
    -- In case its worker is lost: then no answer arrives.
    redis.call('ZADD', CONFIRM, NOW + ARGV[4], ID)
  elseif state == 'queued' or state == 'unknown' or state == 'sending' then
    redis.call('ZADD', CONFIRM, NOW, ID)
  end
end
if not state then
  redis.call('PEXPIRE', SNAPSHOT, RETENTION) -- in case no record follows
end
return 'ok'
