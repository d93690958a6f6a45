-- Common part of the ledger's scripts, prepended to each of them.
-- Every script has the same KEYS[1] to KEYS[18] and ARGV[1] to ARGV[4]:
--
-- KEYS[1]  snapshot  hash: the record, see below
-- KEYS[2]  batch     hash of its batch; of a single snapshot the one of the id ""
-- KEYS[3]  rows      hash of the rows of the batch
-- KEYS[4]  failed    sorted set of failed snapshots of the batch by end (ms)
-- KEYS[5]  refeed    list of snapshots of the batch to feed again
-- KEYS[6]  in flight sorted set of snapshots fed and not begun, by the time of feeding (ms)
-- KEYS[7]  open      sorted set of snapshots begun and not accepted or ended, by the
--                    time of their last change (ms)
-- KEYS[8]  confirm   sorted set of snapshots by their next Describe (ms)
-- KEYS[9]  outbox    sorted set of notices, "KIND:MS:ID", by when they are due (ms)
-- KEYS[10] totals    hash of counters of the namespace
-- KEYS[11] ring      list of the batches that have rooms to feed
-- KEYS[12] held      sorted set of snapshots of the batch that are held for review, by
--                    since when (ms)
-- KEYS[13] notifications  hash of kind of notice to 1 if it is enabled
-- KEYS[14] packed    hash of row to packed record of the batch; of id to packed record
--                    of single snapshots
-- KEYS[15] unpacked  sorted set of ended snapshots whose records are to be packed, by
--                    end (ms)
-- KEYS[16] index     hash: the index of today, see index below
-- KEYS[17] indexes   sorted set of the days that have an index; each is its own score
-- KEYS[18] running   sorted set of the batches that have not ended, by creation (ms)
-- ARGV[1] snapshot id, or "" if the script is about a batch
-- ARGV[2] batch id, or ""
-- ARGV[3] retention  ms that ended records are kept
-- ARGV[4] confirm    ms from acceptance to the first Describe
--
-- Fields of a record; N is the number of an attempt:
--   state, attempt     the latter is the number of the last attempt, from 1
--   room, app          JSON, of a single snapshot; the SdkAppId
--   token              of the last intent
--   failures, unsent   attempts that count against the limit, and that sent nothing
--   made               requests that made a task, or may have
--   task_id, request_id, code, message, images (JSON), total  of Tencent's answers
--   created_at, sent_at, unknown_at, accepted_at, ended_at, retried_at  times (ms)
--   task:N, told:N     TaskID from the API's answer, and from an unconfirmed callback
--   callback:N, callbacks  body of a callback, and how many came
--   try:N              outcome of an attempt, see note_attempt
--   spare              N of an extra task that replaces a missing or failed one
--   answer, answers, answer_at  kind, count and begin (ms) of polls without a result
--   held, release      1: held for review; 1: released by a person
--   cancel             1: to be canceled after the request in progress
--   cancels            of the batch, when the snapshot was retried last
--   relay              1: the end is a notice of kind callback
--   lost               digest of the room whose record Redis has lost; without a state
local SNAPSHOT, BATCH, ROWS, FAILED, REFEED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local IN_FLIGHT, OPEN, CONFIRM, OUTBOX, TOTALS, RING = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local HELD, NOTIFICATIONS, PACKED, UNPACKED, INDEX, INDEXES = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17]
local RUNNING = KEYS[18]
local ID, BATCH_ID, RETENTION = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ROW = BATCH_ID ~= '' and tonumber(string.match(ID, '%.(%d+)$') or '') -- from 1; false if single

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

local DAY = 24 * 60 * 60 * 1000 -- ms
local ENDED = {succeeded = true, failed = true, canceled = true}
local INITIAL = {s = 'succeeded', f = 'failed', c = 'canceled'}
-- The large keys of a batch live longer than its hash, so that the sweeper can unlink
-- them: Redis itself may block while it expires a large key.
local OUTLIVE = math.min(RETENTION / 10, 60 * 60 * 1000) -- ms

local function get(...)
  return unpack(redis.call('HMGET', SNAPSHOT, ...))
end

local function set(...)
  redis.call('HSET', SNAPSHOT, ...)
end

-- Returns the packed record, or false.
local function packed()
  return redis.call('HGET', PACKED, ROW or ID)
end

-- Returns the state of the packed record, or nil without one.
local function packed_state()
  return INITIAL[string.sub(packed() or '', 1, 1)]
end

-- Reports whether a callback has reported a task that is not confirmed yet.
local function has_reported_task()
  for _, field in ipairs(redis.call('HKEYS', SNAPSHOT)) do
    if string.sub(field, 1, 5) == 'told:' then
      return true
    end
  end
  return false
end

-- Ends the hold for review.
local function release_hold()
  redis.call('HDEL', SNAPSHOT, 'held', 'release')
  redis.call('ZREM', HELD, ID)
end

-- Reports whether the snapshot was canceled with its batch before it was fed. Such a
-- snapshot is counted in the batch and has no record.
local function canceled_unfed()
  local from, total = unpack(redis.call('HMGET', BATCH, 'canceled_from', 'total'))
  return from and ROW and ROW >= tonumber(from) and ROW <= tonumber(total)
