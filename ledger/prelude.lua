-- Common part of the ledger's scripts; it is put in front of each of them.
-- Every script has the same KEYS[1] to KEYS[13] and ARGV[1] to ARGV[4]:
--
-- KEYS[1]  snapshot  the record
-- KEYS[2]  batch     hash of its batch (of an empty id where it has none)
-- KEYS[3]  rows      rows of its batch
-- KEYS[4]  failed    sorted set of failed snapshots of the batch by end (ms)
-- KEYS[5]  again     list of snapshots of the batch to feed again
-- KEYS[6]  transit   sorted set of snapshots taken and not begun
-- KEYS[7]  open      sorted set of snapshots begun and not accepted or ended
-- KEYS[8]  confirm   sorted set of snapshots by their next Describe (ms)
-- KEYS[9]  notices   sorted set of ends to tell by webhook
-- KEYS[10] totals    hash of counters
-- KEYS[11] ring      list of the batches that have rooms to feed
-- KEYS[12] waiting   sorted set of snapshots of the batch whose outcome is
--                    unknown and that wait for a person, by since when (ms)
-- KEYS[13] tell      hash of what is told by webhook
-- ARGV[1] snapshot id
-- ARGV[2] batch id or ""
-- ARGV[3] retention  ms that ended records are kept
-- ARGV[4] confirm    ms from acceptance to the first Describe
local SNAPSHOT, BATCH, ROWS, FAILED, AGAIN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TRANSIT, OPEN, CONFIRM, NOTICES, TOTALS, RING = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local WAITING, TELL = KEYS[12], KEYS[13]
local ID, BATCH_ID, RETENTION = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ROW = BATCH_ID ~= '' and tonumber(string.match(ID, '%.(%d+)$') or '') -- in its batch, from 1

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

local DAY = 24 * 60 * 60 * 1000 -- ms
local ENDED = {succeeded = true, failed = true, canceled = true}

local function get(...)
  return unpack(redis.call('HMGET', SNAPSHOT, ...))
end

local function set(...)
  redis.call('HSET', SNAPSHOT, ...)
end

-- Reports whether a callback has named a task that nobody has asked about yet.
local function told()
  for _, field in ipairs(redis.call('HKEYS', SNAPSHOT)) do
    if string.sub(field, 1, 5) == 'told:' then
      return true
    end
  end
  return false
end

-- Ends the wait for a person.
local function unhold()
  redis.call('HDEL', SNAPSHOT, 'held', 'release')
  redis.call('ZREM', WAITING, ID)
end

-- Reports whether the snapshot was canceled with its batch before it was fed.
-- Such a one is counted in the batch and has no record.
local function canceled_unfed()
  local from, total = unpack(redis.call('HMGET', BATCH, 'canceled_from', 'total'))
  return from and ROW and ROW >= tonumber(from) and ROW <= tonumber(total)
end

-- Leaves a notice of an end, if it is to be told. Each end has its own, also
-- where something ends again after a retry.
local function tell(kind, id, wanted)
  if wanted or redis.call('HGET', TELL, kind) == '1' then
    redis.call('ZADD', NOTICES, NOW, kind .. ':' .. NOW .. ':' .. id)
    redis.call('PEXPIRE', NOTICES, 2 * DAY) -- where nobody tells any more
  end
end

-- Ends the batch if all its snapshots have ended.
local function end_batch()
  local total, succeeded, failed, canceled, ended_at, webhook =
    unpack(redis.call('HMGET', BATCH, 'total', 'succeeded', 'failed', 'canceled', 'ended_at', 'webhook'))
  if ended_at or (succeeded or 0) + (failed or 0) + (canceled or 0) < tonumber(total) then
    return
  end
  redis.call('HSET', BATCH, 'ended_at', NOW)
  redis.call('HDEL', BATCH, 'paused') -- else what is retried later would wait for ever
  for _, key in ipairs({BATCH, ROWS, FAILED}) do
    redis.call('PEXPIRE', key, RETENTION)
  end
  redis.call('UNLINK', AGAIN) -- what it has was canceled there, or accepted late
  tell('batch', BATCH_ID, webhook)
