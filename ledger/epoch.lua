-- Moves the epoch of this Redis on by one beat; where there is none it makes one.
-- A process that has seen an epoch tells by it whether Redis has lost anything: it
-- is another one, or its beat has been reached before.
--
-- KEYS[1] epoch  hash of id and beat
-- ARGV[1] id     of a new epoch
-- Returns {id, beat, 1 if the epoch is new}.
local new = redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
return {redis.call('HGET', KEYS[1], 'id'), redis.call('HINCRBY', KEYS[1], 'beat', 1), new}
