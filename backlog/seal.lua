-- Turns a loaded list of rooms into an open batch, all at once: before this
-- call nobody sees the batch, after it the feeder takes from it. Where a batch
-- of that id exists already, the load is thrown away and that batch stays.
--
-- KEYS[1] loading  hash of chunks and their parts that was pushed
-- KEYS[2] rows     where the chunks belong
-- KEYS[3] batch    the batch hash
-- KEYS[4] batches  sorted set of all batches by creation time (ms)
-- KEYS[5] ring     list of the batches that have rooms left
-- KEYS[6] running  sorted set of the batches that have not ended by creation time (ms)
-- KEYS[7] totals   hash of counters
-- KEYS[8] ...      what an expired batch of that id may have left: packed records, failed,
--                  waiting, to be fed again, copies of images, and images to copy
-- ARGV[1] batch id
-- ARGV[2] total    number of rooms
-- ARGV[3] fields   number of them that must be there
-- ARGV[4] digest   of the rooms in their order, and the defaults: its beginning may be in the id
-- ARGV[5] defaults JSON
-- ARGV[6] load     token of this load: sealing it twice is sealing it once
-- ARGV[7] labels   JSON list of the label names in the batch
-- ARGV[8] webhook  URL that is told of the batch's end, or ""
-- ARGV[9] sum      of the rooms in any order, defaults filled in. A batch of an older release has none:
--                  there the digest alone tells.
-- ARGV[10] by      who has enqueued it, or ""
-- Returns {created 0|1, total, same rooms 0|1}; or an error reply starting with
-- "LOADLOST" if the load expired on the way.
local loading, rows, batch = KEYS[1], KEYS[2], KEYS[3]
local digest, sum, total, load = unpack(redis.call('HMGET', batch, 'digest', 'sum', 'total', 'load'))
if digest then
  redis.call('UNLINK', loading)
  local same = digest == ARGV[4] or sum == ARGV[9]
  return {load == ARGV[6] and 1 or 0, tonumber(total), same and 1 or 0}
end
if redis.call('HLEN', loading) ~= tonumber(ARGV[3]) then
  return redis.error_reply('LOADLOST the rooms pushed before have expired')
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('UNLINK', unpack(KEYS, 8))
redis.call('RENAME', loading, rows)
redis.call('PERSIST', rows)
redis.call('HSET', batch,
  'total', ARGV[2], 'digest', ARGV[4], 'defaults', ARGV[5], 'created_at', now, 'fed', 0, 'load', ARGV[6],
  'labels', ARGV[7], 'sum', ARGV[9])
if ARGV[8] ~= '' then
  redis.call('HSET', batch, 'webhook', ARGV[8])
end
if ARGV[10] ~= '' then
  redis.call('HSET', batch, 'by', ARGV[10])
end
redis.call('ZADD', KEYS[4], now, ARGV[1])
redis.call('ZADD', KEYS[6], now, ARGV[1])
redis.call('LPUSH', KEYS[5], ARGV[1])
redis.call('HINCRBY', KEYS[7], 'waiting', ARGV[2])
return {1, tonumber(ARGV[2]), 1}
