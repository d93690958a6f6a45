-- Writes the outcome of one request.
--
-- KEYS[19] claim    string: the snapshot that has claimed the task within a day
-- ARGV[5]  attempt  of the request: the fence
-- ARGV[6]  state    queued | unknown | accepted | failed
-- ARGV[7]  cost     "1" if the outcome counts against the allowed attempts
-- ARGV[8]  TaskID   of an accepted request, else ""
-- ARGV[9]  RequestId or ""
-- ARGV[10] error code or ""
-- ARGV[11] error message or ""
-- ARGV[12] made     "1" if the request has made a task, or may have
-- ARGV[13] token    of the intent, or "" for any
-- ARGV[14] claim    "1" if the task was reported by a callback, not by an answer
-- ARGV[15] unsent   "1" if no request was sent
-- ARGV[16] wait     ms that the request waited for its permit, or ""
-- ARGV[17] room     JSON, to make a lost record anew, or to keep the outcome for it;
--                   else ""
-- ARGV[18] SdkAppId of the room
-- ARGV[19] ...      words to index, each as its hash and an entry, see index
-- Returns "ok"; "taken" if the claimed task is another snapshot's, and nothing was
-- changed; "late" if a newer attempt was begun or the snapshot has ended, and only an
-- extra task was stored; "lost" if there is no record; or "packed" if the record has
-- to be unpacked first.
local attempt, to, task = ARGV[5], ARGV[6], ARGV[8]
local state, current, known, spare, cancel, sent_at, token =
  get('state', 'attempt', 'task:' .. attempt, 'spare', 'cancel', 'sent_at', 'token')

if to == 'accepted' and ARGV[14] == '1' and redis.call('SET', KEYS[19], ID, 'NX', 'PX', DAY) == false then
  if redis.call('GET', KEYS[19]) ~= ID then
    return 'taken'
  end
end

local function index_words()
  for i = 19, #ARGV, 2 do
    index(ARGV[i], ARGV[i + 1])
  end
end

local same_intent = ARGV[13] == '' or not token or token == ARGV[13]
if state ~= 'sending' or current ~= attempt or not same_intent then
  if known and known == task or to ~= 'accepted' and current == attempt and state == to then
    return 'ok' -- written before; the reply was lost
  end
  if not state and not packed_state() then
    if ARGV[17] == '' then
      return 'lost'
    end
    if to ~= 'accepted' or BATCH_ID ~= '' and redis.call('EXISTS', BATCH) == 0 then
      if ARGV[15] ~= '1' then
        keep_lost(ARGV[17], attempt, ARGV[16], to, ARGV[10], ARGV[9], task)
      end
      return 'lost'
    end
    if not create(ARGV[17])[attempt] then
      may_have_made_task()
    end
    set('attempt', math.max(tonumber(attempt), tonumber(get('attempt') or 0)), 'app', ARGV[18], 'sent_at', NOW)
    redis.call('ZREM', IN_FLIGHT, ID)
    state = 'queued'
    transition(nil, state)
  end
  if to ~= 'accepted' then
    return 'late'
  end
  if not state then
    return 'packed'
  end
  index_words()
  if current == attempt and not same_intent or known then
    attempt = '0' -- of an earlier record, which Redis has lost
  end
  keep_task(attempt, task)
  note_attempt(attempt, '', ARGV[16], to, '', ARGV[9])
  if state == 'unknown' or state == 'queued' then
    accept(state, attempt) -- the answer came late, and no other request is in progress
    return 'ok'
  end
  if state ~= 'accepted' and state ~= 'succeeded' then
    set('spare', attempt) -- used if the request in progress makes no task, or after a retry
  end
  redis.call('HINCRBY', TOTALS, 'extra_tasks', 1)
  return 'late'
end

index_words()
if ARGV[9] ~= '' then
  set('request_id', ARGV[9])
end
if ARGV[7] == '1' then
  redis.call('HINCRBY', SNAPSHOT, 'failures', 1)
end
if ARGV[15] == '1' then
  redis.call('HINCRBY', SNAPSHOT, 'unsent', 1)
else
  note_attempt(attempt, sent_at, ARGV[16], to, ARGV[10], ARGV[9])
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
elseif to == 'failed' and has_reported_task() then
  to = 'unknown' -- a callback has reported a task, which is polled first
end
transition(state, to)
return 'ok'
