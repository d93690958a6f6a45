-- Records that the lists of a batch are written, and makes a notice if all its images
-- are copied or lost.
--
-- ARGV[5] was      the expected version in "archived" of the batch, or ""
-- ARGV[6] is       the version of the written lists
-- ARGV[7] all      "1" if no image is pending
-- Returns 1, or 0 if another process has written other lists.
local was, webhook = unpack(redis.call('HMGET', BATCH, 'archived', 'webhook'))
if (was or '') ~= ARGV[5] or redis.call('EXISTS', BATCH) == 0 then
  return 0
end
redis.call('HSET', BATCH, 'archived', ARGV[6])
if ARGV[7] == '1' then
  notify('images', BATCH_ID, webhook)
end
return 1
