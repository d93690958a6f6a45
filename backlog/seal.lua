-- Makes a load an open batch, atomically: then the feeder takes rooms from it. If a
-- batch of that id exists already, the load is deleted and that batch is unchanged.
--
-- KEYS[1] loading  hash of the pushed chunks, parts and filters
-- KEYS[2] rows     hash of the same of the batch
-- KEYS[3] batch    hash of the batch
-- KEYS[4] batches  sorted set of all batches by creation (ms)
-- KEYS[5] ring     list of the batches that have rooms to feed
-- KEYS[6] running  sorted set of the batches that have not ended, by creation (ms)
-- KEYS[7] totals   hash of counters of the namespace
-- KEYS[8] ...      other keys of a batch of that id, which an expired one may have left
-- ARGV[1] batch id
-- ARGV[2] total    number of rooms
-- ARGV[3] fields   number of fields that the load must have
-- ARGV[4] digest   of the rooms in their order and of the defaults; the id may contain its prefix
-- ARGV[5] defaults JSON
-- ARGV[6] load     token of this load, the idempotency key of this script
-- ARGV[7] labels   JSON list of the label names in the batch
-- ARGV[8] webhook  URL of the batch's own receiver, or ""
-- ARGV[9] sum      of the rooms in any order, with their defaults. A batch of an older
--                  release has none; then only the digest is compared.
-- ARGV[10] by      who enqueued it, or ""
-- Returns {created 0|1, total, same rooms 0|1}; or an error reply that starts with
-- "LOADLOST" if the load has expired.
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
