-- Takes a snapshot out of the sets of work in progress where its record, as it
-- is now, has no need of them.
--
-- ARGV[5], ARGV[6] ...  attempt and TaskID, in pairs: what callbacks have
--                       named and is not the snapshot's
-- Returns 1.
for i = 5, #ARGV, 2 do
  local reported = 'told:' .. ARGV[i]
  if get(reported) == ARGV[i + 1] then
    redis.call('HDEL', SNAPSHOT, reported, 'answer', 'answers', 'answer_at')
  end
end
local state = get('state')
local ended = not state or ENDED[state]
if ended or state == 'accepted' then
  redis.call('ZREM', OPEN, ID)
end
if state ~= 'accepted' and (ended or not has_reported_task()) then
  redis.call('ZREM', CONFIRM, ID)
end
return 1
