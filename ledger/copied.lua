-- Writes the states of the copies of a snapshot.
--
-- KEYS[21] to KEYS[25]  see copies.lua
-- ARGV[5] TaskID   prefix of the TaskID of the images: the fence
-- ARGV[6] letters  one for each image, see copies.lua
-- ARGV[7] why      an image is not copied, or ""
-- ARGV[8] wait     ms until the pending ones are due again; -1: none is pending
-- ARGV[9] again    "1" if a person wants them copied, whatever was written before
-- Returns "ok", or "late" if the snapshot has other images by now.
local letters, task = copies()
if ARGV[9] ~= '1' and (task ~= ARGV[5] or #letters ~= #ARGV[6]) then
  return 'late'
end
if ARGV[9] == '1' and BATCH_ID ~= '' then
  redis.call('ZADD', ARCHIVES, NOW, BATCH_ID)
end
set_copies(ARGV[6], ARGV[5], ARGV[7])
queue_copies(tonumber(ARGV[8]) >= 0 and NOW + ARGV[8])
return 'ok'
