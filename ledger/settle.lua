-- Writes the result of an accepted snapshot's task.
--
-- ARGV[5]  TaskID   that the result is of: the fence
-- ARGV[6]  state    succeeded | failed
-- ARGV[7]  images   JSON list of URLs
-- ARGV[8]  number of images
-- ARGV[9]  error code or ""
-- ARGV[10] error message or ""
-- Returns "ok", or "late" if the record is not waiting for this task.
local state, task = get('state', 'task_id')
if state ~= 'accepted' or task ~= ARGV[5] then
  return 'late'
end
set('images', ARGV[7])
if ARGV[9] ~= '' then
  set('code', ARGV[9], 'message', ARGV[10])
end
redis.call('HINCRBY', TOTALS, 'images', ARGV[8])
if redis.call('EXISTS', BATCH) == 1 then
  redis.call('HINCRBY', BATCH, 'images', ARGV[8])
end
move(state, ARGV[6])
return 'ok'
