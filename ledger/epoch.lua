-- Increments the beat of the epoch of this Redis, and makes an epoch if there is none.
-- A process that remembers both detects a loss of data: the id has changed, or the beat
-- has not grown.
--
-- KEYS[1] epoch  hash: id, beat
-- ARGV[1] id     of a new epoch
-- Returns {id, beat}.
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
return {redis.call('HGET', KEYS[1], 'id'), redis.call('HINCRBY', KEYS[1], 'beat', 1)}
