-- What the scripts about copies of images have in common, beside the prelude.
--
-- KEYS[21] copies   hash of rows of the batch to what became of their images: a
--                   letter for each ("." to be copied, "p" and "j" copied as PNG
--                   and JPEG, "x" lost), the beginning of the TaskID that they are
--                   of, and why one is not copied, with blanks between them
-- KEYS[22] copying  sorted set of the snapshots of the batch that have images to
--                   copy, by when they are due (ms)
-- KEYS[23] queues   sorted set of the batches that have such, by when one is due
-- KEYS[24] archives sorted set of the batches whose lists are to be written, by
--                   when it is looked whether that is due (ms)
-- KEYS[25] lost     sorted set of the snapshots of the batch that have images that
--                   are lost, by when they were given up (ms)
local COPIES, COPYING, QUEUES, ARCHIVES, LOST = KEYS[21], KEYS[22], KEYS[23], KEYS[24], KEYS[25]
local COPY_FIELD = ROW or '0'
local COUNTERS = {['.'] = 'images_pending', p = 'images_copied', j = 'images_copied', x = 'images_lost'}

-- Counts images that are no longer, or are now, what these letters say.
local function count_copies(letters, by)
  for i = 1, #letters do
    local counter = COUNTERS[string.sub(letters, i, i)]
    redis.call('HINCRBY', TOTALS, counter, by)
    if redis.call('EXISTS', BATCH) == 1 then
      redis.call('HINCRBY', BATCH, counter, by)
    end
  end
end

-- Returns the letters that stand in the record, and the TaskID that they are of.
local function copies()
  local value = redis.call('HGET', COPIES, COPY_FIELD) or ''
  local letters, task = string.match(value, '^(%S*) ?(%S*)')
  return letters, task
end

-- Writes the letters of the images of a task.
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

-- Makes the images of the snapshot due at a time, or takes it off the queue.
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
