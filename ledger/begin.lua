-- Writes the intent to send one request for a snapshot, if one may be sent.
--
-- KEYS[19] breaker     hash of the gate; while it exists, only its "pass" is valid
-- KEYS[20] suspension  hash of the gate about this SdkAppId: since, trial, code,
--                      message, failed_at; see report.lua there
-- KEYS[21] rooms       list of snapshots that wait for this SdkAppId
-- ARGV[5]  room      JSON
-- ARGV[6]  token     of this intent, the idempotency key of this script
-- ARGV[7]  busy      longest duration of a request (ms)
-- ARGV[8]  grace     ms that an unknown outcome waits for its callback
-- ARGV[9]  hold      "1" if an unknown outcome is held for review
-- ARGV[10] pass      of the gate's permit; "-" without one
-- ARGV[11] attempts  number of failed ones after which the snapshot fails
-- ARGV[12] relay     "1" if the callback is to be forwarded to the room's CallbackURL
-- ARGV[13] SdkAppId
-- ARGV[14] list      prefix of the digest of the room's batch, or ""
-- ARGV[15] ...       words of the room, each as its hash and an entry, see index
-- Returns {verdict, ...}:
--   {"send", attempt, failures}  the intent is written; attempt fences the outcome
--   {"wait", ms}                 a request is in progress, or its callback may come
--   {"stopped"}                  the pass is not valid
--   {"done", state}              nothing to send: accepted, ended, held, suspended (it
--                                waits for its SdkAppId), or gone (its batch)
local state, sent_at, token, attempt, failures, unknown_at, spare, cancel, cancels =
  get('state', 'sent_at', 'token', 'attempt', 'failures', 'unknown_at', 'spare', 'cancel', 'cancels')

-- After a loss of data a batch of this id may have other rooms. Then this task is
-- obsolete, and the snapshot stays in flight until it is fed again.
local digest = redis.call('HGET', BATCH, 'digest')
if digest and string.sub(digest, 1, #ARGV[14]) ~= ARGV[14] then
  return {'done', 'gone'}
end
redis.call('ZREM', IN_FLIGHT, ID)
if BATCH_ID ~= '' and redis.call('EXISTS', BATCH) == 0 then
  return {'done', 'gone'} -- the batch has expired, or Redis has lost it
end
state = state or packed_state()
if state == 'accepted' or ENDED[state] then
  return {'done', state}
end
if not state then
  create(ARGV[5])
  unknown_at = get('unknown_at') -- of a lost record
  for i = 15, #ARGV, 2 do
    index(ARGV[i], ARGV[i + 1])
  end
  transition(nil, 'queued')
  state = 'queued'
end

if state == 'sending' then
  if token == ARGV[6] then
    set('token', token) -- a write, so that WAIT covers the intent
    return {'send', tonumber(attempt), tonumber(failures or 0)}
  end
  local left = sent_at + ARGV[7] - NOW
  if left > 0 then
    return {'wait', left}
  end
  -- The worker was lost during the request. The task may have been made.
  may_have_made_task()
  failures = redis.call('HINCRBY', SNAPSHOT, 'failures', 1)
  unknown_at = sent_at
  note_attempt(attempt, sent_at, '', 'unknown', 'ClientError.WorkerLost', '')
  set('unknown_at', sent_at, 'code', 'ClientError.WorkerLost',
    'message', 'the worker was lost with the request on its way')
  transition(state, 'unknown')
  state = 'unknown'
  if spare then
    accept(state, spare)
    return {'done', 'accepted'}
  end
end

-- A snapshot that was retried after its batch was canceled is not canceled with it.
if cancel or tonumber(redis.call('HGET', BATCH, 'cancels') or 0) > tonumber(cancels or 0) then
  transition(state, 'canceled')
  return {'done', 'canceled'}
end
if spare then
  -- The answer of an earlier request came after the end, and the snapshot was retried.
  accept(state, spare)
  return {'done', 'accepted'}
end
redis.call('ZADD', OPEN, 'NX', NOW, ID)
local poll_at = redis.call('ZSCORE', CONFIRM, ID)
if poll_at then
  -- A callback has reported a task, which is polled first.
  return {'wait', math.max(1000, math.ceil(poll_at - NOW))}
end
if state == 'unknown' and ARGV[9] == '1' and redis.call('HEXISTS', SNAPSHOT, 'release') == 0 then
  redis.call('ZREM', OPEN, ID)
  redis.call('ZADD', HELD, 'NX', NOW, ID)
  set('held', 1)
  return {'done', 'held'}
end
-- A snapshot that was canceled and retried may have an unknown outcome, too.
local left = (unknown_at or 0) + ARGV[8] - NOW
if left > 0 then
  return {'wait', left}
end
failures = tonumber(failures or 0)
if failures >= tonumber(ARGV[11]) then
  -- The last outcome was unknown and its callback has not come; or the setting was
  -- lowered.
  if state == 'unknown' then
    set('message', 'attempts used up, a task may exist: ' .. (get('message') or ''))
  end
  transition(state, 'failed')
  return {'done', 'failed'}
end
local since, trial, failed_at, code, message =
  unpack(redis.call('HMGET', KEYS[20], 'since', 'trial', 'failed_at', 'code', 'message'))
if failed_at then
  -- Rooms that were enqueued or retried later are tried anew.
  local enqueued_at = get('retried_at') or redis.call('HGET', BATCH, 'created_at') or get('created_at')
  if tonumber(enqueued_at) <= tonumber(failed_at) then
    set('code', code, 'message', message)
    if ARGV[12] == '1' then
      set('relay', 1)
    end
    transition(state, 'failed')
    return {'done', 'failed'}
  end
end
if since and trial ~= ID then
  redis.call('ZREM', OPEN, ID)
  redis.call('RPUSH', KEYS[21], ID)
  return {'done', 'suspended'}
end
local valid_pass = redis.call('HGET', KEYS[19], 'pass')
if ARGV[10] == '-' or valid_pass and valid_pass ~= ARGV[10] then
  return {'stopped'}
end

attempt = redis.call('HINCRBY', SNAPSHOT, 'attempt', 1)
set('sent_at', NOW, 'token', ARGV[6], 'app', ARGV[13])
if ARGV[12] == '1' then
  set('relay', 1)
end
transition(state, 'sending')
return {'send', attempt, failures}