end

-- Adds a notice to the outbox, if its kind is enabled or it is forced. Each end makes
-- one of its own, also after a retry.
local function notify(kind, id, forced)
  if forced or redis.call('HGET', NOTIFICATIONS, kind) == '1' then
    redis.call('ZADD', OUTBOX, NOW, kind .. ':' .. NOW .. ':' .. id)
    redis.call('PEXPIRE', OUTBOX, 2 * DAY) -- in case no worker processes it any more
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
  redis.call('HDEL', BATCH, 'paused') -- else a snapshot retried later would wait forever
  redis.call('ZREM', RUNNING, BATCH_ID)
  redis.call('PEXPIRE', BATCH, RETENTION)
  for _, key in ipairs({ROWS, FAILED, PACKED}) do
    redis.call('PEXPIRE', key, RETENTION + OUTLIVE)
  end
  redis.call('UNLINK', REFEED) -- its snapshots were canceled or accepted late meanwhile
  notify('batch', BATCH_ID, webhook)
end

-- Counts a request or a result in the chart of the batch. The rows have the fields
-- "sent:N" and "ended:N" for bar N, the batch has the width of a bar (s). If the bars
-- do not reach the current time, the width doubles until they do.
local BARS = 60
local function add_to_chart(series)
  local created_at, width = unpack(redis.call('HMGET', BATCH, 'created_at', 'chart'))
  width = tonumber(width or 1)
  local bar = math.floor(math.max(0, NOW - (created_at or NOW)) / 1000 / width)
  if bar >= BARS then
    local by = 1
    while bar >= BARS do
      by, bar = by * 2, math.floor(bar / 2)
    end
    for _, name in ipairs({'sent:', 'ended:'}) do
      local sums = {}
      for i = 0, BARS - 1 do
        local n = redis.call('HGET', ROWS, name .. i)
        if n then
          local to = math.floor(i / by)
          sums[to] = (sums[to] or 0) + n
          redis.call('HDEL', ROWS, name .. i)
        end
      end
      for i, n in pairs(sums) do
        redis.call('HSET', ROWS, name .. i, n)
      end
    end
    redis.call('HSET', BATCH, 'chart', width * by)
  end
  redis.call('HINCRBY', ROWS, series .. ':' .. bar, 1)
end

-- Moves the snapshot to another state. States change only here, so the counters of the
-- batch, the sets of work in progress and the notices change exactly once with them.
local function transition(from, to)
  set('state', to)
  redis.call('HINCRBY', TOTALS, to, 1)
  if from == 'unknown' then
    release_hold()
  end
  if to == 'accepted' then
    redis.call('ZREM', OPEN, ID)
    redis.call('ZADD', CONFIRM, NOW + ARGV[4], ID)
  elseif ENDED[to] then
    set('ended_at', NOW)
    if BATCH_ID == '' then
      redis.call('PEXPIRE', SNAPSHOT, RETENTION)
    end
    redis.call('ZADD', UNPACKED, NOW, ID)
    redis.call('ZREM', OPEN, ID)
    redis.call('ZREM', CONFIRM, ID)
    if to == 'failed' then
      redis.call('ZADD', FAILED, NOW, ID)
      if BATCH_ID == '' then
        redis.call('ZREMRANGEBYSCORE', FAILED, '-inf', NOW - RETENTION)
        redis.call('PEXPIRE', FAILED, RETENTION)
      end
    end
    notify('snapshot', ID)
    if to ~= 'canceled' and redis.call('HEXISTS', SNAPSHOT, 'relay') == 1 then
      notify('callback', ID, true)
    end
  else
    redis.call('ZADD', OPEN, NOW, ID)
    if to ~= 'sending' and has_reported_task() then
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
    if to == 'sending' then
      add_to_chart('sent')
    elseif to == 'succeeded' or to == 'failed' then
      add_to_chart('ended')
    end
    if ENDED[to] then
      end_batch()
    end
  end
end

-- Counts a request that has made a task, or may have. Every one after the first is a
-- possible duplicate.
local function may_have_made_task()
  if redis.call('HINCRBY', SNAPSHOT, 'made', 1) > 1 then
    redis.call('HINCRBY', TOTALS, 'possible_duplicates', 1)
    if redis.call('EXISTS', BATCH) == 1 then
      redis.call('HINCRBY', BATCH, 'possible_duplicates', 1)
    end
  end
end

-- The index is a hash of buckets, "LEVEL:NUMBER", with entries (see index.go). Level L
-- has 2^L buckets. New entries go to the level at which a bucket has BUCKET to
-- 2 * BUCKET entries on average, so buckets are as full in a small index as in a large
-- one. If a bucket is full, the next of up to EXTRA_LEVELS levels gets the entry. A
-- word that a million snapshots have fills all of its buckets, and is marked "more:HASH".
-- "n" counts the entries; "batch:DIGEST" is the id of a batch.
local BUCKET, FULL, EXTRA_LEVELS = 32, 1024, 8 -- entries, bytes, levels

