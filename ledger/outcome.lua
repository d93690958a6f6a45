-- Writes what became of one request.
--
-- KEYS[14] owners   hash of TaskID to the snapshot that has it, of this period,
-- KEYS[15]          and of the period before
-- ARGV[5]  attempt  that sent the request: the fence
-- ARGV[6]  state    queued | unknown | accepted | failed
-- ARGV[7]  cost     "1" if the outcome counts against the attempts allowed
-- ARGV[8]  TaskID   of an accepted request, else ""
-- ARGV[9]  RequestId or ""
-- ARGV[10] error code or ""
-- ARGV[11] error message or ""
-- ARGV[12] made     "1" if the request has made a task, or may have
-- ARGV[13] field    of the TaskID in them
-- ARGV[14] claim    "1" if a callback has named the task and no answer
-- ARGV[15] unsent   "1" if no request was sent
-- ARGV[16] wait     ms that the request had waited for its permit, or ""
-- Returns "ok"; "taken" if the task that is claimed is another snapshot's, and
-- nothing was changed; "late" if a newer attempt or an end stands in the record,
-- and this outcome changed nothing but the list of its tasks.
local attempt, to, task = ARGV[5], ARGV[6], ARGV[8]
local state, current, known, spare, cancel, sent_at =
  get('state', 'attempt', 'task:' .. attempt, 'spare', 'cancel', 'sent_at')

if to == 'accepted' then
  local owner = redis.call('HGET', KEYS[14], ARGV[13]) or redis.call('HGET', KEYS[15], ARGV[13])
  if owner and owner ~= ID and ARGV[14] == '1' then
    return 'taken'
  end
  redis.call('HSETNX', KEYS[14], ARGV[13], ID)
  redis.call('PEXPIRE', KEYS[14], 2 * RETENTION)
end

local ours = state == 'sending' and current == attempt
if not ours then
  if known and known == task or to ~= 'accepted' and current == attempt and state == to then
    return 'ok' -- written before, the reply was lost
  end
  if to ~= 'accepted' or not state then
    return 'late'
  end
  keep_task(attempt, task)
  note(attempt, '', ARGV[16], to, '', ARGV[9])
  if state == 'unknown' or state == 'queued' then
    accept(state, attempt) -- the answer came after all, and nothing is on its way
    return 'ok'
  end
  if state ~= 'accepted' and state ~= 'succeeded' then
    set('spare', attempt) -- it takes over if no other task is made, or before another life
  end
  redis.call('HINCRBY', TOTALS, 'extra_tasks', 1)
  return 'late'
end

if ARGV[9] ~= '' then
  set('request_id', ARGV[9])
end
if ARGV[7] == '1' then
  redis.call('HINCRBY', SNAPSHOT, 'failures', 1)
end
if ARGV[15] == '1' then
  redis.call('HINCRBY', SNAPSHOT, 'unsent', 1)
else
  note(attempt, sent_at, ARGV[16], to, ARGV[10], ARGV[9])
end
if ARGV[12] == '1' then
  may_have_made_task()
end
if to == 'accepted' then
  keep_task(attempt, task)
  accept(state, attempt)
  return 'ok'
end
if spare then
  accept(state, spare)
  return 'ok'
end
if ARGV[10] ~= '' then
  set('code', ARGV[10], 'message', ARGV[11])
end
if to == 'unknown' then
  set('unknown_at', NOW)
end
if cancel and to ~= 'failed' then
  to = 'canceled'
elseif to == 'failed' and told() then
  to = 'unknown' -- a callback has named a task: Tencent is asked about it first
end
move(state, to)
return 'ok'
