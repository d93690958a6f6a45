-- Postpones the next poll of a snapshot, if one is planned.
--
-- KEYS[19] early   sorted set of snapshots by when they may be polled early (ms)
-- ARGV[5]  wait    ms until the poll is due
-- ARGV[6]  early   ms until it may be polled if quota is free; 0: not before it is due
-- ARGV[7]  answer  kind of the last answer, which is counted while it repeats;
--                  "running": ends the count; "": does not change it
-- Returns 1, or 0 if no poll is planned.
if not redis.call('ZSCORE', CONFIRM, ID) then
  return 0
end
redis.call('ZADD', CONFIRM, NOW + ARGV[5], ID)
if ARGV[6] == '0' then
  redis.call('ZREM', KEYS[19], ID)
else
  redis.call('ZADD', KEYS[19], NOW + ARGV[6], ID)
end
if ARGV[7] == 'running' then
  redis.call('HDEL', SNAPSHOT, 'answer', 'answers', 'answer_at')
elseif ARGV[7] ~= '' and redis.call('EXISTS', SNAPSHOT) == 1 then
  if get('answer') ~= ARGV[7] then
    set('answer', ARGV[7], 'answers', 0, 'answer_at', NOW)
  end
  redis.call('HINCRBY', SNAPSHOT, 'answers', 1)
end
return 1
