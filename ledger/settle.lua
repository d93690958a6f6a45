-- Writes the result of the task of an accepted snapshot.
--
-- KEYS[19] early    sorted set of snapshots by when they may be polled early (ms)
-- KEYS[21] to KEYS[25]  see copies.lua
-- ARGV[5]  TaskID   of the result: the fence
-- ARGV[6]  state    succeeded | failed
-- ARGV[7]  images   JSON list of URLs
-- ARGV[8]  number of images
-- ARGV[9]  error code or ""
-- ARGV[10] error message or ""
-- ARGV[11] total    Tencent's count of the images, if it differs; else ""
-- ARGV[12] copy     "1" if the images are to be copied
-- Returns "ok", or "late" if the snapshot does not wait for this task.
local state, task, old = get('state', 'task_id', 'images')
if state ~= 'accepted' or task ~= ARGV[5] then
  return 'late'
end
local to, images = ARGV[6], tonumber(ARGV[8])

local function count(counter, n)
  redis.call('HINCRBY', TOTALS, counter, n)
  if redis.call('EXISTS', BATCH) == 1 then
    redis.call('HINCRBY', BATCH, counter, n)
  end
end

-- The images of an earlier failure stay until there are others.
if images > 0 or to == 'succeeded' then
  count('images', images - (old and old ~= 'null' and #cjson.decode(old) or 0))
  if images > 0 then
    set('images', ARGV[7])
  else
    redis.call('HDEL', SNAPSHOT, 'images')
  end
end
if ARGV[11] ~= '' then
  set('total', ARGV[11])
end
if to == 'succeeded' then
  if images == 0 then
    count('no_image', 1)
  end
  if ARGV[11] ~= '' and tonumber(ARGV[11]) > images then
    count('missing_images', ARGV[11] - images)
  end
end
if ARGV[9] ~= '' then
  set('code', ARGV[9], 'message', ARGV[10])
end
if ARGV[12] == '1' and images > 0 then
  set_copies(string.rep('.', images), string.sub(task, 1, 8), '')
  queue_copies(NOW)
  if BATCH_ID ~= '' then
    redis.call('ZADD', ARCHIVES, 'NX', NOW, BATCH_ID)
  end
elseif images > 0 and redis.call('HEXISTS', COPIES, COPY_FIELD) == 1 then
  set_copies('', string.sub(task, 1, 8), '') -- delete the copies of earlier images
  queue_copies()
end
redis.call('HDEL', SNAPSHOT, 'answer', 'answers', 'answer_at')
redis.call('ZREM', KEYS[19], ID)
transition(state, to)
return 'ok'
