-- Common part of the scripts about copies of images, put after the prelude.
--
-- KEYS[21] copies   hash of row to the copies of its images, separated by blanks: a
--                   letter for each ("." pending, "p" and "j" copied as PNG and JPEG,
--                   "x" lost), the prefix of their TaskID, and why one is not copied
-- KEYS[22] copying  sorted set of the snapshots of the batch that have images to
--                   copy, by when they are due (ms)
-- KEYS[23] queues   sorted set of the batches that have such, by when one is due (ms)
-- KEYS[24] archives sorted set of the batches whose lists are to be written, by when
--                   they are due for a check (ms)
-- KEYS[25] lost     sorted set of the snapshots of the batch that have lost images, by
--                   when they were given up (ms)
local COPIES, COPYING, QUEUES, ARCHIVES, LOST = KEYS[21], KEYS[22], KEYS[23], KEYS[24], KEYS[25]
local COPY_FIELD = ROW or '0'
local COUNTERS = {['.'] = 'images_pending', p = 'images_copied', j = 'images_copied', x = 'images_lost'}

-- Adds by (1 or -1) to the counters of the states that the letters name.
local function count_copies(letters, by)
  for i = 1, #letters do
    local counter = COUNTERS[string.sub(letters, i, i)]
    redis.call('HINCRBY', TOTALS, counter, by)
    if redis.call('EXISTS', BATCH) == 1 then
      redis.call('HINCRBY', BATCH, counter, by)
    end
  end
end

-- Returns the stored letters, and the prefix of their TaskID.
local function copies()
  local value = redis.call('HGET', COPIES, COPY_FIELD) or ''
  local letters, task = string.match(value, '^(%S*) ?(%S*)')
  return letters, task
end

-- Stores the letters of the images of a task.
local function set_copies(letters, task, why)
  count_copies(copies(), -1)
  count_copies(letters, 1)
  redis.call('HSET', COPIES, COPY_FIELD, letters .. ' ' .. task .. ' ' .. why)
  if string.find(letters, 'x', 1, true) then
    redis.call('ZADD', LOST, NOW, ID)
  else
    redis.call('ZREM', LOST, ID)
  end
  if BATCH_ID == '' then
    redis.call('ZREMRANGEBYSCORE', LOST, '-inf', NOW - RETENTION)
  end
  local left = BATCH_ID ~= '' and redis.call('PTTL', BATCH) or RETENTION
  if left > 0 then
    redis.call('PEXPIRE', COPIES, left + OUTLIVE)
    redis.call('PEXPIRE', LOST, left + OUTLIVE)
  end
end

-- Makes the images of the snapshot due at a time (ms), or without one removes the
-- snapshot from the queue.
local function queue_copies(at)
  if at then
    redis.call('ZADD', COPYING, at, ID)
  else
    redis.call('ZREM', COPYING, ID)
  end
  local first = redis.call('ZRANGE', COPYING, 0, 0, 'WITHSCORES')
  if #first == 0 then
    redis.call('ZREM', QUEUES, BATCH_ID)
  else
    local queued = redis.call('ZSCORE', QUEUES, BATCH_ID)
    if not queued or tonumber(first[2]) < tonumber(queued) then
      redis.call('ZADD', QUEUES, first[2], BATCH_ID)
    end
  end
end