end

-- Moves the snapshot to another state. This is the only place where a state
-- changes, so the counters of the batch, the sets of work in progress and what
-- follows from an end move exactly once with it.
local function move(from, to)
  set('state', to)
  redis.call('HINCRBY', TOTALS, to, 1)
  if from == 'unknown' then
    unhold()
  end
  if to == 'accepted' then
    redis.call('ZREM', OPEN, ID)
    redis.call('ZADD', CONFIRM, NOW + ARGV[4], ID)
  elseif ENDED[to] then
    set('ended_at', NOW)
    redis.call('PEXPIRE', SNAPSHOT, RETENTION)
    redis.call('ZREM', OPEN, ID)
    redis.call('ZREM', CONFIRM, ID)
    if to == 'failed' then
      redis.call('ZADD', FAILED, NOW, ID)
      if BATCH_ID == '' then
        redis.call('ZREMRANGEBYSCORE', FAILED, '-inf', NOW - RETENTION)
        redis.call('PEXPIRE', FAILED, RETENTION)
      end
    end
    tell('snapshot', ID)
    if to ~= 'canceled' and redis.call('HEXISTS', SNAPSHOT, 'relay') == 1 then
      tell('callback', ID, true)
    end
  else
    redis.call('ZADD', OPEN, NOW, ID)
    if to ~= 'sending' and told() then
      redis.call('ZADD', CONFIRM, NOW, ID)
    end
  end
  if redis.call('EXISTS', BATCH) == 1 then
    if from and from ~= 'queued' then
      redis.call('HINCRBY', BATCH, from, -1)
    end
    if to ~= 'queued' then
      redis.call('HINCRBY', BATCH, to, 1)
    end
    if ENDED[to] then
      end_batch()
    end
  end
end

-- Notes that one more request has made a task, or may have: its outcome is
-- unknown. Every one after the first is a possible duplicate.
local function may_have_made_task()
  if redis.call('HINCRBY', SNAPSHOT, 'made', 1) > 1 then
    redis.call('HINCRBY', TOTALS, 'possible_duplicates', 1)
    if redis.call('EXISTS', BATCH) == 1 then
      redis.call('HINCRBY', BATCH, 'possible_duplicates', 1)
    end
  end
end

-- Notes what became of an attempt: when it was sent (ms), how long it had waited
-- for its permit (ms), its state, code and RequestId. What is known later takes
-- the place of what was known before. Of more than HISTORY attempts the first
-- and the last ones are kept.
local HISTORY = 50
local function note(attempt, sent_at, wait, to, code, request)
  local field = 'try:' .. attempt
  local was_sent, waited, _, _, known = string.match(get(field) or '', '^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$')
  if request == '' then
    request = known or ''
  end
  set(field, table.concat({was_sent or sent_at, waited or wait, to, code, request}, '\t'))
  local drop = tonumber(attempt) - HISTORY + 1
  if drop > 1 then
    redis.call('HDEL', SNAPSHOT, 'try:' .. drop)
  end
end

-- Keeps the TaskID of a request that certainly has made a task, as Tencent has
-- answered. What callbacks name is kept apart, in told:N, until then.
local function keep_task(attempt, task)
  set('task:' .. attempt, task)
  redis.call('HDEL', SNAPSHOT, 'told:' .. attempt)
end

-- Takes the task of an attempt, which is kept, as the snapshot's own.
local function accept(from, attempt)
  set('task_id', get('task:' .. attempt), 'accepted_at', NOW)
  redis.call('HDEL', SNAPSHOT, 'code', 'message', 'spare', 'unknown_at', 'cancel', 'answer', 'answers', 'answer_at', 'total')
  move(from, 'accepted')
  if redis.call('HEXISTS', SNAPSHOT, 'callback:' .. attempt) == 1 then
    redis.call('ZADD', CONFIRM, NOW, ID) -- its callback came first: it has ended
  end
end
