-- Removes a snapshot from the sets of work in progress that its current state does not
-- belong to.
--
-- ARGV[5], ARGV[6] ...  pairs of attempt and TaskID: reported tasks to discard
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
