-- Notes that the lists of a batch are written, and tells of it where all its
-- images have a copy, or are lost.
--
-- ARGV[5] was      what "archived" of the batch was, or ""
-- ARGV[6] is       what it is now
-- ARGV[7] all      "1" if no image is left to copy
-- Returns 1, or 0 if somebody else has noted something else.
local was, webhook = unpack(redis.call('HMGET', BATCH, 'archived', 'webhook'))
if (was or '') ~= ARGV[5] or redis.call('EXISTS', BATCH) == 0 then
  return 0
end
redis.call('HSET', BATCH, 'archived', ARGV[6])
if ARGV[7] == '1' then
  notify('images', BATCH_ID, webhook)
end
return 1