-- Returns the level for new entries in an index of n, and its number of buckets.
local function level_of(n)
  local level, buckets = 0, 1
  while BUCKET * 2 * buckets <= n do
    level, buckets = level + 1, buckets * 2
  end
  return level, buckets
end

-- Reports whether the index has the entry for a word of that hash.
local function in_index(hash, entry)
  local last = level_of(tonumber(redis.call('HGET', INDEX, 'n') or 0)) + EXTRA_LEVELS
  local buckets = 1
  for l = 0, last do
    local bucket = redis.call('HGET', INDEX, l .. ':' .. hash % buckets)
    if bucket and string.find(bucket, entry, 1, true) then
      return true
    end
    buckets = buckets * 2
  end
  return false
end

-- Adds an entry for a word of that hash (0 to 2^31-1).
local function index(hash, entry)
  hash = tonumber(hash)
  if not ROW and in_index(hash, entry) then
    return
  end
  local n = redis.call('HINCRBY', INDEX, 'n', 1)
  if n == 1 then
    redis.call('PEXPIRE', INDEX, RETENTION + 2 * DAY)
    local day = string.match(INDEX, '%d+$')
    redis.call('ZADD', INDEXES, day, day)
  end
  if ROW then -- the entry has four bytes of the digest of the batch id
    redis.call('HSETNX', INDEX, 'batch:' .. string.sub(entry, 4, 7), BATCH_ID)
  end
  local level, buckets = level_of(n)
  for l = level, level + EXTRA_LEVELS do
    local field = l .. ':' .. hash % buckets
    local bucket = redis.call('HGET', INDEX, field) or ''
    if #bucket < FULL then
      redis.call('HSET', INDEX, field, bucket .. entry)
      return
    end
    buckets = buckets * 2
  end
  redis.call('HSET', INDEX, 'more:' .. hash, 1)
end

-- Stores the outcome of an attempt as "try:N", separated by tabs: the time of sending
-- (ms), the wait for its permit (ms), state, error code and RequestId. A later outcome
-- replaces an earlier one. Of more than HISTORY attempts the first and the last ones
-- are kept.
local HISTORY = 50
local function note_attempt(attempt, sent_at, wait, to, code, request)
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

-- Deletes what is kept of a lost record, if that was of another room.
local function delete_other(room)
  local lost = get('lost')
  if lost and lost ~= redis.sha1hex(room) then
    redis.call('UNLINK', SNAPSHOT)
  end
end

-- Keeps the outcome of an attempt whose record Redis has lost, in a hash without a
-- state: the snapshot may be enqueued again, and then create goes on from there.
local function keep_lost(room, attempt, wait, to, code, request, task)
  delete_other(room)
  set('lost', redis.sha1hex(room))
  note_attempt(attempt, '', wait, to, code, request)
  if task ~= '' then
    set('told:' .. attempt, task)
  elseif to == 'unknown' then
    set('unknown_at', NOW)
  end
  redis.call('PEXPIRE', SNAPSHOT, RETENTION)
end

-- Makes the record of a snapshot that has none. The room of a batch is not stored in
-- it. If outcomes or callbacks of a lost record are kept, the record continues that
-- one. Returns a table from attempt, as a string, to whether it has made a task or may
-- have.
local function create(room)
  delete_other(room)
  redis.call('HDEL', SNAPSHOT, 'lost')
  local last, made = 0, {}
  for _, field in ipairs(redis.call('HKEYS', SNAPSHOT)) do
    local kind, attempt = string.match(field, '^(%a+):(%d+)$')
    if attempt then
      last = math.max(last, tonumber(attempt))
      made[attempt] = made[attempt] or kind ~= 'try' or string.match(get(field), '^.-\t.-\tunknown\t') ~= nil
    end
  end
  for _, may in pairs(made) do
    if may then
      may_have_made_task()
    end
  end
  set('created_at', NOW)
  if BATCH_ID == '' then
    set('room', room)
  end
  if last > 0 then
    set('attempt', last, 'app', string.format('%.0f', cjson.decode(room).SdkAppId))
    redis.call('PERSIST', SNAPSHOT)
  end
  return made
end

-- Stores the TaskID of a request that has made a task, from the API's answer. A TaskID
-- from a callback is in told:N until it is confirmed.
local function keep_task(attempt, task)
  set('task:' .. attempt, task)
  redis.call('HDEL', SNAPSHOT, 'told:' .. attempt)
end

-- Makes the stored task of an attempt the snapshot's own.
local function accept(from, attempt)
  set('task_id', get('task:' .. attempt), 'accepted_at', NOW)
  redis.call('HDEL', SNAPSHOT, 'code', 'message', 'spare', 'unknown_at', 'cancel',
    'answer', 'answers', 'answer_at', 'total')
  transition(from, 'accepted')
  if redis.call('HEXISTS', SNAPSHOT, 'callback:' .. attempt) == 1 then
    redis.call('ZADD', CONFIRM, NOW, ID) -- its callback came first, so the task has ended
  end
end
