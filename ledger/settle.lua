-- Writes the result of an accepted snapshot's task.
--
-- ARGV[7]  TaskID   that the result is of: the fence
-- ARGV[8]  state    succeeded | failed
-- ARGV[9]  images   JSON list of URLs
-- ARGV[10] number of images
-- ARGV[11] error code or ""
-- ARGV[12] error message or ""
-- Returns "ok", or "late" if the record is not waiting for this task.
local state, task = get('state', 'task_id')
if state ~= 'accepted' or task ~= ARGV[7] then
  return 'late'
end
set('images', ARGV[9])
if ARGV[11] ~= '' then
  set('code', ARGV[11], 'message', ARGV[12])
end
redis.call('HINCRBY', TOTALS, 'images', ARGV[10])
if redis.call('EXISTS', BATCH) == 1 then
  redis.call('HINCRBY', BATCH, 'images', ARGV[10])
end
move(state, ARGV[8])
return 'ok'
